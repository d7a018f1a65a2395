"""Stacks are as large as measured steps say, and never larger than memory allows."""

from collections.abc import Callable

import pytest

from gapbench.bench.profiling import stack_size, step_timer
from gapbench.bench.profiling.stack_size import MOST, divide
from gapbench.bench.profiling.step_timer import StepSpeed
from tests.support.small_stack import CPU, MakeBackbone, load_backbone, make_runs, random_data

GIGABYTE = 2**30


class Machine:
    """A machine whose steps take what a test says."""

    def __init__(self, seconds: Callable[[int], float], each: int = 2**20) -> None:
        self.seconds = seconds
        self.each = each
        self.asked: list[int] = []

    def measure(self, runs: list[object], *_: object) -> StepSpeed:
        """Return the step of so many runs."""
        size = len(runs)
        self.asked.append(size)
        return StepSpeed(size, self.seconds(size), GIGABYTE + size * self.each)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Machine], None]:
    """Let a test's machine stand for this one, with nothing remembered and 4 GiB of memory."""
    memory: dict[str, object] = {}

    def stand_in(machine: Machine) -> None:
        memory.clear()
        monkeypatch.setattr(stack_size, "_GAIN", 0.05)
        monkeypatch.setattr(stack_size, "measure", machine.measure)
        monkeypatch.setattr(stack_size, "recall", memory.get)
        monkeypatch.setattr(stack_size, "remember", memory.__setitem__)
        monkeypatch.setattr(stack_size, "available", lambda _: 4 * GIGABYTE)

    return stand_in


def sizes(runs: int) -> list[int]:
    """Return the sizes of the stacks that so many runs make."""
    planned = make_runs("lora", range(runs))
    parts = divide(planned, None, random_data(), CPU)  # type: ignore[arg-type]
    assert [run for part in parts for run in part] == planned
    return [len(part) for part in parts]


def test_size_doubles_while_that_pays(use: Callable[[Machine], None]) -> None:
    """Steps that gain up to four runs and not beyond make stacks of about four."""
    machine = Machine(lambda size: 1 / min(size, 4))
    use(machine)
    assert sizes(16) == [4, 4, 4, 4]
    assert machine.asked == [1, 2, 4, 8]
    assert sizes(7) == [7]
    assert sizes(9) == [4, 5]
    assert machine.asked == [1, 2, 4, 8]  # remembered


def test_runs_stay_alone_where_stacks_gain_nothing(use: Callable[[Machine], None]) -> None:
    """Steps that cost the same alone are not held up by each other."""
    machine = Machine(lambda _: 1.0)
    use(machine)
    assert sizes(5) == [1] * 5
    assert machine.asked == [1, 2]


def test_size_is_limited_even_where_it_always_gains(use: Callable[[Machine], None]) -> None:
    """A stack holds up other workers, so that it has an end."""
    use(Machine(lambda size: 1 / size))
    assert sizes(2 * MOST["cpu"]) == [MOST["cpu"]] * 2


def test_memory_limits_the_size(use: Callable[[Machine], None]) -> None:
    """Half of 4 GiB has room for three runs of 600 MiB each."""
    use(Machine(lambda size: 1 / size, each=600 * 2**20))
    assert sizes(3) == [3]
    assert sizes(4) == [2, 2]
    assert max(sizes(16)) <= 3


def test_one_run_measures_nothing(use: Callable[[Machine], None]) -> None:
    """There is nothing to choose."""
    machine = Machine(lambda _: 1.0)
    use(machine)
    assert sizes(1) == [1]
    assert not machine.asked


def test_real_steps_are_measured(make_backbone: MakeBackbone) -> None:
    """A real stack's step takes time and memory."""
    runs = make_runs("bilora", range(3))
    backbone = load_backbone(make_backbone("bert"), runs)
    found = step_timer.measure(runs, backbone, random_data(), CPU)
    assert found.runs == 3
    assert 0 < found.seconds < 10
    assert found.peak_bytes > 2**20
