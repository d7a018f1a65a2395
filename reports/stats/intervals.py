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


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return the mean of finite values with Student's t interval.

    The interval is None with fewer than two values, and with values that are all equal: a spread
    of zero over a few seeds is no evidence of certainty.

    Args:
        values: one finite value per seed.
        level: coverage of the interval, in (0, 1).
    """
    n = len(values)
    if n == 0:
        return Interval(0, None)
    mean = float(np.mean(values))
    if constant(values):
        return Interval(n, mean)
    half = float(stdtrit(n - 1, (1 + level) / 2) * np.std(values, ddof=1) / np.sqrt(n))
    return Interval(n, mean, mean - half, mean + half)


def constant(values: Sequence[float] | Floats, scale: float | None = None) -> bool:
    """Say whether values are too few or too equal, up to rounding, to have a spread.

    Args:
        values: finite, `(n,)`.
        scale: what rounding is measured against; the largest of the values if None.
    """
    if len(values) < 2:
        return True
    scale = float(np.abs(values).max()) if scale is None else scale
    return bool(np.ptp(values) <= 1e-12 * scale)


def interquartile_mean(values: Sequence[float]) -> float | None:
    """Return the mean without the lowest and the highest quarter, None of no values.

    Of each end a quarter is cut, rounded down to whole values, so that up to three values give
    their plain mean.

    Args:
        values: finite, `(n,)`.

    Source: Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice",
    2021, section 4.3.
    """
    if not len(values):
        return None
    cut = len(values) // 4
    return float(np.mean(np.sort(values)[cut : len(values) - cut]))
