"""The interface of an engine, and the settings that all engines share."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from gapbench.bench.adaptation.registry import Registered, registered
from gapbench.bench.config.run import StoredPredictions
from gapbench.bench.core.process import choose_device, prepare
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.engines import find
from gapbench.bench.execution.stack_executor import Executor
from gapbench.bench.execution.work_queue import Job, WorkQueue
from gapbench.bench.store.event_log import EventLog
from gapbench.bench.store.store import Store, store_at

# Bytes of weights; layers of smaller backbones are too small for several threads.
SMALL_BYTES = 32e6
STACKS_A_WORKER = 4  # with fewer, another worker is not worth starting

Search = Callable[[float], None]
"""Works on studies until all are finished; its argument, from 0 to 1, says with which to begin."""


@dataclass(frozen=True)
class Settings:
    """How to execute, as opposed to what.

    Attributes:
        results: the results folder.
        device: auto, cpu or cuda.
        stack: largest number of runs that share a backbone; None lets the engine measure it.
        workers: processes or tasks at once; None lets the engine choose.
        engine: one of `bench.execution.engines.names`.
        budget_s: seconds after which no stack is begun; None sets no limit.
        checkpoint_minutes: minutes between two checkpoints of a stack in training.
        event_log: log that notes each stack.
        predictions: splits whose predictions are stored.
        keeps: whether the state that each run ended in is stored.
        methods: classes that other processes must register before they work.
    """

    results: Path
    sources: Sources
    device: str = "auto"
    stack: int | None = None
    workers: int | None = None
    engine: str = "local"
    budget_s: float | None = None
    checkpoint_minutes: float = math.inf
    event_log: EventLog | None = None
    predictions: StoredPredictions = "test"
    keeps: bool = False
    methods: Registered = field(default_factory=registered)

    @property
    def here(self) -> bool:
        """Whether this computer does the work, so that its devices are those of the runs."""
        return find(self.engine).HERE


class Engine(Protocol):
    """What an engine's file holds.

    Attributes:
        HERE: whether this computer does the work. If not, nothing is known here of the devices.
        WHEN: what `plan` says behind a number of workers, such as " at once"; "" for nothing.
    """

    HERE: bool
    WHEN: str

    @staticmethod
    def suitable_workers(jobs: Sequence[Job], sources: Sources, device: torch.device) -> int:
        """Return how many workers do some jobs, as far as is known, if the user gives no number."""

    @staticmethod
    def work(queue: WorkQueue, settings: Settings) -> None:
        """Take stacks from ``queue`` until it is empty, and report the result of each to it.

        Raises:
            StoreError: if the results folder cannot be written.
            ConfigError: if the device does not exist.
        """

    @staticmethod
    def beside(
        search: Search, jobs: Sequence[Job], settings: Settings
    ) -> AbstractContextManager[Callable[[], bool]]:
        """Let copies of a search run elsewhere, as long as the block does.

        Args:
            search: what each copy does.
            jobs: what they have to do, from which follows how many there are, and their size.
            settings: device, and number of copies if the user gives one.

        Yields:
            Whether any copy still runs; it raises what ended one.

        Raises:
            ConfigError: if the device does not exist, or the cluster refuses the copies.
        """


def executor_of(settings: Settings, store: Store | None = None) -> Executor:
    """Return the executor of stacks; it measures the stack size if the user gives none."""
    return Executor(
        store or store_at(settings.results),
        settings.sources,
        choose_device(settings.device),
        divides=settings.stack is None,
        checkpoint_s=60 * settings.checkpoint_minutes,
        event_log=settings.event_log,
        predictions=settings.predictions,
        keeps=settings.keeps,
    )


def small(jobs: Sequence[Job], sources: Sources) -> bool:
    """Whether all backbones are too small for a stack to use several threads."""
    backbones = {run.cell.backbone for job in jobs for run in job.runs[:1]}
    return all(sources.weight_bytes(backbone) <= SMALL_BYTES for backbone in backbones)


def prepared(threads: int, search: Search, share: float) -> None:
    """Search in a process of its own."""
    prepare(threads)
    search(share)
