"""Stack size when the user gives none: measured once, then remembered.

The size doubles while this makes the step of a run faster and memory suffices. The measurement
depends on machine, backbone, shape of the batch and work of a step, not on the task.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch

from gapbench.bench import __version__
from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Run
from gapbench.bench.core.memory import available
from gapbench.bench.data.encoded import TaskData
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.profiling.measurement_cache import key_of, recall, remember
from gapbench.bench.profiling.step_timer import StepSpeed, measure

MOST = {"cpu": 16, "cuda": 64}  # runs; a larger stack only takes work from other processes
_GAIN = 0.05  # minimum gain in a run's step time that is worth doubling the memory
_SHARE = 0.5  # share of the available memory that a stack may take

Measured = dict[str, tuple[float, int]]  # seconds and peak bytes by number of runs


def divide(
    runs: Sequence[Run], backbone: Backbone, task_data: TaskData, device: torch.device
) -> list[list[Run]]:
    """Cut runs that may share a stack into stacks of about the size that is fastest here.

    Args:
        runs: runs to divide, in this order.
        backbone: the backbone that they adapt.
        task_data: data of the runs.
        device: device on which they train.
    """
    if len(runs) == 1 or task_data.tests_only:
        return [list(runs)]
    size, most = _suitable(runs, backbone, task_data, device)
    count = max(1, len(runs) // size, -(-len(runs) // most))
    edges = [round(len(runs) * part / count) for part in range(count + 1)]
    return [list(runs[start:stop]) for start, stop in pairwise(edges)]


def _suitable(
    runs: Sequence[Run], backbone: Backbone, task_data: TaskData, device: torch.device
) -> tuple[int, int]:
    """Return the size beyond which a run's step gains little, and the largest that fits memory."""
    cell = runs[0].cell
    key = key_of(subject(runs[0], task_data), device)
    known: Measured = recall(key) or {}

    def at(size: int) -> StepSpeed:
        if str(size) not in known:
            found = measure([Run(cell, s) for s in range(size)], backbone, task_data, device)
            known[str(size)] = (found.seconds, found.peak_bytes)
            remember(key, known)
        return StepSpeed(size, *known[str(size)])

    def fits(size: int) -> int:
        return MOST[device.type] if size == 1 else _most(at(1), at(size), available(device))

    size = 1
    while size < len(runs) and 2 * size <= min(MOST[device.type], fits(size)):
        now, doubled = at(size), at(2 * size)
        if doubled.seconds > (1 - _GAIN) * now.seconds:
            break
        size *= 2
    return size, fits(size)


def _most(one: StepSpeed, several: StepSpeed, room: int) -> int:
    """Return how many runs fit the share of memory that a stack may take."""
    each = max(1.0, (several.peak_bytes - one.peak_bytes) / (several.runs - one.runs))
    return max(1, int(_SHARE * room / each))


def subject(run: Run, task_data: TaskData) -> dict[str, object]:
    """Return the key of a measurement: what decides most of the time and memory of a step.

    Methods of equal passes share one, so that a suite of many measures few. One whose adapter takes
    far more memory than the others' has its stack halved when memory runs out.
    """
    cell = run.cell
    method, config = registry.of_cell(cell)
    return {
        "stack size": __version__,
        "backbone": cell.backbone.digest,
        "kind": cell.task.kind,
        "precision": cell.memory_format,
        "examples": cell.budget.batch_size,
        "tokens": 1 << int(task_data.read_first.lengths.mean() - 1).bit_length(),
        "passes": method.relative_cost(config),
    }
