"""Methods of one task compared in pairs, on the seeds and test items that both have.

Two runs of one seed share the order of the data and, where they have one, the start; all runs share
the test items. Their difference leaves out what is common, and so says more than two intervals side
by side.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gapbench.reports.stats.estimates import Estimate, Sample, averaged, covariance, two_level
from gapbench.reports.stats.intervals import Floats
from gapbench.reports.stats.simultaneous import ALPHA, WITH_REFERENCE, Bounds, bounds

Key = TypeVar("Key", bound=Hashable)
_ROUNDING = 1e-5
"""Part of a value by which runs that compute the same in float32 may differ.

Stacks of other sizes round otherwise: equal methods had losses that were 1e-7 apart.
"""


@dataclass(frozen=True)
class Pair:
    """What is known of two methods.

    Attributes:
        difference: mean of first minus second; None without common seeds.
        low: lower end of the simultaneous interval; None where nothing is known to vary.
        high: upper end, likewise.
        n_seeds: common seeds.
        alpha: level of this interval by itself.
        items: whether it is over items beside seeds.
    """

    difference: float | None
    low: float | None
    high: float | None
    n_seeds: int
    alpha: float
    items: bool

    @property
    def apart(self) -> bool:
        """Whether the interval excludes zero, which is what every claim rests on."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Family(Generic[Key]):
    """All pairs of some methods, whose intervals hold together.

    Attributes:
        places: row and column of each method in what follows, which are all `(M, M)`. Names of the
            same runs share theirs, so that these are compared with others once.
        n_seeds: common seeds of each pair.
        estimate: first minus second.
        bounds: of the simultaneous intervals.
        width: largest possible difference.
        excess: variance that more seeds do not lessen, per variance of one seed's difference.
    """

    places: Mapping[Key, int]
    n_seeds: NDArray[np.int64]
    estimate: Estimate
    bounds: Bounds
    width: float = np.inf
    excess: float = 0.0

    def beats(self, first: Key, second: Key, *, higher_is_better: bool) -> bool:
        """Return whether a method is better than another; never if the data do not tell."""
        found = self.pair(first, second)
        return found.apart and ((found.difference or 0.0) > 0) == higher_is_better

    def beaten_by(self, *, higher_is_better: bool) -> dict[Key, tuple[Key, ...]]:
        """Return for each method those that are better, in the order of `places`."""
        mean = self.estimate.mean if higher_is_better else -self.estimate.mean
        with np.errstate(invalid="ignore"):
            better = mean > self.bounds.half
        keys = list(self.places.items())
        return {
            key: tuple(other for other, row in keys if better[row, place]) for key, place in keys
        }

    def pair(self, first: Key, second: Key) -> Pair:
        """Return what is known of one pair."""
        place = self.places[first], self.places[second]
        mean, half = float(self.estimate.mean[place]), float(self.bounds.half[place])
        own = self.estimate[place]
        identical = mean == 0 and own.seed_variance + own.item_variance == 0
        known = not np.isnan(half) and not identical  # the floor of other pairs says nothing of it
        return Pair(
            difference=None if np.isnan(mean) else mean,
            low=max(mean - half, -self.width) if known else None,
            high=min(mean + half, self.width) if known else None,
            n_seeds=int(self.n_seeds[place]),
            alpha=float(self.bounds.alpha[place]),
            items=bool(np.isfinite(self.estimate.item_df[place])),
        )


