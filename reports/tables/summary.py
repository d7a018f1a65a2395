"""A results folder as rows of a leaderboard: cells averaged over seeds, and compared in boards."""

from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np
import pandas as pd

from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.schema import suggest
from gapbench.reports.results.frames import typed
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.stats.intervals import mean_alone
from gapbench.reports.stats.simultaneous import ALPHA, TOGETHER
from gapbench.reports.tables.glue import counted
from gapbench.reports.tables.leaderboard import (
    BOARD,
    COLUMNS,
    NOT_FAILED,
    PAPER,
    PENDING,
    STOPPED,
    UNCERTAINTY,
)
from gapbench.reports.tables.outcomes import MEAN, OUTCOMES, SPLITS
from gapbench.reports.tables.settings import with_differences
from gapbench.reports.tables.standing import (
    REFERENCE,
    Standing,
    depths,
    reference_of,
    standing,
    to_reference,
)

OVER_ITEMS = "seeds and items"
"""What the interval of a score is over."""

_CELL = ["suite", "task", "backbone", "start", "method", "variant", "config_hash"]
_MEANS = (
    "train_score",
    "validation_score",
    "train_loss",
    "test_loss",
    "loss_gap",
    "ece",
    "ece_calibrated",
    "ece_floor",
    "ece_classwise",
    "brier",
    "nll",
    "temperature",
    "forward_passes",
    "inference_passes",
    "trainable_params",
    "train_flops",
    "bayes_score",
    "bayes_ece",
)
_FITTED_ON_VALIDATION = ("ece_calibrated", "temperature")
_MEASURED = ("train_seconds", "evaluation_seconds", "tokens_per_second", "peak_memory_bytes")
"""Of one machine, and medians: other work on it slows single runs."""
_FROM_RECORDS = ("metric", "setting", "protocol", "higher_is_better")
_OBJECTS = ("by_seed", "ok_runs", "checkpoints", "lost", "pending", "stacks", "standing")
_PART = ("task", "backbone", "method")
_EXTRA = (
    *UNCERTAINTY,
    "start",
    "n_unscored",
    "n_stopped",
    "protocol",
    "name",
    "differs",
    "ece_floor",
    "ece_classwise",
    "bayes_score",
    "bayes_ece",
    "machine",
    *_OBJECTS,
)
_TEXT = {
    *_CELL,
    *("metric", "device", "setting", "protocol", "machine", "score_ci_over", "name", "differs"),
    *("status", "beaten_by", "reference", "vs_reference_claim"),
}
_WHOLE = (
    "n_seeds",
    "rank_group",
    "forward_passes",
    "inference_passes",
    "peak_memory_bytes",
    "trainable_params",
    "tune_trials",
    "n_failed",
    "n_unscored",
    "n_stopped",
)


