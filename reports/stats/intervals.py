"""Means over seeds and their confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def mean_alone(values: Sequence[float]) -> Interval:
    """Return the mean of finite values without an interval: seeds alone do not tell how sure it is.

    Intervals are of `reports.stats.estimates`, over seeds and items.
    """
    return Interval(len(values), float(np.mean(values)) if len(values) else None)
