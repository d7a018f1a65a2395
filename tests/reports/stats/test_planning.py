"""Plans: their power against simulation, and ranges that hold the truth."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from gapbench.reports.stats.planning import Plan, optimism_of_best


def plan(**change: float) -> Plan:
    """Return two methods whose items are unknown."""
    given = {"seed_variance": 4e-4, "df": 4.0, "item_variance": 0.0, "item_df": np.inf}
    return Plan(**(given | change), methods=2, alpha=0.05)  # type: ignore[arg-type]


@pytest.mark.parametrize(("effect", "n"), [(0.02, 5), (0.05, 3), (0.01, 20)])
def test_power_of_two_methods_is_that_of_student(effect: float, n: int) -> None:
    """The noncentral t says the same."""
    away = effect / math.sqrt(4e-4 / n)
    reach = reference.t.isf(0.025, n - 1)
    expected = reference.nct.sf(reach, n - 1, away) + reference.nct.cdf(-reach, n - 1, away)
    assert plan().power(effect, n) == pytest.approx(expected, abs=0.01)


def test_seeds_and_detectable_difference_agree() -> None:
    """The seeds that a difference takes are the fewest at which it is detectable."""
    for low in (True, False):
        own = plan()._range()[0 if low else 1]
        n = int(own._seeds(0.02))
        assert own._detectable(n) <= 0.02 < own._detectable(n - 1)
    few, many = plan().seeds(0.02)
    assert few < many


def test_range_of_the_detectable_difference_holds_it_in_four_of_five_studies() -> None:
    """The variance that a study sees moves the range about the true value as it says."""
    rng = np.random.default_rng(0)
    truth = plan()._detectable(5)
    hits = []
    for drawn in 4e-4 * rng.chisquare(4, 80) / 4:
        low, high = plan(seed_variance=float(drawn)).detectable(5)
        hits.append(low <= truth <= high)
    assert np.mean(hits) == pytest.approx(0.8, abs=0.12)


def test_no_number_of_seeds_makes_up_for_too_few_items() -> None:
    """What items hide stays hidden."""
    found = plan(item_variance=1e-4, item_df=99.0).seeds(0.01)
    assert found == (math.inf, math.inf)


def test_seeds_are_sought_up_to_a_thousand() -> None:
    """A number between the last doubling and the limit is found."""
    found = plan(seed_variance=0.09**2, item_variance=1e-8, item_df=999.0)._seeds(0.01)
    assert 512 < found < 1000


def test_optimism_of_best_is_the_mean_of_the_highest_of_equals() -> None:
    """Of seven normal means with a standard deviation of 1, the best is 1.352 too high."""
    assert optimism_of_best(7, 2.0) == pytest.approx(1.35218, abs=1e-4)
    assert optimism_of_best(1, 2.0) == pytest.approx(0.0, abs=1e-9)
