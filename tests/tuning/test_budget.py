"""What trials are charged: what they used where it is known, and a whole trial where it is not."""

from typing import Any

import pytest

from gapbench.bench.tuning import analysis
from gapbench.bench.tuning.budget import spent
from gapbench.bench.tuning.schema import Limit, TrialRow, TrialState, Unit
from tests.support.fabricated_studies import make_trial

NOTHING: dict[str, Any] = {"steps": 0, "examples": 0, "seconds": 0.0}
WHOLE = {"trials": 1.0, "steps": 40.0, "examples": 640.0, "seconds": 0.0}
UNITS: tuple[Unit, ...] = ("trials", "steps", "examples", "seconds")


def charged(unit: Unit, *rows: TrialRow) -> float:
    """Return what trials are charged in a unit."""
    return spent(Limit(unit=unit, amount=10_000), rows, WHOLE[unit])


@pytest.mark.parametrize(("unit", "used"), [("steps", 4), ("examples", 64), ("seconds", 0.2)])
@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.PRUNED])
def test_trial_that_ended_early_is_charged_for_what_it_used(
    unit: Unit, used: float, state: TrialState
) -> None:
    """A divergence after a tenth of the steps costs a tenth, as a pruned trial does."""
    early = make_trial(1, None, state=state, steps=4, examples=64, seconds=0.2)
    assert charged(unit, make_trial(0), early) - charged(unit, make_trial(0)) == pytest.approx(used)


@pytest.mark.parametrize(("unit", "whole"), [("steps", 40), ("examples", 640), ("seconds", 2)])
@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.RUNNING])
def test_trial_whose_cost_is_unknown_is_charged_in_full(
    unit: Unit, whole: float, state: TrialState
) -> None:
    """One that left no figures, or is under way, costs as much as the dearest so far."""
    unknown = make_trial(1, None, state=state, **NOTHING)
    assert charged(unit, make_trial(0), unknown) == pytest.approx(2 * whole)


@pytest.mark.parametrize("unit", UNITS)
def test_spent_agrees_with_the_table_of_costs_where_all_trials_left_figures(unit: Unit) -> None:
    """Failed and pruned ones included."""
    rows = (
        make_trial(0),
        make_trial(1, None, steps=7, examples=112, seconds=0.4),
        make_trial(2, 0.6, state=TrialState.PRUNED, steps=10, examples=160, seconds=0.5),
    )
    tally = analysis.tally(rows)
    assert charged(unit, *rows) == pytest.approx(getattr(tally, unit))
