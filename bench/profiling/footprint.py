"""Memory of a stack before it runs: measured on stacks of one and of more runs, once.

What a process takes is more than its tensors: pieces of many sizes share one heap, which leaves
gaps. So it is not computed. Both stacks make a step of each phase on their longest examples, and
the difference is what the others add. Gaps of some megabytes matter where runs are small, so there
several are added.
"""

import gc
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.config.run import Run
from gapbench.bench.core.memory import MemoryPeak
from gapbench.bench.data.encoded import TaskData
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.profiling.dry_run import first_steps
from gapbench.bench.profiling.measurement_cache import key_of, recall, remember
from gapbench.bench.profiling.stack_size import subject

_STEPS = 4
_SMALL = 2**28  # bytes
_RUNS = 4  # in a larger stack of small runs


@dataclass(frozen=True)
class Footprint:
    """Peak memory of a training stack, without the process that it runs in.

    Attributes:
        shared: bytes of the backbone and of all else that runs share.
        each: bytes that a run adds: its numbers, optimiser state, activations and logits.
    """

    shared: int
    each: int

    def of(self, runs: int) -> int:
        """Return the bytes of a stack."""
        return self.shared + runs * self.each


def footprint(run: Run, backbone: Backbone, task_data: TaskData, device: torch.device) -> Footprint:
    """Return the memory of stacks of a run and others like it.

    Args:
        run: a run that the backbone and its method support.
        backbone: the backbone that it adapts.
        task_data: data of the run.
        device: device that it will train on.
    """
    lengths = task_data.train.lengths[task_data.train.trained]
    about = {
        "footprint": 4,
        "method": [run.cell.method, run.cell.config],
        "task": run.cell.task.identity(),
        "longest": [int(lengths.max()), min(len(lengths), run.cell.budget.batch_size)],
    }
    key = key_of(subject(run, task_data) | about, device)
    if known := recall(key):
        return Footprint(**known)
    found = measured(run, backbone, task_data, device)
    remember(key, asdict(found))
    return found


def measured(run: Run, backbone: Backbone, task_data: TaskData, device: torch.device) -> Footprint:
    """Measure the memory anew; see `footprint`."""
    weights = backbone.stored_bytes if device.type == "cpu" else 0  # a GPU has a copy
    # The first time, libraries load their kernels, which a new process does too.
    first, one = (_growth([run], backbone, task_data, device) for _ in range(2))
    if not registry.get(run.cell.method).stackable:
        return Footprint(weights, first)
    others = _RUNS - 1 if one < _SMALL else 1
    stack = [Run(run.cell, run.seed + place) for place in range(1 + others)]
    each = max(0, (_growth(stack, backbone, task_data, device) - one) // others)
    return Footprint(weights + max(0, first - each), each)


def _growth(
    runs: Sequence[Run], backbone: Backbone, task_data: TaskData, device: torch.device
) -> int:
    """Return the bytes that the first steps of a stack add to what is in memory."""
    gc.collect()  # otherwise the stack before may still be there
    peak = MemoryPeak(device)
    method, state = set_up(runs, backbone, task_data, device, check=True)
    if method.trains:
        # Later steps find gaps in the heap that are too small, and take more.
        first_steps(runs, method, state, task_data.train, steps=_STEPS)
    return peak.growth()