def summarise(results: LoadedResults, reference: str = REFERENCE) -> pd.DataFrame:
    """Average runs into one row per cell, in report order.

    A score is the mean over the seeds that ended well and whose main test metric is defined, and of
    those lost, which count as `reports.tables.row_status` says; `n_seeds` counts the former.
    `n_failed` counts runs that ended in any other way than well or skipped; a planned run without a
    record has not failed, and nor has one that was stopped. Intervals of scores are over what
    `score_ci_over` says. Seconds, throughput and memory are medians; a cell that ran on several
    machines has none. Cells are compared within their `BOARD` only, which stand in the order of
    `runs`; inside, cells are sorted by score, ranked ones first. A variant under the paper protocol
    carries the mark `PAPER`; it has neither temperature nor scaled error, since its temperature was
    fitted on the test split.

    Of a part of a folder, rows are those of the part, and comparisons are those of the whole: a
    claim does not depend on what is looked at.

    Args:
        results: a results folder, whose stored predictions are read run by run.
        reference: name of the row, or of its method, that others are compared with first; what the
            suite names is taken for "", and where no row has it.

    Raises:
        ConfigError: if no row that is compared with those has the name of the reference.

    Returns:
        The columns of the leaderboard and, after them, `start` (adapter that runs start from, "" if
        none), `n_unscored` (runs that ended well and whose main metric is undefined), `n_stopped`
        (runs that were stopped and will go on), `protocol`, `higher_is_better`, `bayes_score`,
        `bayes_ece`, `machine` (device and threads, "" if several), `stacks` (how many runs trained
        together), and of the runs that ended well `by_seed`, scores by seed, `ok_runs`, hashes by
        seed, and `checkpoints`, the steps that were chosen; `lost`, seeds without a score;
        `pending`, hashes of runs not run yet by seed;
        `name`, of the row in `standing`, its block; `differs`, of `reports.tables.settings`.
    """
    if results.whole is not None:
        whole = summarise(results.whole, reference)
        part = set(zip(*(results.runs[name] for name in _PART), strict=True))
        kept = [key in part for key in zip(*(whole[name] for name in _PART), strict=True)]
        shown = whole[kept].reset_index(drop=True)
        _refuse_absent(reference, shown)
        return shown
    cells: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in cast("list[dict[str, Any]]", results.runs.to_dict("records")):
        cells.setdefault(tuple(run[name] for name in _CELL), []).append(run)
    content = [dict(zip(_CELL, key, strict=True)) | _cell(cell) for key, cell in cells.items()]
    table = typed(pd.DataFrame(content, columns=[*COLUMNS, *_EXTRA]), _TEXT, _WHOLE, _OBJECTS)
    table = _with_known_setting(table)
    blocks = [
        _compared(results, block, reference, alpha)
        for block, alpha in _levels([block for _, block in table.groupby(BOARD, sort=False)])
    ]
    table = pd.concat(blocks, ignore_index=True) if blocks else table
    _refuse_absent(reference, table)
    return typed(with_differences(table, results), _TEXT, _WHOLE, _OBJECTS)


def _refuse_absent(wanted: str, table: pd.DataFrame) -> None:
    """Refuse a reference that is beside none of the rows of a table."""
    found = {id(each): each for each in table["standing"]}.values()
    if wanted and found and not any(reference_of(each.rows, wanted) for each in found):
        names = sorted({name for each in found for name in each.rows})
        raise ConfigError(f"reference {wanted!r}: no row has it; {suggest(wanted, names)}")


def _levels(blocks: list[pd.DataFrame]) -> Iterator[tuple[pd.DataFrame, float]]:
    """Yield blocks with their shares of the level of their suite.

    Where a suite has several tasks, their mean has `TOGETHER` of it.
    """
    suites = [str(block["suite"].iloc[0]) for block in blocks]
    tasks: dict[str, set[str]] = {}
    for suite, block in zip(suites, blocks, strict=True):
        tasks.setdefault(suite, set()).add(str(block["task"].iloc[0]))
    for suite, block in zip(suites, blocks, strict=True):
        together = suite != "" and len(tasks[suite]) > 1
        yield block, ALPHA * (1 - TOGETHER if together else 1) / suites.count(suite)


def _compared(
    results: LoadedResults, block: pd.DataFrame, wanted: str, alpha: float
) -> pd.DataFrame:
    """Fill in what the rows of one block have from standing beside each other, and sort them."""
    found = counted(results, standing(results, block, wanted, alpha))
    beaten = found.beaten_by()
    groups = depths(beaten)
    content = [
        _intervals(found, name)
        | _to_reference(found, name)
        | {
            "name": name,
            "by_seed": found.scores[name],
            "standing": found,
            "status": found.status[name],
            "rank_group": groups.get(name),
            "beaten_by": "; ".join(beaten.get(name, ())),
            "reference": found.reference,
        }
        for name in found.rows
    ]
    block = block.assign(**pd.DataFrame(content, index=block.index, dtype=object))
    block = block.sort_values(["method", "variant"], kind="stable")
    block = block.sort_values("score", ascending=not found.upward, kind="stable")
    unranked = block["rank_group"].isna()
    return pd.concat([block[~unranked], block[unranked]])


