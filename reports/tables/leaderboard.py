"""The leaderboard: one row per cell, averaged over its seeds and ranked in its block.

Statistics are in `reports.stats`, the form that the table takes in a terminal in
`reports.tables.terminal`.
"""

from collections import namedtuple
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, cast

import pandas as pd

from gapbench.reports.results.load import Results
from gapbench.reports.stats.intervals import mean_interval
from gapbench.reports.tables.ranking import compared

COLUMNS = (
    "suite",
    "task",
    "backbone",
    "method",
    "variant",
    "n_seeds",
    "metric",
    "score",
    "score_ci_low",
    "score_ci_high",
    "rank_group",
    "train_score",
    "validation_score",
    "generalization_gap",
    "gap_ci_low",
    "gap_ci_high",
    "train_loss",
    "test_loss",
    "loss_gap",
    "ece",
    "ece_calibrated",
    "brier",
    "nll",
    "temperature",
    "train_seconds",
    "tokens_per_second",
    "peak_memory_bytes",
    "trainable_params",
    "train_flops",
    "tune_trials",
    "tune_seconds",
    "n_failed",
    "device",
    "config_hash",
)
UNCERTAINTY = ("score_ci_over", "min_detectable_effect")
"""What a leaderboard has more where any score has an interval."""

BLOCK = ["suite", "task", "backbone", "start", "setting"]
"""What rows must share to be compared."""

STOPPED = "interrupted"
NOT_FAILED = ("ok", "skipped", "missing", STOPPED)
PAPER = " [paper]"
"""Mark of a variant whose checkpoint was chosen on the test split, as the papers do."""

_CELL = ["suite", "task", "backbone", "start", "method", "variant", "config_hash"]
_MEANS = (
    "train_score",
    "validation_score",
    "train_loss",
    "test_loss",
    "loss_gap",
    "ece",
    "ece_calibrated",
    "brier",
    "nll",
    "temperature",
    "train_seconds",
    "tokens_per_second",
    "peak_memory_bytes",
    "trainable_params",
    "train_flops",
    "bayes_score",
    "bayes_ece",
)
_FITTED_ON_VALIDATION = ("ece_calibrated", "temperature")
_ON_ONE_MACHINE = ("train_seconds", "tokens_per_second", "peak_memory_bytes")
_FROM_RECORDS = ("metric", "setting", "protocol", "higher_is_better")
_OBJECTS = ("by_seed", "ok_runs", "checkpoints", "estimate", "family")
_EXTRA = (
    *UNCERTAINTY,
    "start",
    "n_unscored",
    "n_stopped",
    *_FROM_RECORDS[1:],
    "bayes_score",
    "bayes_ece",
    "machine",
    *_OBJECTS,
)
_WHOLE = (
    "n_seeds",
    "rank_group",
    "peak_memory_bytes",
    "trainable_params",
    "tune_trials",
    "n_failed",
    "n_unscored",
    "n_stopped",
)


def summarise(results: Results) -> pd.DataFrame:
    """Average runs into one row per cell, in report order.

    A score is the mean over the seeds that ended well and whose main test metric is defined;
    `n_seeds` counts them. `n_failed` counts runs that ended in any other way than well or skipped;
    a planned run without a record has not failed, and nor has one that was stopped. Intervals of
    scores are over what `score_ci_over` says; `min_detectable_effect` is the least true difference
    to the best method that 80 % of such studies would find. A cell that ran on several machines has
    no seconds, throughput or memory. Cells are compared within their `BLOCK` only, which stand in
    the order of `runs`; inside, cells are sorted by rank group, then score, those without at the
    end. A variant under the paper protocol carries the mark `PAPER`; it has neither temperature nor
    scaled error, since its temperature was fitted on the test split.

    Args:
        results: a results folder, whose stored predictions are read run by run.

    Returns:
        The columns of the leaderboard and, after them, `start` (adapter that runs start from, "" if
        none), `n_unscored` (runs that ended well and whose main metric is undefined), `n_stopped`
        (runs that were stopped and will go on), `setting`, `protocol`, `higher_is_better`,
        `bayes_score`, `bayes_ece`, `machine` (device and threads, "" if several), and of the runs
        that ended well `by_seed`, scores by seed, `ok_runs`, hashes by seed, and `checkpoints`, the
        steps that were chosen; `estimate`, of the score, and `family`, the comparisons of the
        block, where a row is known by `reports.tables.ranking.key_of`.
    """
    cells: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in cast("list[dict[str, Any]]", results.runs.to_dict("records")):
        cells.setdefault(tuple(run[name] for name in _CELL), []).append(run)
    content = [dict(zip(_CELL, key, strict=True)) | _cell(cell) for key, cell in cells.items()]
    table = _typed(pd.DataFrame(content, columns=[*COLUMNS, *_EXTRA]))
    table = _with_known_setting(table)
    blocks = [compared(results, block) for _, block in table.groupby(BLOCK, sort=False)]
    table = pd.concat(blocks, ignore_index=True) if blocks else table
    return _typed(table)


