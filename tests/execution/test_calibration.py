"""Times of kinds of run that no record tells: one variant that can be done speaks for its kind."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gapbench.bench.config.run import Cell, Run, SecondTest
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution import calibration
from gapbench.bench.execution.cost_model import Costs, cost_key
from tests.support.small_stack import CPU, make_runs


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> Costs:
    """Costs without records; every backbone is at hand, and ranks above 4 are refused."""
    made = Costs(Sources())
    monkeypatch.setattr(Sources, "weight_bytes", lambda *_: 1.0)

    def supported(cell: Any, *_: object) -> object:
        return "too high a rank" if cell.config["rank"] > 4 else _Backbone

    monkeypatch.setattr(calibration, "supported_backbone", supported)
    monkeypatch.setattr(calibration.dataset, "prepare", lambda *_: None)
    return made


class _Backbone:
    reader = None


def test_variant_that_can_be_done_is_measured_in_place_of_one_that_cannot(
    costs: Costs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first cell of a kind is refused, the second is not; only its own runs share a stack."""
    measured: list[Sequence[Run]] = []

    def seconds(runs: Sequence[Run], *_: object) -> float:
        measured.append(runs)
        return 7.0

    monkeypatch.setattr(calibration, "run_seconds", seconds)
    runs = make_runs("lora", range(4), configs=[{"rank": 8}, {"rank": 2}])
    calibration.calibrate(costs, runs, CPU)
    assert [costs.seconds(run.cell) for run in runs] == [7.0] * 4
    assert [[run.cell.config["rank"] for run in own] for own in measured] == [[2, 2]]


@pytest.mark.parametrize("ranks", [(8, 2), (2, 8)])
def test_variant_that_will_be_skipped_is_noted_with_its_reason(
    costs: Costs, monkeypatch: pytest.MonkeyPatch, ranks: tuple[int, int]
) -> None:
    """Also where another of its kind was measured before it."""
    monkeypatch.setattr(calibration, "run_seconds", lambda *_: 7.0)
    runs = make_runs("lora", range(4), configs=[{"rank": rank} for rank in ranks])
    calibration.calibrate(costs, runs, CPU)
    (refused,) = {run.cell.hash for run in runs if run.cell.config["rank"] == 8}
    assert costs.skipped == {refused: "too high a rank"}


def test_variant_that_cannot_be_looked_at_leaves_the_others(
    costs: Costs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that starts from an adapter that nobody can read."""
    known = calibration.supported_backbone

    def found(cell: Cell, *rest: Any) -> Any:
        if cell.config["rank"] == 4:
            raise RuntimeError("unreadable")
        return known(cell, *rest)

    monkeypatch.setattr(calibration, "supported_backbone", found)
    monkeypatch.setattr(calibration, "run_seconds", lambda *_: 7.0)
    runs = make_runs("lora", range(4), configs=[{"rank": 4}, {"rank": 2}])
    calibration.calibrate(costs, runs, CPU)
    assert costs.seconds(runs[1].cell) == 7.0
    assert costs.skipped == {}


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), IndexError("of a method")])
def test_kind_that_will_be_skipped_takes_no_time_and_one_that_fails_is_unknown(
    costs: Costs, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """An error of the measurement, whatever it is, is no time of zero, and ends no command."""
    skipped = make_runs("lora", configs=[{"rank": 8}])
    calibration.calibrate(costs, skipped, CPU)
    assert costs.seconds(skipped[0].cell) == 0.0

    def fail(*_: object) -> float:
        raise error

    monkeypatch.setattr(calibration, "run_seconds", fail)
    costs.unit_seconds.clear()
    able = make_runs("lora", configs=[{"rank": 2}])
    calibration.calibrate(costs, able, CPU)
    assert costs.unit_seconds == {}
    assert costs.unmeasured == {cost_key(able[0].cell): f"{type(error).__name__}: {error}"}


@pytest.mark.parametrize("budget_s", [None, 100.0])
def test_seconds_of_all_kinds_come_before_memory_and_a_budget_begins_with_the_cheapest(
    costs: Costs, monkeypatch: pytest.MonkeyPatch, budget_s: float | None
) -> None:
    """A forecast needs the kinds with the most work, a limited time those that run first."""
    now, order = [0.0], list[str]()

    def measuring(what: str, takes: float) -> Callable[[Sequence[Run] | Run], float]:
        def measured(runs: Sequence[Run] | Run, *_: object) -> float:
            run = runs if isinstance(runs, Run) else runs[0]
            order.append(f"{what} {run.cell.method}")
            now[0] += takes
            return takes

        return measured

    monkeypatch.setattr(calibration.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(calibration, "run_seconds", measuring("seconds", 6))
    monkeypatch.setattr(calibration, "footprint", measuring("memory", 40))
    configs = [{"rank": 2}]
    made = (make_runs(name, configs=configs) for name in ("lora", "bilora", "hiddenkey"))
    calibration.calibrate(costs, [run for runs in made for run in runs], CPU, budget_s=budget_s)
    if budget_s is None:
        every = ["seconds bilora", "seconds hiddenkey", "seconds lora"]
        assert order == [*every, "memory bilora", "memory hiddenkey"]
    else:  # a tenth of it is over after the second
        assert order == ["seconds lora", "seconds hiddenkey"]


def test_second_tests_make_another_kind_of_run() -> None:
    """The time of runs that are scored on more tells nothing of runs that are not."""
    cell = make_runs("lora")[0].cell
    test = SecondTest(task=cell.task, data=cell.data)
    assert cost_key(cell)[0] == cell.task.name
    assert cost_key(cell.changed({"also_test": (test,)})) != cost_key(cell)
