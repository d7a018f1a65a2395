"""Intervals where only seeds vary, against scipy, and what they refuse to answer."""

import numpy as np
import pytest
from scipy import stats as reference

from gapbench.reports.stats.estimates import Sample, estimate
from gapbench.reports.stats.intervals import Interval, mean_alone


def over_seeds(values: list[float]) -> Interval:
    """Return the interval of scores that no item adds to."""
    return estimate(Sample(dict(enumerate(values)))).interval(len(values))


@pytest.mark.parametrize("n", [2, 3, 10])
def test_interval_over_seeds_alone_equals_scipy(n: int) -> None:
    """It is scipy's t interval around the mean, for any number of seeds."""
    values = np.random.default_rng(n).normal(0.7, 0.02, n)
    low, high = reference.t.interval(0.95, n - 1, values.mean(), reference.sem(values))
    result = over_seeds(values.tolist())
    assert result.mean == pytest.approx(values.mean())
    assert (result.low, result.high) == pytest.approx((low, high))


@pytest.mark.parametrize("values", [[], [0.5], [0.3, 0.3, 0.3], [0.1 + 0.2, 0.3]])
def test_no_interval_is_made_up_without_spread(values: list[float]) -> None:
    """From no value, one value, or values equal up to rounding."""
    for result in (over_seeds(values), mean_alone(values)):
        assert (result.low, result.high) == (None, None)
        assert result.mean == (pytest.approx(np.mean(values)) if values else None)
