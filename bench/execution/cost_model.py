"""Expected seconds and memory of runs: measured on similar runs, or estimated from their size."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heapreplace
from statistics import median

from pydantic import ValidationError

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Cell, Fingerprint, Run
from gapbench.bench.config.task_sources import BuiltinSource
from gapbench.bench.core.errors import BenchError
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.work_queue import Job
from gapbench.bench.profiling.footprint import Footprint
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store

CostKey = tuple[str, str, str]
"""Task with second tests, backbone and method: the kind of a run, for which costs are measured."""
_TimeKey = tuple[CostKey, bool]
"""The kind of a run, and whether its steps are known before its rows are read."""

_SAMPLES = 5  # records read for each kind
_UNKNOWN_ROWS = 10_000  # assumed rows of training sets that are not yet read
_UNKNOWN_BYTES = 1e9  # assumed bytes of weights still on the hub
_PROCESS_BYTES = 1e9  # memory of a worker with its libraries loaded
_HEADROOM = 1.25  # factor on the largest peak of a few runs
_COPIES = 3  # copies of the weights: as read, as used, and left over from a pass


@dataclass
class Costs:
    """Costs of stored runs, and estimates for others.

    Attributes:
        unit_seconds: median seconds of a run per `relative_cost`, by kind: runs of a kind may be
            longer than others, or their settings dearer.
        memory_bytes: largest peak memory, by kind.
        footprints: memory of a stack, by kind, of those that were measured here.
        skipped: why runs of a cell will be skipped, by its hash, where that was found out.
        unmeasured: why a kind could not be measured, where that was tried.
    """

    sources: Sources
    unit_seconds: dict[_TimeKey, float] = field(default_factory=dict)
    memory_bytes: dict[CostKey, float] = field(default_factory=dict)
    footprints: dict[CostKey, Footprint] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    unmeasured: dict[CostKey, str] = field(default_factory=dict)
    _bytes: dict[Fingerprint, float] = field(default_factory=dict, init=False)

    @classmethod
    def measured(cls, store: Store, sources: Sources) -> "Costs":
        """Return the costs from a store, reading a few records of each kind."""
        costs = cls(sources)
        unit_seconds: dict[_TimeKey, list[float]] = defaultdict(list)
        for record in store.samples(_SAMPLES):
            if isinstance(record, Record) and record.cost is not None:
                try:
                    relative = costs.relative_cost(record.cell)
                except (BenchError, ValidationError):  # of a method or backbone that has gone
                    continue
                cost, kind = record.cost, cost_key(record.cell)
                unit_seconds[_time_key(record.cell)].append(
                    (cost.train_seconds + cost.evaluation_seconds) / relative
                )
                peaks = (cost.peak_memory_bytes or 0, costs.memory_bytes.get(kind, 0))
                costs.memory_bytes[kind] = max(peaks)
        costs.unit_seconds = {key: median(values) for key, values in unit_seconds.items()}
        return costs

    def tell(self, cell: Cell, seconds: float) -> None:
        """Note the measured seconds of a run of a cell, from which those of its kind follow."""
        self.unit_seconds[_time_key(cell)] = seconds / self.relative_cost(cell)

    def seconds(self, cell: Cell) -> float | None:
        """Return the expected seconds of a run of a cell, None if its kind is not measured."""
        rate = self.unit_seconds.get(_time_key(cell))
        return None if rate is None else rate * self.relative_cost(cell)

    def relative_cost(self, cell: Cell) -> float:
        """Return the cost of a run relative to others: relative cost x steps x bytes of weights."""
        method, config = registry.of_cell(cell)
        steps = cell.budget.total_steps(_rows(cell)) if method.trains else 1
        return method.relative_cost(config) * steps * self._weight_bytes(cell)

    def job(self, runs: Sequence[Run]) -> Job:
        """Return a stack with its expected cost."""
        cell = runs[0].cell
        each, peak = self.seconds(cell), self.memory_bytes.get(cost_key(cell))
        return Job(
            runs,
            None if each is None else each * len(runs),
            sum(self.relative_cost(run.cell) for run in runs),
            _HEADROOM * peak if peak else _PROCESS_BYTES + _COPIES * self._weight_bytes(cell),
            trains=registry.get(cell.method).trains,
        )

    def stack_bytes(self, cell: Cell, runs: int) -> int | None:
        """Return the peak memory of a stack of so many runs, or of one run where none are stacked.

        None if it is not measured.
        """
        found = self.footprints.get(cost_key(cell))
        stackable = registry.get(cell.method).stackable
        return None if found is None else found.of(runs if stackable else 1)

    def longest_first(self, stacks: Iterable[Sequence[Run]]) -> list[Job]:
        """Return stacks as jobs: longest first, grouped by task, backbone and method.

        This way no worker begins the longest stack after all others are done, and a worker has
        usually loaded the data and backbone of its next stack already.
        """
        jobs = [self.job(runs) for runs in stacks]
        rate = seconds_per_cost(jobs) or 1.0
        groups: dict[CostKey, list[Job]] = defaultdict(list)
        for job in sorted(jobs, key=lambda job: -expected(job, rate)):
            groups[cost_key(job.runs[0].cell)].append(job)
        order = sorted(groups.items(), key=lambda item: (-expected(item[1][0], rate), item[0]))
        return [job for _, group in order for job in group]

    def at_hand(self, cell: Cell) -> bool:
        """Whether the backbone of a cell is on this computer."""
        return self.sources.weight_bytes(cell.backbone) < float("inf")

    def _weight_bytes(self, cell: Cell) -> float:
        backbone = cell.backbone
        if backbone not in self._bytes:
            self._bytes[backbone] = min(self.sources.weight_bytes(backbone), _UNKNOWN_BYTES)
        return self._bytes[backbone]


def seconds_per_cost(jobs: Iterable[Job]) -> float | None:
    """Return seconds per relative cost of measured jobs that train; None if there are none."""
    known = [(job.seconds, job.relative_cost) for job in jobs if job.seconds and job.trains]
    return sum(s for s, _ in known) / sum(cost for _, cost in known) if known else None


def expected(job: Job, seconds_per_cost: float) -> float:
    """Return the seconds of a job, estimated from its relative cost if not measured."""
    return job.relative_cost * seconds_per_cost if job.seconds is None else job.seconds


def cost_key(cell: Cell) -> CostKey:
    """Return the kind of a cell's runs."""
    memory = cell.memory_format.removeprefix(cell.precision)
    tasks = (cell.task.name, *(test.name for test in cell.also_test))
    return " ".join(tasks), f"{cell.backbone.name}{memory}", cell.method


def makespan(seconds: Iterable[float], workers: int) -> float:
    """Return the seconds until all jobs are done if workers take them in this order."""
    ends = [0.0] * workers
    heapify(ends)
    for each in seconds:
        heapreplace(ends, ends[0] + each)
    return max(ends)


def _time_key(cell: Cell) -> _TimeKey:
    return cost_key(cell), cell.budget.steps is not None or _known_rows(cell) is not None


def _rows(cell: Cell) -> int:
    return _known_rows(cell) or _UNKNOWN_ROWS


def _known_rows(cell: Cell) -> int | None:
    source = cell.task.source
    known = source.sizes.get("train") if isinstance(source, BuiltinSource) else None
    return cell.budget.train_size or known
