"""Means over seeds and their confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval.

    Attributes:
        n: values seen.
        mean: their mean, None where there are none.
        low: lower end, None where the values cannot tell their spread.
        high: upper end, likewise.
    """

    n: int
    mean: float | None
    low: float | None = None
    high: float | None = None


def mean_interval(values: Sequence[float], excess: float = 0.0) -> Interval:
    """Return the mean of finite values with Student's t interval of 95 %.

    The interval is None with fewer than two values, and with values that are all equal: a spread
    of zero over a few seeds is no evidence of certainty.

    Args:
        values: one finite value per seed.
        excess: variance of the mean that more values do not lessen, per variance of one value.
    """
    n = len(values)
    if n == 0:
        return Interval(0, None)
    mean = float(np.mean(values))
    if n == 1 or np.ptp(values) <= 1e-12 * np.abs(values).max():  # equal, up to rounding
        return Interval(n, mean)
    error = np.std(values, ddof=1) * np.sqrt(1 / n + excess)
    half = float(stdtrit(n - 1, 0.975) * error)
    return Interval(n, mean, mean - half, mean + half)