def leaderboard(summary: pd.DataFrame) -> pd.DataFrame:
    """Return `COLUMNS` of the table of `summarise`, in their order.

    Where any cell has one, `start` follows the backbone, and `UNCERTAINTY` comes last.
    """
    start = ["start"] if (summary["start"] != "").any() else []
    more = UNCERTAINTY if summary["score_ci_low"].notna().any() else ()
    return summary[[*COLUMNS[:3], *start, *COLUMNS[3:], *more]]


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """Yield the rows of a table as named tuples, whose fields have no static types."""
    # `itertuples` takes four times as long on a table of so many columns.
    yield from map(_maker(tuple(table.columns)), table.astype(object).to_numpy().tolist())


@cache
def _maker(names: tuple[str, ...]) -> Callable[[list[Any]], Any]:
    row: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # the names are data
    return lambda values: row(*values)


def _cell(runs: list[dict[str, Any]]) -> dict[str, Any]:
    ok = [run for run in runs if run["status"] == "ok"]
    by_seed = {run["seed"]: run["test_score"] for run in ok if pd.notna(run["test_score"])}
    score = mean_interval(list(by_seed.values()))
    gap = mean_interval(_present(ok, "generalization_gap"))
    # A run that failed still says what it was to be; a missing one does not.
    known = next((run for run in runs if run["setting"]), None)
    machines = sorted({_machine(run) for run in ok})
    row = {name: known[name] for name in _FROM_RECORDS} if known else {}
    if row.get("protocol") == "paper":
        row["variant"] = (runs[0]["variant"] + PAPER).strip()
    row |= {name: mean_interval(_present(ok, name)).mean for name in _MEANS}
    if row.get("protocol") == "paper":
        row |= dict.fromkeys(_FITTED_ON_VALIDATION)
    if len(machines) > 1:
        row |= dict.fromkeys(_ON_ONE_MACHINE)
    return row | {
        "n_seeds": score.n,
        "by_seed": by_seed,
        "ok_runs": {run["seed"]: run["run_hash"] for run in ok},
        "checkpoints": sorted(set(_present(ok, "checkpoint_step"))),
        "score": score.mean,
        "generalization_gap": gap.mean,
        "gap_ci_low": gap.low,
        "gap_ci_high": gap.high,
        "n_failed": sum(run["status"] not in NOT_FAILED for run in runs),
        "n_unscored": len(ok) - score.n,
        "n_stopped": sum(run["status"] == STOPPED for run in runs),
        "device": "; ".join(sorted({run["device"] for run in ok})),
        "machine": machines[0] if len(machines) == 1 else "",
    }


def _present(runs: list[dict[str, Any]], name: str) -> list[float]:
    return [run[name] for run in runs if pd.notna(run[name])]


def _machine(run: dict[str, Any]) -> str:
    """Return where a run took place; on a CPU the number of threads makes another machine."""
    threads = f" ({run['threads']} threads)" if run["device_type"] == "cpu" else ""
    return f"{run['device']}{threads}"


def _with_known_setting(table: pd.DataFrame) -> pd.DataFrame:
    """Put cells that never ran beside others, where these agree on what was asked for."""
    places = table.groupby(["suite", "task", "backbone", "start"], sort=False)["setting"]
    only = places.transform(lambda settings: _only(set(settings) - {""}))
    table["setting"] = table["setting"].where(table["setting"] != "", only)
    return table


def _only(values: set[str]) -> str:
    return values.pop() if len(values) == 1 else ""


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Give every column its type, so that an empty cell is empty and a count has no decimals."""
    text = {*_CELL, "metric", "device", "setting", "protocol", "machine", "score_ci_over"}
    for name in table.columns.drop(list(_OBJECTS)):
        if name in text:
            table[name] = table[name].astype("str").fillna("")
        elif name == "higher_is_better":
            table[name] = table[name].astype("boolean")
        else:
            values = pd.to_numeric(table[name]).astype("float64")
            table[name] = values.round().astype("Int64") if name in _WHOLE else values
    return table
