"""What a study could tell: the true difference it would find, and the seeds that one would take.

Both are ranges: the variance between seeds is known from few of them, and its 10 % and 90 %
quantiles lie far apart. Neither looks at the difference that was seen: a study planned by that has
far less power than it seems, since only large differences are ever planned for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtri, ndtr

from gapbench.reports.stats.estimates import student
from gapbench.reports.stats.simultaneous import FLOOR, seed_thresholds

POWER = 0.8
"""Share of studies that shall find the difference."""

QUANTILES = (0.1, 0.9)
"""Of the variance, the ends of its range."""

MOST_SEEDS = 1000

_NODES = (np.arange(64) + 0.5) / 64


@dataclass(frozen=True)
class Plan:
    """Comparisons of some methods with one reference.

    Attributes:
        seed_variance: of one seed's difference to the reference.
        df: degrees of freedom that it is known by.
        item_variance: of the mean difference, from items.
        item_df: degrees of freedom of it, infinite where items are unknown.
        methods: how many are compared, the reference included.
        alpha: level of all comparisons with the reference together.
        strata: degrees of freedom that each seed beyond the first adds; several over tasks.
        excess: variance that more seeds do not lessen, per variance of one seed's difference.
    """

    seed_variance: float
    df: float
    item_variance: float
    item_df: float
    methods: int
    alpha: float
    strata: float = 1.0
    excess: float = 0.0

    def power(self, effect: float, n_seeds: int) -> float:
        """Return the share of studies that find a true difference, if variances are the true ones.

        The variance of the mean between seeds is no less than the floor of comparisons, computed
        from what is taken to be the true one.
        """
        per_mean = self.seed_variance * (1 / n_seeds + self.excess)
        df = max(n_seeds - 1.0, 1.0) * self.strata
        seen = per_mean * np.maximum(chdtri(df, _NODES) / df, FLOOR if self.methods > 2 else 0.0)
        seeds = float(seed_thresholds(self.alpha, np.asarray(df), self.methods, "reference"))
        items = float(student(self.item_df, self.alpha / max(self.methods - 1, 1)))
        reach = np.sqrt(seen * seeds**2 + self.item_variance * items**2)
        error = math.sqrt(per_mean + self.item_variance)
        return float(np.mean(ndtr((effect - reach) / error) + ndtr((-effect - reach) / error)))

    def detectable(self, n_seeds: int) -> tuple[float, float]:
        """Return the least difference that is found with `POWER`, at the ends of the variance."""
        low, high = (each._detectable(n_seeds) for each in self._range())
        return low, high

    def seeds(self, effect: float) -> tuple[float, float]:
        """Return how many seeds find a difference with `POWER`, likewise; infinite if none do."""
        low, high = (each._seeds(effect) for each in self._range())
        return low, high

    def _range(self) -> list["Plan"]:
        """Return the plan with the variance at the ends of its range."""
        return [
            replace(self, seed_variance=self.seed_variance * self.df / float(chdtri(self.df, tail)))
            for tail in QUANTILES
        ]

    def _detectable(self, n_seeds: int) -> float:
        error = math.sqrt(self.seed_variance * (1 / n_seeds + self.excess) + self.item_variance)
        if error == 0:
            return math.nan
        high = error
        while self.power(high, n_seeds) < POWER:
            high *= 2
        return _least(lambda effect: self.power(effect, n_seeds) >= POWER, 0.0, high)

    def _seeds(self, effect: float) -> float:
        # Asked first: where items alone leave too much open, none of the fewer needs a threshold.
        if self.power(effect, MOST_SEEDS) < POWER:
            return math.inf
        high = 2
        while self.power(effect, high) < POWER:
            high = min(2 * high, MOST_SEEDS)
        low = max(high // 2, 1)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.power(effect, middle) >= POWER else (middle, high)
        return float(high)


def _least(enough: Callable[[float], bool], low: float, high: float) -> float:
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def optimism_of_best(rows: int, variance: float) -> float:
    """Return how much the best mean of equal rows exceeds their common true mean, on average.

    Args:
        rows: whose means have equal variances and equal correlations.
        variance: of the difference of two of them.
    """
    places = np.linspace(-8, 8, 2001)
    density = np.exp(-(places**2) / 2) / math.sqrt(2 * math.pi)
    highest = rows * density * ndtr(places) ** (rows - 1)
    return float(np.trapezoid(places * highest, places)) * math.sqrt(variance / 2)