def _intervals(found: Standing, name: str) -> dict[str, Any]:
    """Return the means of a row that have intervals, with their ends and what these are over."""
    content: dict[str, Any] = {}
    for outcome in OUTCOMES:
        column = MEAN[outcome]
        own = found.level(outcome, name)
        if own.mean is not None:
            content[column] = own.mean
        short = column.removeprefix("generalization_")
        content |= {f"{short}_ci_low": own.low, f"{short}_ci_high": own.high}
    for split in SPLITS:
        if (other := found.splits[split].get(name)) is not None:
            content |= {f"{split}_ci_low": other.low, f"{split}_ci_high": other.high}
    known = content["score_ci_low"] is not None
    return content | {"score_ci_over": OVER_ITEMS if known else ""}


def _to_reference(found: Standing, name: str) -> dict[str, Any]:
    """Return how the score of a row differs from that of the reference; nothing if untold."""
    both = {name, found.reference}
    families = (found.families["score"], *found.untrained.values())
    known = next((each for each in families if both <= each.places.keys()), None)
    if known is None or len(both) < 2:
        return {}
    return to_reference(known, name, found.reference, upward=found.upward)


def _cell(runs: list[dict[str, Any]]) -> dict[str, Any]:
    ok = [run for run in runs if run["status"] == "ok"]
    by_seed = {run["seed"]: run["test_score"] for run in ok if pd.notna(run["test_score"])}
    score = mean_alone(list(by_seed.values()))
    # A run that failed still says what it was to be; a missing one does not.
    known = next((run for run in runs if run["setting"]), None)
    machines = sorted({_machine(run) for run in ok})
    row = {name: known[name] for name in _FROM_RECORDS} if known else {}
    row |= {name: mean_alone(_present(ok, name)).mean for name in _MEANS}
    if row.get("protocol") == "paper":
        row |= dict.fromkeys(_FITTED_ON_VALIDATION)
    if len(machines) == 1:
        row |= {name: np.median(found) for name in _MEASURED if (found := _present(ok, name))}
    return row | {
        "n_seeds": score.n,
        "by_seed": by_seed,
        "ok_runs": {run["seed"]: run["run_hash"] for run in ok},
        "checkpoints": sorted(set(_present(ok, "checkpoint_step"))),
        "score": score.mean,
        "lost": _seeds(run for run in runs if run["status"] not in NOT_FAILED)
        + _seeds(run for run in ok if pd.isna(run["test_score"])),
        "pending": {run["seed"]: run["run_hash"] for run in runs if run["status"] in PENDING},
        "n_failed": sum(run["status"] not in NOT_FAILED for run in runs),
        "n_unscored": len(ok) - score.n,
        "n_stopped": sum(run["status"] == STOPPED for run in runs),
        "device": "; ".join(sorted({run["device"] for run in ok})),
        "machine": machines[0] if len(machines) == 1 else "",
        "stacks": tuple(sorted(set(_present(ok, "stack_size")))),
    }


def _seeds(runs: Iterable[dict[str, Any]]) -> tuple[int, ...]:
    return tuple(sorted(run["seed"] for run in runs))


def _present(runs: list[dict[str, Any]], name: str) -> list[float]:
    return [run[name] for run in runs if pd.notna(run[name])]


def _machine(run: dict[str, Any]) -> str:
    """Return where a run took place; on a CPU the number of threads makes another machine."""
    count = run["threads"]
    threads = f" ({count} thread{'' if count == 1 else 's'})"
    return f"{run['device']}{threads if run['device_type'] == 'cpu' else ''}"


def _with_known_setting(table: pd.DataFrame) -> pd.DataFrame:
    """Put cells that never ran beside others, where these agree on what was asked for.

    Then mark the variants of those whose checkpoints the test split chooses.
    """
    for name, place in (
        ("setting", ["suite", "task", "backbone", "start"]),
        ("protocol", ["suite", "start"]),
    ):
        known = table.groupby(place, sort=False)[name]
        only = known.transform(lambda values: _only(set(values) - {""}))
        table[name] = table[name].where(table[name] != "", only)
    marked = (table["variant"] + PAPER).str.strip()
    table["variant"] = table["variant"].where(table["protocol"] != "paper", marked)
    return table


def _only(values: set[str]) -> str:
    return values.pop() if len(values) == 1 else ""
