"""Group runs into stacks, order them, and give them to an engine.

The engine (`bench.execution.engines`) executes them in this process, in others or on a cluster,
and writes the records. Only progress and statuses come back here.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Cell, Run
from gapbench.bench.core import signals
from gapbench.bench.core.process import choose_device
from gapbench.bench.core.schema import content_hash
from gapbench.bench.execution import engines
from gapbench.bench.execution.cost_model import Costs
from gapbench.bench.execution.engines.base import Settings
from gapbench.bench.execution.work_queue import Ended, GridProgress, WorkQueue
from gapbench.bench.profiling.stack_size import MOST
from gapbench.bench.store.record import Status
from gapbench.bench.store.store import store_at


@dataclass(frozen=True)
class GridResult:
    """Result of `execute`.

    Attributes:
        statuses: number of runs that ended, by status.
        left: runs that were not begun or not finished because time ran out.
        seconds_left: expected seconds of these runs on one worker; None if unknown.
    """

    statuses: Counter[Status] = field(default_factory=Counter)
    left: int = 0
    seconds_left: float | None = None


def most(settings: Settings) -> int:
    """Return the largest number of runs per stack, if the user sets none."""
    if settings.here:
        return MOST[choose_device(settings.device).type]
    return MOST["cuda" if settings.device == "cuda" else "cpu"]  # it may run on any machine


def stacks(runs: Sequence[Run], limit: int) -> list[list[Run]]:
    """Group runs that may share a stack, in the order of the first of each group.

    They must agree on everything but seed, optimiser settings and the fields that their method
    declares as `PER_RUN`; and also on the seed if it decides the training sample. Inside, they are
    ordered by their method's `width`.
    """
    groups: dict[tuple[str, int | None], list[Run]] = {}
    for run in runs:
        groups.setdefault((_stack_key(run.cell), run.sample), []).append(run)
    made = []
    for group in groups.values():
        group.sort(key=lambda run: _width(run.cell))
        size = limit if registry.get(group[0].cell.method).stackable else 1
        made += [group[start : start + size] for start in range(0, len(group), size)]
    return made


def rounds(runs: Sequence[Run], done: Mapping[str, int]) -> list[list[Run]]:
    """Divide runs so that, whenever time runs out, all cells have about the same number of seeds.

    The first round has the first seed of every cell, the second round the second seed; each further
    round doubles the number of seeds, since runs of one cell are faster in a stack.

    Args:
        runs: runs to do.
        done: number of seeds that each cell has already, by its hash.
    """
    seen, parts = Counter[str](done), defaultdict[int, list[Run]](list)
    for run in runs:
        parts[seen[run.cell.hash].bit_length()].append(run)
        seen[run.cell.hash] += 1
    return [parts[number] for number in sorted(parts)]


def execute(
    runs: Sequence[Run],
    settings: Settings,
    progress: GridProgress,
    ended: Ended = lambda *_: None,
    done: Mapping[str, int] = MappingProxyType({}),
    costs: Costs | None = None,
) -> GridResult:
    """Run everything that is not settled yet; return how the runs ended.

    Args:
        runs: runs to execute; those that are settled or claimed elsewhere are skipped.
        settings: engine, device, workers, stack size and time.
        progress: called with the number of runs done (fractional) and the statuses so far.
        ended: called with every stack that ends.
        done: number of seeds that each cell has already, by its hash; for a limited time.
        costs: costs of the runs; those of the records in the results folder if not given.

    Raises:
        StoreError: if the results folder cannot be written.
        ConfigError: if the engine or the device does not exist.
    """
    engine = engines.find(settings.engine)
    costs = costs or Costs.measured(store_at(settings.results), settings.sources)
    limit = settings.stack or most(settings)
    if settings.budget_s is None:
        jobs = costs.longest_first(stacks(runs, limit))
    else:
        jobs = [
            replace(costs.job(stack), round=number)
            for number, part in enumerate(rounds(runs, done))
            for stack in stacks(part, limit)
        ]
    with signals.interruptible(progress) as checked:
        queue = WorkQueue(jobs, checked, settings.budget_s, ended)
        engine.work(queue, settings)
    left = sum(len(job.runs) for job in queue.left)
    seconds = sum(queue.expected(job) for job in queue.left)
    return GridResult(queue.statuses, left, seconds or None)


def _width(cell: Cell) -> int:
    method, config = registry.of_cell(cell)
    return method.width(config)


@cache
def _stack_key(cell: Cell) -> str:
    per_run = registry.get(cell.method).Config.PER_RUN
    shared = {name: value for name, value in cell.config.items() if name not in per_run}
    content = cell.model_dump(mode="json", exclude={"training", "config", "task"})
    return content_hash([content, shared, cell.task.identity()])
