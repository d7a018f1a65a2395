"""The leaderboard: one row per cell, averaged over its seeds and compared in its board.

`reports.tables.summary` makes the rows, `reports.tables.terminal` the form that the table takes in
a terminal.
"""

from collections import namedtuple
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pandas as pd

COLUMNS = (
    "suite",
    "task",
    "backbone",
    "method",
    "variant",
    "n_seeds",
    "metric",
    "higher_is_better",
    "score",
    "score_ci_low",
    "score_ci_high",
    "status",
    "rank_group",
    "beaten_by",
    "reference",
    "vs_reference",
    "vs_reference_low",
    "vs_reference_high",
    "vs_reference_claim",
    "train_score",
    "train_score_ci_low",
    "train_score_ci_high",
    "validation_score",
    "validation_score_ci_low",
    "validation_score_ci_high",
    "generalization_gap",
    "gap_ci_low",
    "gap_ci_high",
    "train_loss",
    "test_loss",
    "loss_gap",
    "ece",
    "ece_ci_low",
    "ece_ci_high",
    "ece_calibrated",
    "brier",
    "nll",
    "nll_ci_low",
    "nll_ci_high",
    "temperature",
    "train_seconds",
    "evaluation_seconds",
    "forward_passes",
    "inference_passes",
    "tokens_per_second",
    "peak_memory_bytes",
    "trainable_params",
    "train_flops",
    "tune_trials",
    "tune_seconds",
    "n_failed",
    "device",
    "setting",
    "config_hash",
)
UNCERTAINTY = ("score_ci_over",)
"""What a leaderboard has more where any score has an interval."""

BOARD = ["suite", "task", "backbone", "start", "setting"]
"""What rows must share to be compared."""

PAPER = " [paper]"
"""Mark of a variant whose checkpoint was chosen on the test split, as the papers do."""

STOPPED = "interrupted"
PENDING = ("missing", STOPPED)
NOT_FAILED = ("ok", "skipped", *PENDING)


def leaderboard(summary: pd.DataFrame) -> pd.DataFrame:
    """Return `COLUMNS` of the table of `summarise`, in their order.

    Where any cell has one, `start` and `differs` follow the backbone, and `UNCERTAINTY` comes last.
    """
    place = [name for name in ("start", "differs") if (summary[name] != "").any()]
    more = UNCERTAINTY if summary["score_ci_low"].notna().any() else ()
    return summary[[*COLUMNS[:3], *place, *COLUMNS[3:], *more]]


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """Yield the rows of a table as named tuples, whose fields have no static types."""
    # `itertuples` takes four times as long on a table of so many columns.
    yield from map(_maker(tuple(table.columns)), table.astype(object).to_numpy().tolist())


def first_of(table: pd.DataFrame) -> Any:
    """Return the first row of a table as `rows` does, in a tenth of the time."""
    return _maker(tuple(table.columns))(table.iloc[0].tolist())


@cache
def _maker(names: tuple[str, ...]) -> Callable[[list[Any]], Any]:
    row: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # the names are data
    return lambda values: row(*values)
