"""Methods of one task compared in pairs, on the seeds and test items that both have.

Two runs of one seed share the order of the data and, where they have one, the start; all runs share
the test items. Their difference leaves out what is common, and so says more than two intervals side
by side.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gapbench.reports.stats.comparison import ALPHA, Comparison
from gapbench.reports.stats.estimates import Estimate, Sample, averaged, covariance, two_level
from gapbench.reports.stats.intervals import Floats

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Family(Generic[Key]):
    """All pairs of some methods, corrected together.

    Attributes:
        places: row and column of each method in what follows, which are all `(C, C)`. Names of the
            same runs share theirs, so that these are compared with others once.
        n_seeds: common seeds of each pair.
        estimate: first minus second.
        p_values: of its being zero; NaN where untested.
        corrected: by `holm`, all pairs as one family.
        width: largest possible difference.
    """

    places: Mapping[Key, int]
    n_seeds: NDArray[np.int64]
    estimate: Estimate
    p_values: Floats
    corrected: Floats
    width: float = np.inf

    @property
    def strictest(self) -> float:
        """Level at which Holm tests the smallest p-value."""
        return ALPHA / max(1, int(np.isfinite(self.p_values).sum()) // 2)

    def beats(self, first: Key, second: Key, *, higher_is_better: bool) -> bool:
        """Return whether a method is significantly better than another; never if untested."""
        apart = bool(self.corrected[self.places[first], self.places[second]] < ALPHA)
        return apart and (self.difference(first, second) > 0) == higher_is_better

    def twins(self) -> dict[Key, Key]:
        """Return for each method the first one of the same runs, which may be itself."""
        first: dict[int, Key] = {}
        return {key: first.setdefault(place, key) for key, place in self.places.items()}

    def difference(self, first: Key, second: Key) -> float:
        """Return the mean of first minus second; NaN without common seeds."""
        return float(self.estimate.mean[self.places[first], self.places[second]])

    def compare(self, first: Key, second: Key) -> Comparison:
        """Return what is known of one pair."""
        place = self.places[first], self.places[second]
        return Comparison(
            self.estimate[place],
            int(self.n_seeds[place]),
            _known(self.p_values[place]),
            _known(self.corrected[place]),
            self.strictest,
            self.width,
        )


def family(samples: Mapping[Key, Sample]) -> Family[Key]:
    """Compare all pairs of methods on one task."""
    every, size = list(samples.values()), len(samples)
    runs = [(place, seed) for place, each in enumerate(every) for seed in each.values or {}]
    rows = {run: row for row, run in enumerate(runs)}
    shared = covariance([(every[place].values or {})[seed] for place, seed in runs])
    n_seeds = np.zeros((size, size), dtype=np.int64)
    tables = {part: np.full((size, size), np.nan) for part in Estimate.__dataclass_fields__}
    for (seeds, over_items), pairs in _alike(every).items():
        sides = np.transpose(pairs)
        scores = np.array(
            [[[every[place].scores[seed] for seed in seeds] for place in side] for side in sides]
        )
        known = None
        if over_items:
            ours, theirs = (
                np.array([[rows[place, seed] for seed in seeds] for place in side], dtype=np.intp)
                for side in sides
            )
            known = _of_differences(shared, ours, theirs)
        scale = np.abs(scores).max(axis=(0, 2), initial=0.0)
        found = two_level(scores[0] - scores[1], known, every[sides[0][0]].n_items, scale)
        for first, second, sign in ((*sides, 1), (*sides[::-1], -1)):
            n_seeds[first, second] = len(seeds)
            for part, table in tables.items():
                table[first, second] = getattr(found, part) * (sign if part == "mean" else 1)
    for place, each in enumerate(every):  # what does not differ from itself, and never will
        n_seeds[place, place] = len(each.scores)
        for part, value in zip(tables, (0.0, 0.0, 0.0, 1.0, np.inf), strict=True):
            tables[part][place, place] = value
    places = {key: place for place, key in enumerate(samples)}
    width = min((each.width for each in every), default=np.inf)
    return _tested(places, n_seeds, Estimate(**tables), width)


def averaged_family(families: Sequence[Family[Key]]) -> Family[Key]:
    """Compare the means over tasks of those methods that all families have, in their order.

    Args:
        families: one for each task; at least one.
    """
    own = {
        key: tuple(each.places[key] for each in families)
        for key in families[0].places
        if all(key in each.places for each in families)
    }
    lines = list(dict.fromkeys(own.values()))  # one for names of the same runs on every task
    chosen = [np.ix_(*2 * [[line[task] for line in lines]]) for task in range(len(families))]
    parts = zip(families, chosen, strict=True)
    n_seeds = np.min([each.n_seeds[index] for each, index in parts], axis=0)
    parts = zip(families, chosen, strict=True)
    mean = averaged([each.estimate[index] for each, index in parts])
    width = float(np.mean([each.width for each in families]))
    return _tested({key: lines.index(line) for key, line in own.items()}, n_seeds, mean, width)


def task_by_task(pairs: Sequence[tuple[Sample, Sample]]) -> list[Comparison]:
    """Compare two methods on several tasks, whose tests are corrected as one family.

    Args:
        pairs: first and second method on each task.
    """
    found = [family(dict(enumerate(pair))) for pair in pairs]
    p_values = np.array([each.p_values[0, 1] for each in found])
    strictest = ALPHA / max(1, int(np.isfinite(p_values).sum()))
    return [
        replace(each.compare(0, 1), corrected=_known(corrected), strictest=strictest)
        for each, corrected in zip(found, holm(p_values), strict=True)
    ]


def paired(first: Sample, second: Sample) -> Comparison:
    """Compare two methods by themselves, which needs no correction."""
    return family({0: first, 1: second}).compare(0, 1)


def holm(p_values: Floats) -> Floats:
    """Adjust p-values for testing all of them at once; NaN stays NaN and counts as no test.

    Args:
        p_values: `(n,)`.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    order = np.argsort(p_values)
    order = order[: int(np.isfinite(p_values).sum())]  # NaN is sorted to the end
    steps = len(order) - np.arange(len(order))
    adjusted = np.full(len(p_values), np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps * p_values[order]))
    return adjusted


