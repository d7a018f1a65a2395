"""What a comparison could have found: the least detectable difference, and the seeds it would take.

Both take the variances that were seen for the true ones, and the number of items for given.
"""

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy.special import chdtri, ndtr

from gapbench.reports.stats.estimates import Estimate
from gapbench.reports.stats.intervals import Floats

POWER = 0.8
"""Share of studies that shall find the difference."""

_NODES = (np.arange(256) + 0.5) / 256
_MOST = 1_000_000
"""A difference that takes more seeds than these is none."""


def power(effect: float, estimate: Estimate, alpha: float) -> float:
    """Return the share of studies whose two-sided test is significant.

    The mean is normal, its variance between seeds a multiple of a chi-squared, over which the share
    is averaged at 256 equally likely values. Without variance from items it is the power of
    Student's t test.

    Args:
        effect: true difference.
        estimate: a single one; its variances are taken for the true ones.
        alpha: level of the test.
    """
    return _found(effect, float(estimate.error), _thresholds(estimate, alpha))


def detectable(estimate: Estimate, alpha: float) -> float | None:
    """Return the least true difference that is found with `POWER`, None where nothing is known.

    Args:
        estimate: a single difference.
        alpha: level of the test.
    """
    error = float(estimate.error)
    if math.isnan(error):
        return None
    thresholds = _thresholds(estimate, alpha)
    low, high = 0.0, error
    while _found(high, error, thresholds) < POWER:
        low, high = high, 2 * high
    for _ in range(20):
        middle = (low + high) / 2
        enough = _found(middle, error, thresholds) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return high


def more_seeds(estimate: Estimate, n: int, alpha: float) -> float | None:
    """Return how many more seeds would find a difference as large as the one seen with `POWER`.

    Args:
        estimate: a single difference.
        n: seeds that it was seen on.
        alpha: level of the test.

    Returns:
        A whole number, 0 where there are enough; infinite where no number would do, because items
        are too few or nothing is to be found; None where the variance is unknown.
    """
    effect = abs(float(estimate.mean))
    if math.isnan(float(estimate.error)):
        return None

    def enough(seeds: int) -> bool:
        planned = replace(
            estimate,
            seed_variance=estimate.seed_variance * n / seeds,
            seed_df=estimate.seed_df * (seeds - 1) / (n - 1),
        )
        return power(effect, planned, alpha) >= POWER

    if enough(n):
        return 0
    few, many = n, 2 * n
    while not enough(many):
        few, many = many, 2 * many
        if many > _MOST:
            return math.inf
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many - n


def _thresholds(estimate: Estimate, alpha: float) -> Floats:
    """Return thresholds of the test at equally likely values of the variance between seeds."""
    drawn = estimate.seed_variance * _chi_squared(float(estimate.seed_df))
    return replace(estimate, seed_variance=drawn).threshold(alpha)


@lru_cache(maxsize=1024)
def _chi_squared(df: float) -> Floats:
    """Return equally likely values of a chi-squared over its degrees of freedom."""
    return np.asarray(chdtri(df, _NODES) / df)


def _found(effect: float, error: float, thresholds: Floats) -> float:
    tails = ndtr((effect - thresholds) / error) + ndtr((-effect - thresholds) / error)
    return float(np.mean(tails))
