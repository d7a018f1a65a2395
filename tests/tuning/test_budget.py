"""What trials are charged: what they used where it is known, and a whole trial where it is not."""

from typing import Any

import pytest

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Cell
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.tuning import analysis
from gapbench.bench.tuning.budget import check, planned, spent, wave
from gapbench.bench.tuning.schema import Limit, TrialRow, TrialState, Unit
from tests.support.fabricated_studies import make_study, make_trial
from tests.support.small_suite import CELL

COSTS = {"lora": 1.0, "hiddenkey": 1.5, "r_drop": 2.0, "lora_dropout": 4.0, "bilora": 4.0}
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


def of_method(name: str) -> Cell:
    """Return the cell of a method with its defaults."""
    fields = {field: getattr(CELL, field) for field in Cell.model_fields}
    config = registry.resolve_config(name, {}, "here")
    return Cell(**fields | {"method": name, "config": config})


@pytest.mark.parametrize("name", COSTS)
def test_default_budget_is_equal_compute(name: str) -> None:
    """A method has as many trials as cost what 32 trials of plain LoRA do, by its passes."""
    cell, plain = of_method(name), 640.0
    limit = Limit().charged(plain)
    assert (limit.unit, limit.amount) == ("examples", 32 * plain)
    each = planned(cell, limit, plain)
    assert each == COSTS[name] * plain
    rows = [make_trial(n, examples=round(each)) for n in range(int(32 / COSTS[name]))]
    assert wave(limit, rows, each) == 0
    assert wave(limit, rows[:-1], each) == 1
    assert spent(limit, rows, each) == pytest.approx(32 * plain, rel=each / (32 * plain))


def test_default_budget_lets_every_method_begin_its_search() -> None:
    """The dearest built-in method has its first spread points; one dearer is told what it takes."""
    for name, method in registry.discover().items():
        if method.trains and name != "peft":
            cell = of_method(name)
            check(Limit(), 640.0, planned(cell, Limit().charged(640.0), 640.0), name)
    with pytest.raises(ConfigError, match=r"budget of 32 compute is too .*give --compute 64"):
        check(Limit(), 640.0, 8 * 640.0, "here")
    for each, least in ((1.3 * 640.0, "--compute 11 or more"), (179_200.1, "--compute 2241 or")):
        with pytest.raises(ConfigError, match=f"give {least}"):  # as the command line takes it
            check(Limit(amount=1), 640.0, each, "here")


def test_compute_of_a_study_is_counted_in_trials_of_plain_lora() -> None:
    """Early ends count what they used; studies of 0.1 do not say what a plain trial is."""
    trials = (make_trial(0, examples=2560), make_trial(1, None, examples=320))
    study = make_study(trials=trials)
    assert analysis.summarise(study).tally.compute == pytest.approx(4.5)
    old = study.model_copy(update={"plain_examples": None})
    assert analysis.summarise(old).tally.compute is None


def test_method_that_fits_after_training_begins_with_one_trial() -> None:
    """What its fit takes is known once a trial has shown it."""
    limit = Limit(unit="examples", amount=1000.0)
    assert wave(limit, [], 10.0) > 1
    assert wave(limit, [], 10.0, known=False) == 1
