"""Step times of a stack on this device, and the peak speed of the device.

`bench.profiling.stack_size` sizes stacks by them, and `gapbench bench` prints them.
"""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.train_state import Phase
from gapbench.bench.config.run import Run
from gapbench.bench.core.memory import MemoryPeak
from gapbench.bench.data.batching import collate, training_batches
from gapbench.bench.data.encoded import Indices, TaskData
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.training.flops_and_time import count_operations

_PLENTY = 10_000  # steps of the schedule, enough for any timing
_ROUNDS = 3
_SMALLEST_SIDE = 256
_LARGEST_SIDE = {"cpu": 2048, "cuda": 8192}
_LONG = 0.05  # seconds; a product of twice the side takes eight times as long
_CEILING_ROUNDS = 5


@dataclass(frozen=True)
class StepSpeed:
    """Time and memory of a step of a stack.

    Attributes:
        runs: number of runs in the stack.
        seconds: seconds per run: median step time of the stack, divided by its runs.
        peak_bytes: peak memory of the stack on a GPU, of the process on a CPU.
    """

    runs: int
    seconds: float
    peak_bytes: int


class Stepper:
    """A stack that can be stepped, on its own training data: in its method's first phase at first.

    Attributes:
        runs: number of runs in the stack.
        method: method that trains.
        state: state of the stack.
    """

    def __init__(
        self, runs: Sequence[Run], backbone: Backbone, task_data: TaskData, device: torch.device
    ) -> None:
        self.runs = len(runs)
        self._data = task_data.train
        self.method, self.state = set_up(runs, backbone, task_data, device)
        self._settings = [run.cell.training for run in runs]
        self.begin(self.method.phases(self.method.configs[0])[0], _PLENTY)
        self.state.model.train()
        self._orders = [self._order(run) for run in runs]

    def begin(self, phase: Phase, steps: int) -> None:
        """Begin a phase of the method, of so many steps."""
        self._phase = phase
        self.method.begin(self.state, phase, self._settings, steps)

    def __call__(self) -> None:
        """Make one step."""
        axis = self.state.axis
        batches = {
            name: collate(self._data, np.stack([next(o) for o in self._orders]), axis.device)
            for name, cut in self._phase.parts.items()
            if axis.step % cut.every == 0
        }
        self.method.step(self.state, batches)
        axis.step += 1

    def _order(self, run: Run) -> Iterator[Indices]:
        trained, cell = self._data.trained, run.cell
        lengths = self._data.lengths[trained]
        for places in training_batches(lengths, cell.budget.batch_size, cell.task.name, run.seed):
            yield trained[places]


def measure(
    runs: Sequence[Run],
    backbone: Backbone,
    task_data: TaskData,
    device: torch.device,
) -> StepSpeed:
    """Time several steps of a stack after a warm-up step."""
    gc.collect()  # otherwise the model measured before may still be in memory
    peak = MemoryPeak(device)
    step = Stepper(runs, backbone, task_data, device)
    seconds = timed(step, device)
    return StepSpeed(len(runs), seconds / len(runs), peak.bytes())


def timed(
    action: Callable[[], object],
    device: torch.device,
    rounds: int = _ROUNDS,
    *,
    long: float = math.inf,
) -> float:
    """Return the median seconds of an action, after a warm-up.

    Args:
        action: what to time.
        device: device that it computes on.
        rounds: times that count.
        long: seconds from which the warm-up counts, alone: little of it is warming up.
    """
    found: list[float] = []
    while len(found) <= rounds and max(found, default=0.0) < long:
        _wait(device)
        began = time.perf_counter()
        action()
        _wait(device)
        found.append(time.perf_counter() - began)
    return statistics.median(found[1:] or found)


def operations(step: Stepper) -> float:
    """Return the floating-point operations of one step of one run, counted on a real step."""
    with count_operations() as counter:
        step()
    return float(counter.get_total_flops() / step.runs)


def ceiling(dtype: torch.dtype, device: torch.device) -> float:
    """Return the best measured operations per second of square matrix products.

    Sides double up to what fills the device, or until a product takes long: a processor that has
    no units for a type may be a hundred times slower with it.
    """
    best, seconds, side = 0.0, 0.0, _SMALLEST_SIDE
    while side <= _LARGEST_SIDE[device.type] and seconds < _LONG:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        seconds = min(timed(partial(torch.mm, a, b), device, 1) for _ in range(_CEILING_ROUNDS))
        best = max(best, 2 * side**3 / seconds)
        side *= 2
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
