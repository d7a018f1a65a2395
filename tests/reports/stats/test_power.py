"""Power, detectable differences and needed seeds against statsmodels and simulation."""

import math

import numpy as np
import pytest
from scipy import stats as reference
from statsmodels.stats.power import (  # type: ignore[import-untyped]
    NormalIndPower,
    TTestPower,
)

from gapbench.reports.stats.estimates import Estimate
from gapbench.reports.stats.power import POWER, detectable, more_seeds, power


def made(mean: float, seeds: float, items: float, n: int) -> Estimate:
    """Return an estimate over n seeds and many items."""
    return Estimate(*map(np.asarray, (mean, seeds, items, n - 1.0, 1e6)))


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_power_over_seeds_alone_is_that_of_the_t_test(n: int, alpha: float) -> None:
    """With no variance from items it is scipy's noncentral t, and so is its inverse."""
    reach = reference.t.isf(alpha / 2, n - 1)
    for size in (0.3, 0.8, 1.5):
        upper = reference.nct.sf(reach, n - 1, size * np.sqrt(n))
        lower = reference.nct.cdf(-reach, n - 1, size * np.sqrt(n))
        found = power(size, made(0, 1 / n, 0, n), alpha)
        assert found == pytest.approx(upper + lower, abs=2e-3)
    least = detectable(made(0, 1 / n, 0, n), alpha)
    assert least is not None
    found = reference.nct.sf(reach, n - 1, least * np.sqrt(n))
    assert found == pytest.approx(POWER, abs=1e-3)


def test_power_over_items_alone_is_that_of_the_normal_test() -> None:
    """Where seeds add nothing, few of them cost nothing."""
    expected = NormalIndPower(ddof=0).power(2.5, 1, 0.05, ratio=0)
    assert power(2.5, made(0, 0, 1, 3), 0.05) == pytest.approx(expected, abs=1e-4)


def test_power_over_both_is_what_simulated_studies_find() -> None:
    """Of many studies with a true difference, the test finds the foretold share."""
    rng = np.random.default_rng(0)
    n, runs = 4, 20_000
    estimates = Estimate(
        rng.normal(2.5, np.sqrt(0.5 + 0.7), runs),
        0.5 * rng.chisquare(n - 1, runs) / (n - 1),
        np.full(runs, 0.7),
        np.full(runs, n - 1.0),
        np.full(runs, 1e6),
    )
    found = float(np.mean(estimates.p_value() < 0.05))
    assert power(2.5, made(0, 0.5, 0.7, n), 0.05) == pytest.approx(found, abs=0.01)


@pytest.mark.parametrize("size", [0.4, 0.8, 1.5])
def test_seeds_needed_are_those_of_the_t_test(size: float) -> None:
    """Over seeds alone, as many are needed as statsmodels says, rounded up."""
    n = 3
    expected = math.ceil(TTestPower().solve_power(size, None, 0.05, POWER))
    found = more_seeds(made(size, 1 / n, 0, n), n, 0.05)
    assert found is not None
    assert found == pytest.approx(expected - n, abs=1)


def test_seeds_needed_are_the_fewest_that_do() -> None:
    """With them the power is reached, and with one fewer it is not."""
    n, seen = 3, made(1.0, 0.4, 0.05, 3)
    more = more_seeds(seen, n, 0.01)
    assert more is not None
    assert 0 < more < 50

    def planned(seeds: float) -> float:
        return power(1.0, made(0, 0.4 * n / seeds, 0.05, int(seeds)), 0.01)

    assert planned(n + more) >= POWER > planned(n + more - 1)


def test_no_number_of_seeds_makes_up_for_too_few_items() -> None:
    """A difference below what the items alone would hide cannot be found."""
    assert more_seeds(made(0.02, 1e-5, 1e-4, 3), 3, 0.05) == math.inf
    assert more_seeds(made(0.0, 1e-5, 0.0, 3), 3, 0.05) == math.inf
    assert more_seeds(made(0.2, 1e-5, 1e-4, 3), 3, 0.05) == 0


def test_nothing_is_said_where_the_variance_is_unknown() -> None:
    """One seed tells neither what could be found nor what it would take."""
    unknown = made(0.1, math.nan, 0.0, 2)
    assert detectable(unknown, 0.05) is None
    assert more_seeds(unknown, 1, 0.05) is None
