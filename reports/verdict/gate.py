"""Whether a change of code or libraries moved a method, by runs made before and after it.

Runs are paired by their hashes: the same cell and seed, trained twice. Where the numbers are equal,
nothing moved. Where they are not, chance is what happens to a seed: another order of sums, another
number of threads or another library changes a training a little, and the seeds apart from each
other. Under chance alone the differences of a row, after minus before, are as often above zero as
below. A row moved where the interval of their mean lies beyond the tolerance on one side.

All rows whose numbers differ are compared with a row that never differs, as methods are with an
untrained one: with floored variances, and so that all intervals of an outcome hold together.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gapbench.bench.core.errors import StoreError
from gapbench.reports.results.load import Results
from gapbench.reports.stats.estimates import Sample
from gapbench.reports.stats.pairwise import family
from gapbench.reports.stats.simultaneous import ALPHA
from gapbench.reports.tables.terminal import label, place

TOLERANCE = 1e-4
"""Differences up to this are none, as in `reproduce`."""

OUTCOMES = {
    "test_score": "test score",
    "validation_score": "validation score",
    "test_loss": "test loss",
}
"""What is compared; each outcome has an equal share of the level."""

LOST = ("failed", "diverged", "out_of_memory")
_UNCHANGED = "unchanged"
_ROW = ["task", "backbone", "start", "method", "variant", "config_hash"]


@dataclass(frozen=True)
class Change:
    """How one row differs in one outcome, after minus before.

    Attributes:
        name: method and, where it has one, variant.
        place: task, backbone and start in words.
        outcome: what differs, in words.
        difference: mean over seeds.
        low: lower end of the interval; None where seeds do not vary, or there is only one.
        high: upper end, likewise.
        n_seeds: common seeds with a value.
        moved: whether that is more than chance.
    """

    name: str
    place: str
    outcome: str
    difference: float
    low: float | None
    high: float | None
    n_seeds: int
    moved: bool


@dataclass(frozen=True)
class Gated:
    """Runs before and after a change.

    Attributes:
        n_runs: in both folders.
        n_equal: of these, those whose outcomes are equal up to `TOLERANCE`.
        changes: of each row and outcome that differs, those that moved first.
        lost: runs that ended well before and fail now.
        absent: number of runs that ended well before and have not ended now.
        confidence: that all intervals hold together with.
    """

    n_runs: int
    n_equal: int
    changes: tuple[Change, ...]
    lost: tuple[str, ...]
    absent: int
    confidence: float = 1 - ALPHA

    @property
    def moved(self) -> tuple[Change, ...]:
        """The changes that are more than chance."""
        return tuple(each for each in self.changes if each.moved)

    @property
    def passed(self) -> bool:
        """Whether nothing moved and no run was lost."""
        return not self.moved and not self.lost


def gate(before: Results, after: Results, alpha: float = ALPHA) -> Gated:
    """Compare the runs of two results folders.

    Args:
        before: the reference.
        after: the same runs after a change.
        alpha: rate of gates that stop what did not change.

    Raises:
        StoreError: if they have no run in common.
    """
    columns = [*_ROW, "seed", "run_hash", "status", *OUTCOMES]
    first, second = (
        each.runs.drop_duplicates("run_hash")[columns].set_index("run_hash")
        for each in (before, after)
    )
    first = first[first["status"] == "ok"]
    known = first.index.intersection(second.index)
    now = second.loc[known, "status"]
    lost = known[now.isin(LOST)]
    both = known[now == "ok"]
    if not len(both) and not len(lost):
        raise StoreError(
            f"results folders {after.store.root} and {before.store.root} have no run in common "
            "that ended in both; run the same suite on the same data and backbone, and compare "
            "with 'gapbench status'"
        )
    differences = second.loc[both, list(OUTCOMES)] - first.loc[both, list(OUTCOMES)]
    equal = (differences.abs().fillna(0.0) <= TOLERANCE).all(axis=1)
    rows = first.loc[both, [*_ROW, "seed"]]
    changes = [
        change
        for outcome in OUTCOMES
        for change in _changes(rows, differences[outcome], outcome, alpha / len(OUTCOMES))
    ]
    return Gated(
        n_runs=len(both) + len(lost),
        n_equal=int(equal.sum()),
        changes=tuple(sorted(changes, key=lambda each: not each.moved)),
        lost=tuple(_run(first.loc[one]) for one in lost),
        absent=len(first) - len(both) - len(lost),
    )


def _changes(
    rows: pd.DataFrame, differences: pd.Series, outcome: str, alpha: float
) -> Iterator[Change]:
    """Yield the rows that differ in an outcome."""
    cells: dict[tuple[Any, ...], dict[int, float]] = {}
    for key, own in rows.assign(by=differences).dropna(subset="by").groupby(_ROW, sort=False):
        by_seed = dict(zip(own["seed"].astype(int), own["by"].astype(float), strict=True))
        if max(map(abs, by_seed.values())) > TOLERANCE:
            cells[tuple(key)] = by_seed
    for key, (difference, low, high) in _intervals(cells, alpha).items():
        task, backbone, start, method, variant, _ = key
        n_seeds = len(cells[key])
        if low is None or high is None:
            moved = n_seeds > 1 and abs(difference) > TOLERANCE
        else:
            moved = low > TOLERANCE or high < -TOLERANCE
        yield Change(
            name=label(method, variant),
            place=place(task, backbone, start),
            outcome=OUTCOMES[outcome],
            difference=difference,
            low=low,
            high=high,
            n_seeds=n_seeds,
            moved=moved,
        )


def _intervals(
    cells: Mapping[tuple[Any, ...], Mapping[int, float]], alpha: float
) -> dict[tuple[Any, ...], tuple[float, float | None, float | None]]:
    """Return the mean difference of each row with its simultaneous interval."""
    seeds = {seed for own in cells.values() for seed in own}
    samples: dict[Any, Sample] = {key: Sample(own) for key, own in cells.items()}
    samples[_UNCHANGED] = Sample(dict.fromkeys(seeds, 0.0))
    found = family(samples, alpha, _UNCHANGED, share=1.0)
    answer = {}
    for key, own in cells.items():
        pair = found.pair(key, _UNCHANGED)
        answer[key] = float(np.mean(list(own.values()))), pair.low, pair.high
    return answer


def _run(row: Any) -> str:
    return f"{label(row.method, row.variant)} on {row.task}, seed {row.seed}"
