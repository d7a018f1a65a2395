"""The average over GLUE's nine tasks, as that benchmark takes it (Wang et al. 2019, section 3.4).

A task that has several metrics, or two test sets, counts as their plain mean; the average is the
mean over tasks. It is taken seed by seed, and only where all nine tasks have a score. The test sets
are the development sets, as GLUE's own test labels are private.
"""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd

from reports.leaderboard import NOT_FAILED, PAPER
from reports.stats.estimates import Sample
from reports.stats.intervals import mean_interval
from reports.stats.pairs import family, tie_groups

GLUE: Mapping[str, tuple[str, ...]] = {
    "cola": ("test/matthews_correlation",),
    "sst2": ("test/accuracy",),
    "mrpc": ("test/f1", "test/accuracy"),
    "stsb": ("test/pearson", "test/spearman"),
    "qqp": ("test/f1", "test/accuracy"),
    "mnli": ("test/accuracy", "mismatched/accuracy"),
    "qnli": ("test/accuracy",),
    "rte": ("test/accuracy",),
    "wnli": ("test/accuracy",),
}
"""What counts of each task."""

NAME = "GLUE average"
"""What stands in the leaderboard as the task."""


def averages(leaderboard: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the averages of the suites that have all nine tasks, as rows of a leaderboard.

    Args:
        leaderboard: as `reports.leaderboard` returns it; the rows get its columns.
        runs: the table of `reports.load`.
    """
    known = runs[(runs["suite"] != "") & runs["task"].isin(list(GLUE))]
    known = known.assign(task_score=[_task_score(run) for run in _dicts(known)])
    parts = [_block(block) for _, block in known.groupby(["suite", "backbone"], sort=False)]
    table = pd.DataFrame([row for part in parts for row in part], columns=leaderboard.columns)
    kinds = leaderboard.dtypes.to_dict()
    texts = [str(name) for name, kind in kinds.items() if isinstance(kind, pd.StringDtype)]
    table[texts] = table[texts].astype("str").fillna("")
    return table.astype(kinds)


def _task_score(run: Mapping[str, Any]) -> float:
    """Return what a run adds to the average; NaN if one of its parts is missing."""
    main = f"test/{run['metric']}"
    parts = [run["test_score"] if name == main else run.get(name) for name in GLUE[run["task"]]]
    values = [float(part) for part in parts if part is not None and pd.notna(part)]
    return float(np.mean(values)) if len(values) == len(parts) else np.nan


def _block(block: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of one suite and backbone, in the order of a leaderboard's block."""
    cells = list(block.groupby(["method", "variant"], sort=False))
    by_seed = [_by_seed(cell) for _, cell in cells]
    rivals = {
        place: Sample(by_seed[place])
        for place, (_, cell) in enumerate(cells)
        if cell["trainable_params"].max() > 0 and len(by_seed[place]) > 1
    }
    means = {place: float(np.mean(list(each.scores.values()))) for place, each in rivals.items()}
    groups = tie_groups(means, family(rivals), higher_is_better=True)
    rows = [
        _row(cell, by_seed[place], groups.get(place))
        for place, (_, cell) in enumerate(cells)
        if by_seed[place]
    ]
    return sorted(rows, key=lambda row: (row["rank_group"] or np.inf, -row["score"]))


def _by_seed(cell: pd.DataFrame) -> dict[int, float]:
    wide = cell.pivot_table(index="seed", columns="task", values="task_score")
    whole = wide.reindex(columns=list(GLUE)).dropna()
    return {int(cast("int", seed)): float(mean) for seed, mean in whole.mean(axis=1).items()}


def _row(cell: pd.DataFrame, by_seed: Mapping[int, float], group: int | None) -> dict[str, Any]:
    score = mean_interval(list(by_seed.values()))
    first = _dicts(cell)[0]
    mark = PAPER if "paper" in set(cell["protocol"]) else ""
    return {
        "suite": first["suite"],
        "task": NAME,
        "backbone": first["backbone"],
        "start": "; ".join(sorted(set(cell["start"]) - {""})),
        "method": first["method"],
        "variant": (first["variant"] + mark).strip(),
        "n_seeds": score.n,
        "metric": "mean of tasks",
        "score": score.mean,
        "score_ci_low": score.low,
        "score_ci_high": score.high,
        "rank_group": group,
        "trainable_params": round(cell["trainable_params"].mean()),
        "n_failed": int((~cell["status"].isin(list(NOT_FAILED))).sum()),
    }


def _dicts(table: pd.DataFrame) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", table.to_dict("records"))
