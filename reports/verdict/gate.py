"""Whether a change of code or libraries moved a method, by runs made before and after it.

Runs are paired by their hashes: the same cell and seed, trained twice. There are three cases.

- The numbers are equal: nothing moved.
- The scores along training are equal, and yet another checkpoint was chosen, or the same one scored
  otherwise. Choosing and scoring have no chance in them, so that the row moved.
- The trainings differ. Chance is what happens to a seed: another order of sums, another number of
  threads or another library changes a training a little, and it then goes its own way. Under
  chance alone the differences of a row, after minus before, are as often above zero as below. A
  row moved where the interval of their mean lies beyond `LEAST` on one side.

Of the last case, all rows are compared with a row that never differs, as methods are with an
untrained one: with floored variances, and so that all intervals of an outcome hold together. Losses
along training tell most: they average over many points, the first of which chance hardly reaches.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gapbench.bench.core.errors import StoreError
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.results.rows import CURVE
from gapbench.reports.stats.estimates import Sample
from gapbench.reports.stats.pairwise import family
from gapbench.reports.stats.simultaneous import ALPHA
from gapbench.reports.tables.terminal import label, place

TOLERANCE = 1e-4
"""Differences of one run up to this are none, as in `reproduce`."""

LEAST = 1e-3
"""Mean differences up to this are no move, whatever their cause."""

OUTCOMES = {
    "test_score": "test score",
    "test_loss": "test loss",
    "curve_train_loss": "train loss along training",
    "curve_test_loss": "test loss along training",
}
"""What trainings that differ are compared in; each outcome has an equal share of the level."""

CHOICE = "choice or scoring"
"""What differs where the trainings are equal."""

_RESULTS = ["validation_score", "test_score", "test_loss"]
_NO_CURVE = np.zeros((0, len(CURVE)))
_RECORDED = ["validation_score", "checkpoint_step", "test_score", "test_loss"]
_CURVES = ("train", "test")  # the splits whose losses along training are compared
_TURNED = 3  # validation items whose answer rounding may turn
LOST = ("failed", "diverged", "out_of_memory", "skipped")
_UNCHANGED = "unchanged"
_ROW = ["task", "backbone", "start", "method", "variant", "config_hash"]


@dataclass(frozen=True)
class Change:
    """How one row differs in one outcome, after minus before.

    Attributes:
        name: method and, where it has one, variant.
        place: task, backbone and start in words.
        outcome: what differs, in words: of `OUTCOMES`, or `CHOICE` of equal trainings.
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
        lost: runs that ended well before, and now fail, are skipped or lack a value.
        absent: number of runs that ended well before and were not run again.
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


def gate(before: LoadedResults, after: LoadedResults, alpha: float = ALPHA) -> Gated:
    """Compare the runs of two results folders.

    Args:
        before: the reference.
        after: the same runs after a change.
        alpha: rate of gates that stop what did not change.

    Raises:
        StoreError: if they have no run in common.
    """
    first, second = _ended(before), _ended(after)
    first = first[first["status"] == "ok"]
    known = first.index.intersection(second.index)
    now = second.loc[known, "status"]
    both = known[now == "ok"]
    empty = first.loc[both, _RESULTS].notna() & second.loc[both, _RESULTS].isna()
    lost = known[now.isin(LOST)].union(both[empty.any(axis=1)])
    both = both[~empty.any(axis=1)]
    if not len(both) and not len(lost):
        raise StoreError(
            f"results folders {after.store.root} and {before.store.root} have no run in common "
            "that ended in both; run the same suite on the same data and backbone, and compare "
            "with 'gapbench status'"
        )
    curves = [_curves(before, after, one) for one in both]
    same = pd.Series([_alike(each) for each in curves], index=both, dtype=bool)
    differences = second.loc[both, _RECORDED] - first.loc[both, _RECORDED]
    for split in _CURVES:
        means = [_mean(each[:, CURVE.index(f"{split}_loss")]) for each in curves]
        differences[f"curve_{split}_loss"] = pd.Series(means, index=both, dtype="float64")
    items = first.loc[both, "validation_examples"].astype("float64")
    otherwise = same & _chosen_or_scored_otherwise(differences, items)
    equal = same & (differences[_RESULTS].abs().fillna(0.0) <= TOLERANCE).all(axis=1)
    rows = first.loc[both, [*_ROW, "seed"]]
    changes = list(_otherwise(rows[otherwise], differences[otherwise]))
    for outcome in OUTCOMES:
        share = alpha / len(OUTCOMES)
        changes += _changes(rows[~otherwise], differences.loc[~otherwise, outcome], outcome, share)
    return Gated(
        n_runs=len(both) + len(lost),
        n_equal=int(equal.sum()),
        changes=tuple(sorted(changes, key=lambda each: not each.moved)),
        lost=tuple(_run(first.loc[one]) for one in lost),
        absent=len(first) - len(both) - len(lost),
    )


