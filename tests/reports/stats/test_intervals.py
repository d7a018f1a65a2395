"""Means and their intervals against scipy, and what they refuse to answer."""

import numpy as np
import pytest
from scipy import stats as reference

from gapbench.reports.stats.intervals import mean_interval


@pytest.mark.parametrize("n", [2, 3, 10])
def test_mean_interval_of_random_values_equals_scipy(n: int) -> None:
    """The interval is scipy's t interval around the mean, for any number of seeds."""
    values = np.random.default_rng(n).normal(0.7, 0.02, n)
    low, high = reference.t.interval(0.95, n - 1, values.mean(), reference.sem(values))
    result = mean_interval(values.tolist())
    assert result.mean == pytest.approx(values.mean())
    assert (result.low, result.high) == pytest.approx((low, high))


@pytest.mark.parametrize("values", [[], [0.5], [0.3, 0.3, 0.3], [0.1 + 0.2, 0.3]])
def test_mean_interval_without_spread_is_empty(values: list[float]) -> None:
    """No interval is made up from no value, one value, or values equal up to rounding."""
    result = mean_interval(values)
    assert (result.low, result.high) == (None, None)
    assert result.mean == (pytest.approx(np.mean(values)) if values else None)
