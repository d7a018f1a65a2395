"""Simulated studies whose truth is known, and how often something holds of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from gapbench.reports.stats.estimates import Estimate, Sample
from gapbench.reports.stats.pairwise import Family
from tests.support.simulated_runs import expected

Floats = NDArray[np.float64]
SEEDS = (3, 5, 10)


@dataclass(frozen=True)
class Case:
    """A world that studies are drawn from.

    Attributes:
        items: test items.
        seed: standard deviation between seeds; of right answers, of their log odds.
        level: log odds of a right answer, None where values are continuous.
        skewed: whether effects of seeds and items are exponential and not normal.
        own: what methods disagree about on items, as `seed`.
        spread: factors of `seed`, method by method, from first to last; 1 if methods are alike.
        noisy: place of a method whose seeds vary four times as much, if any.
        untrained: how many of the last methods are the same on every seed.
    """

    items: int = 400
    seed: float = 0.015
    level: float | None = None
    skewed: bool = False
    own: float = 0.15
    spread: float = 1.0
    noisy: int | None = None
    untrained: int = 0
    possible: tuple[float, float] = field(default=(-np.inf, np.inf))

    def draw(
        self, rng: np.random.Generator, shifts: Sequence[float], seeds: int
    ) -> tuple[Floats, Floats]:
        """Return values `(methods, seeds, items)` and true means `(methods,)`."""
        count = len(shifts)
        factors = np.geomspace(1, self.spread, count)
        if self.noisy is not None:
            factors[self.noisy] *= 4
        factors[count - self.untrained :] = 0
        bits = self.level is not None
        one = (1.5, 0.5, 0.0) if bits else (0.3, self.own, 0.25)
        hard = one[0] * self._noise(rng, (1, 1, self.items))
        likings = one[1] * rng.normal(size=(count, 1, self.items))
        trained = self.seed * factors[:, None, None] * self._noise(rng, (count, seeds, 1))
        total = np.asarray(shifts)[:, None, None] + hard + likings + trained
        if not bits:
            values = 0.7 + total + one[2] * rng.normal(size=(count, seeds, self.items))
            return self._fixed(values), 0.7 + np.asarray(shifts)
        level = self.level or 0.0
        right = rng.random(total.shape) < expit(level + total)
        deviations = np.sqrt(one[0] ** 2 + one[1] ** 2 + (self.seed * factors) ** 2)
        truth = [_expected(level + s, float(d)) for s, d in zip(shifts, deviations, strict=True)]
        return self._fixed(right.astype(np.float64)), np.array(truth)

    def _fixed(self, values: Floats) -> Floats:
        """Repeat the first run of untrained methods on every seed."""
        bare = slice(len(values) - self.untrained, None)
        values[bare] = values[bare, :1]
        return values

    def _noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return 1 - rng.exponential(size=shape) if self.skewed else rng.normal(size=shape)


_expected = cache(expected)

CASES = {
    "normal": Case(),
    "skewed": Case(skewed=True),
    "accuracy .8": Case(level=2.0, seed=0.1, possible=(0.0, 1.0)),
    "accuracy .98": Case(level=5.2, seed=0.2, possible=(0.0, 1.0)),
    "accuracy .98, 100 items": Case(items=100, level=5.2, seed=0.2, possible=(0.0, 1.0)),
    "items dominate": Case(items=100, seed=0.002),
    "seeds dominate": Case(seed=0.05),
}


def sample(values: Floats, case: Case = CASES["normal"]) -> Sample:
    """Return runs whose items have these values, `(seeds, items)`."""
    return Sample(dict(enumerate(values.mean(axis=1))), (dict(enumerate(values)),), case.possible)


def samples(values: Floats, case: Case) -> dict[int, Sample]:
    """Return methods, each with its runs."""
    return {method: sample(each, case) for method, each in enumerate(values)}


def holds(found: Estimate, seeds: int, truth: float, possible: tuple[float, float]) -> float:
    """Return whether an interval holds the truth, NaN where there is none."""
    ends = found.interval(seeds, possible)
    if ends.low is None or ends.high is None:
        return float("nan")
    return float(ends.low <= truth <= ends.high)


def claimed(found: Family[int]) -> bool:
    """Return whether any two methods are told apart."""
    with np.errstate(invalid="ignore"):
        return bool((np.abs(found.estimate.mean) > found.bounds.half).any())


def rates(
    studies: int, drawn: Callable[[np.random.Generator], object], seed: int | list[int]
) -> Floats:
    """Return the means over studies of what each gives; NaN counts for nothing."""
    rng = np.random.default_rng(seed)
    found = np.array([np.atleast_1d(drawn(rng)) for _ in range(studies)], dtype=np.float64)
    return np.asarray(np.nanmean(found, axis=0))