def _ended(results: LoadedResults) -> pd.DataFrame:
    """Return what is compared of the runs of a folder, by their hashes."""
    runs = results.runs.drop_duplicates("run_hash").set_index("run_hash")
    return runs[[*_ROW, "seed", "status", "validation_examples", *_RECORDED]]


def _curves(before: LoadedResults, after: LoadedResults, run_hash: str) -> NDArray[np.float64]:
    """Return what a run's curve differs by, after minus before, where both have a value.

    Points of train and test are few, and one of them is the chosen one, so that another choice has
    values at others.
    """
    one, other = (each.curves.get(run_hash, _NO_CURVE) for each in (before, after))
    common = min(len(one), len(other))  # another choice may have ended the training elsewhere
    return other[:common] - one[:common]


def _alike(differences: NDArray[np.float64]) -> bool:
    """Whether scores and losses along training are equal up to `TOLERANCE`."""
    return bool((np.abs(differences[np.isfinite(differences)]) <= TOLERANCE).all())


def _mean(differences: NDArray[np.float64]) -> float:
    known = differences[np.isfinite(differences)]
    return float(known.mean()) if len(known) else math.nan


def _chosen_or_scored_otherwise(
    differences: pd.DataFrame, items: "pd.Series[float]"
) -> "pd.Series[bool]":
    """Whether runs of equal trainings have other results, which is no chance.

    Where validation scores tie up to the tolerance, chance may choose either checkpoint, and it may
    turn the answer to single items, but no loss.

    Args:
        differences: of the runs, after minus before.
        items: in their validation split.
    """
    by = differences.abs().fillna(0.0)
    at_same_step = by["checkpoint_step"] == 0
    turned = (_TURNED / items).fillna(0.0).where(at_same_step, 0.0)
    chosen = by["validation_score"] > TOLERANCE + turned
    return chosen | (at_same_step & (by["test_loss"] > TOLERANCE))


def _otherwise(rows: pd.DataFrame, differences: pd.DataFrame) -> Iterator[Change]:
    """Yield the rows that were chosen or scored otherwise after equal trainings."""
    for key, own in rows.groupby(_ROW, sort=False):
        by = float(differences.loc[own.index, "test_score"].mean())
        yield _change(key, CHOICE, by, None, None, len(own), moved=True)


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
        n_seeds = len(cells[key])
        # Without an interval, several seeds are apart by the same.
        moved = n_seeds > 1 and abs(difference) > LEAST
        if low is not None and high is not None:
            moved = low > LEAST or high < -LEAST
        yield _change(key, OUTCOMES[outcome], difference, low, high, n_seeds, moved=moved)


def _change(
    key: Any,
    outcome: str,
    difference: float,
    low: float | None,
    high: float | None,
    n_seeds: int,
    *,
    moved: bool,
) -> Change:
    task, backbone, start, method, variant, _ = key
    name, where = label(method, variant), place(task, backbone, start)
    return Change(name, where, outcome, difference, low, high, n_seeds, moved)


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