def _alike(
    every: Sequence[Sample],
) -> dict[tuple[tuple[int, ...], bool], list[tuple[int, int]]]:
    """Return pairs of places by their common seeds and by whether both know their items.

    Pairs that agree in these are worked out at once.
    """
    found: dict[tuple[tuple[int, ...], bool], list[tuple[int, int]]] = {}
    for (i, one), (j, other) in combinations(enumerate(every), 2):
        seeds = tuple(sorted(one.scores.keys() & other.scores.keys()))
        over_items = one.values is not None and other.values is not None
        found.setdefault((seeds, over_items), []).append((i, j))
    return found


def _of_differences(shared: Floats, ours: NDArray[Any], theirs: NDArray[Any]) -> Floats:
    """Return the covariance of differences of runs, `(pairs, S, S)`, given that of the runs.

    Args:
        shared: of the runs.
        ours: their rows in it, `(pairs, S)`.
        theirs: likewise.
    """

    def block(rows: NDArray[Any], columns: NDArray[Any]) -> Floats:
        found: Floats = shared[rows[:, :, None], columns[:, None, :]]
        return found

    both = block(ours, theirs)
    return block(ours, ours) + block(theirs, theirs) - both - both.transpose(0, 2, 1)


def _tested(
    places: Mapping[Key, int], n_seeds: NDArray[np.int64], mean: Estimate, width: float
) -> Family[Key]:
    size = len(n_seeds)
    upper = np.triu_indices(size, 1)
    p_values, corrected = (np.full((size, size), np.nan) for _ in range(2))
    p_values[upper] = mean[upper].p_value()
    corrected[upper] = holm(p_values[upper])
    for table in (p_values, corrected):
        table.T[upper] = table[upper]
    return Family(places, n_seeds, mean, p_values, corrected, width)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