def family(
    samples: Mapping[Key, Sample],
    alpha: float = ALPHA,
    reference: Key | None = None,
    share: float = WITH_REFERENCE,
) -> Family[Key]:
    """Compare all pairs of methods on one task.

    Args:
        samples: of each method.
        alpha: level of all intervals together.
        reference: the method that the others are to be compared with first, if any.
        share: of the level for comparisons with it.
    """
    every, size = list(samples.values()), len(samples)
    sets = max((len(each.strata) for each in every), default=0)
    runs = [
        (place, seed) for place, each in enumerate(every) for seed in each.scores if each.strata
    ]
    rows = {run: row for row, run in enumerate(runs)}
    shared = [
        covariance([every[place].strata[k][seed] for place, seed in runs]) for k in range(sets)
    ]
    n_seeds = np.zeros((size, size), dtype=np.int64)
    tables = {part: np.full((size, size), np.nan) for part in Estimate.__dataclass_fields__}
    for (seeds, over_items), pairs in _alike(every).items():
        sides = np.transpose(pairs)
        scores = np.array(
            [[[every[place].scores[seed] for seed in seeds] for place in side] for side in sides]
        )
        known: list[Floats] = []
        if over_items:
            ours, theirs = (
                np.array([[rows[place, seed] for seed in seeds] for place in side], dtype=np.intp)
                for side in sides
            )
            known = [_of_differences(each, ours, theirs) for each in shared]
        scale = np.abs(scores).max(axis=(0, 2), initial=0.0)
        sizes = every[sides[0][0]].sizes if over_items else ()
        excess = max(every[place].excess(seeds) for place in np.unique(sides))
        differences = _unrounded(scores[0] - scores[1], scale, _ROUNDING)
        found = two_level(differences, known, sizes, scale, excess)
        for first, second, sign in ((*sides, 1), (*sides[::-1], -1)):
            n_seeds[first, second] = len(seeds)
            for part, table in tables.items():
                table[first, second] = getattr(found, part) * (sign if part == "mean" else 1)
    for place, each in enumerate(every):  # what does not differ from itself, and never will
        n_seeds[place, place] = len(each.scores)
        for part, value in zip(tables, (0.0, 0.0, 0.0, 1.0, np.inf, 0.0), strict=True):
            tables[part][place, place] = value
    places = {key: place for place, key in enumerate(samples)}
    width = min((each.width for each in every), default=np.inf)
    first_place = None if reference is None else places[reference]
    mean = Estimate(**tables)
    excess = max((each.excess(each.scores) for each in every), default=0.0)
    limits = bounds(mean, n_seeds, alpha, first_place, share)
    return Family(places, n_seeds, mean, limits, width, excess)


def averaged_family(
    families: Sequence[Family[Key]],
    scales: Sequence[float] | None = None,
    alpha: float = ALPHA,
    reference: Key | None = None,
    share: float = WITH_REFERENCE,
) -> Family[Key]:
    """Compare the means over tasks of those methods that all families have, in their order.

    Args:
        families: one for each task; at least one.
        scales: what differences on each task are multiplied by before they are averaged; 1 if None.
        alpha: level of all intervals together.
        reference: the method that the others are to be compared with first, if any.
        share: of the level for comparisons with it.
    """
    factors = [1.0] * len(families) if scales is None else scales
    own = {
        key: tuple(each.places[key] for each in families)
        for key in families[0].places
        if all(key in each.places for each in families)
    }
    lines = list(dict.fromkeys(own.values()))  # one for names of the same runs on every task
    chosen = [np.ix_(*2 * [[line[task] for line in lines]]) for task in range(len(families))]
    pairs = [
        (each, index, factor) for each, index, factor in zip(families, chosen, factors, strict=True)
    ]
    n_seeds = np.min([each.n_seeds[index] for each, index, _ in pairs], axis=0)
    mean = averaged([each.estimate[index].scaled(factor) for each, index, factor in pairs])
    width = float(np.mean([each.width * abs(factor) for each, _, factor in pairs]))
    places = {key: lines.index(line) for key, line in own.items()}
    place = None if reference is None else places.get(reference)
    excess = float(np.mean([each.excess for each in families]))
    return Family(places, n_seeds, mean, bounds(mean, n_seeds, alpha, place, share), width, excess)


def _alike(
    every: Sequence[Sample],
) -> dict[tuple[tuple[int, ...], bool], list[tuple[int, int]]]:
    """Return pairs of places by their common seeds and by whether both know their items.

    Pairs that agree in these are worked out at once.
    """
    found: dict[tuple[tuple[int, ...], bool], list[tuple[int, int]]] = {}
    for (i, one), (j, other) in combinations(enumerate(every), 2):
        seeds = tuple(sorted(one.scores.keys() & other.scores.keys()))
        over_items = bool(one.strata and other.strata)
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

    own, both = block(ours, ours), block(ours, theirs)
    found = own + block(theirs, theirs) - both - both.transpose(0, 2, 1)
    return _unrounded(found, np.abs(own).max(axis=(1, 2), initial=0.0), _ROUNDING**2)


def _unrounded(differences: Floats, sizes: Floats, part: float) -> Floats:
    """Return differences, `(pairs, ...)`, with 0 where they are rounding of sizes, `(pairs,)`."""
    least = part * sizes.reshape(-1, *[1] * (differences.ndim - 1))
    return np.where(np.abs(differences) > least, differences, 0.0)
