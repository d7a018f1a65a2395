"""This computer: one process, or several, each replaced when it dies."""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import RLock
from typing import Any

import torch
from tqdm import tqdm

from gapbench.bench.config.run import Run
from gapbench.bench.core import signals
from gapbench.bench.core.errors import BenchError
from gapbench.bench.core.process import SPAWN, choose_device, kill, prepare, start, take_gpu
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.engines.base import (
    STACKS_A_WORKER,
    Search,
    Settings,
    executor_of,
    prepared,
    small,
)
from gapbench.bench.execution.stack_executor import Executor
from gapbench.bench.execution.work_queue import ATTEMPTS, Job, WorkQueue
from gapbench.bench.store.failure import death_of, oom_kills
from gapbench.bench.store.record import Status

HERE = True
WHEN = ""

_log = logging.getLogger(__name__)
_POLL_S = 1.0
_READY = "ready"  # a worker has loaded everything and waits for its first stack
_REPORT_S = 0.2  # seconds between two progress messages of a worker


def work(queue: WorkQueue, settings: Settings) -> None:
    """Process a queue with the processes of this computer."""
    device = choose_device(settings.device)
    workers = settings.workers or suitable_workers(queue.waiting(), settings.sources, device)
    with signals.noting(signal.SIGTERM):
        if workers == 1 or len(queue) < 2:
            work_here(queue, settings)
        else:
            WorkerPool(queue, settings, min(workers, len(queue))).work()


@contextmanager
def beside(search: Search, jobs: Sequence[Job], settings: Settings) -> Iterator[Callable[[], bool]]:
    """Start copies of a search, one fewer than there is room for: this process is the other one."""
    device = choose_device(settings.device)
    count = settings.workers or suitable_workers(jobs, settings.sources, device)
    before = torch.get_num_threads()
    threads = max(1, before // count)
    others = [start(prepared, threads, search, number / count) for number in range(1, count)]
    try:
        prepare(threads)
        yield lambda: True
    finally:
        kill(others)  # nothing is left to do, or a later search will resume it
        torch.set_num_threads(before)


def suitable_workers(jobs: Sequence[Job], sources: Sources, device: torch.device) -> int:
    """Return one process per core for small backbones on a CPU, otherwise one.

    Layers of a small backbone are too small for several threads: quickstart took 229 s in one
    process of two threads and 133 s in two of one. A process needs several stacks to be worth it.
    """
    if device.type != "cpu" or not small(jobs, sources):
        return 1
    return max(1, min(torch.get_num_threads(), len(jobs) // STACKS_A_WORKER))


def work_here(queue: WorkQueue, settings: Settings) -> None:
    """Process a queue in this process."""
    prepare()
    executor = executor_of(settings)
    while (job := queue.next()) is not None:
        began = time.monotonic()
        statuses = executor.run(job.runs, partial(queue.advance, job), queue.seconds_left())
        queue.end(job, statuses, time.monotonic() - began)


@dataclass(frozen=True)
class _Ended:
    """A worker is done with a stack."""

    statuses: dict[str, Status]
    seconds: float


@dataclass(eq=False)
class _Worker:
    """A worker process, as seen by the process that started it."""

    process: BaseProcess
    pipe: Connection
    oom_kills: int  # count on this computer when the worker began
    slot: int  # its index among the workers, which its replacement inherits
    ready: bool = False
    job: Job | None = None


class WorkerPool:
    """Processes that work side by side."""

    def __init__(self, queue: WorkQueue, settings: Settings, size: int) -> None:
        self._queue = queue
        self._settings = settings
        self._size = size
        self._threads = max(1, torch.get_num_threads() // size)
        self._workers: list[_Worker] = []

    def work(self) -> None:
        """Work until no stack is left and none is running."""
        try:
            for _ in range(self._size):
                self._hire()
            while self._hand_out():
                pipes = {worker.pipe: worker for worker in self._workers}
                for pipe in wait(list(pipes), _POLL_S):
                    self._listen(pipes[pipe])  # type: ignore[index]
                self._queue.show()
                if signals.asked():
                    raise signals.Stopped
        except KeyboardInterrupt:
            _log.warning("stopping; each worker records its current runs")
            self._interrupt()
            raise
        finally:
            kill(worker.process for worker in self._workers)

    def _hire(self) -> None:
        ours, theirs = SPAWN.Pipe()
        before = oom_kills()
        slot = min({*range(self._size)} - {worker.slot for worker in self._workers})
        process = start(_serve, theirs, self._threads, slot, self._settings)
        theirs.close()  # so that its end is noticed here
        self._workers.append(_Worker(process, ours, before, slot))

    def _hand_out(self) -> bool:
        """Give every idle worker a stack; return whether any stack is running or left."""
        for worker in self._workers:
            if worker.ready and worker.job is None:
                worker.job = self._queue.next()
                if worker.job is not None:
                    worker.pipe.send((worker.job.runs, self._queue.seconds_left()))
        return len(self._queue) > 0 or any(worker.job for worker in self._workers)

    def _listen(self, worker: _Worker) -> None:
        try:
            message: Any = worker.pipe.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if isinstance(message, BaseException):
            raise message
        if message == _READY:
            worker.ready = True
        elif worker.job is not None and isinstance(message, _Ended):
            job, worker.job = worker.job, None
            self._queue.end(job, message.statuses, message.seconds)
        elif worker.job is not None:
            self._queue.advance(worker.job, message)

    def _bury(self, worker: _Worker) -> None:
        """Replace a worker that died; its stack is tried again unless too many died on it."""
        self._workers.remove(worker)
        worker.process.join()
        status, how = death_of(worker.process.exitcode, worker.oom_kills)
        if self._settings.event_log is not None:
            self._settings.event_log.died(worker.process.pid, how)
        if not worker.ready and not self._workers:
            raise BenchError(f"the last worker {how} before its first stack; try --workers 1")
        if not worker.ready:
            _log.warning("a worker process %s while it was starting; the others continue", how)
            return
        if status == Status.OUT_OF_MEMORY and worker.job and len(worker.job.runs) > 1:
            self._queue.halve(worker.job)
            _log.warning("a worker process %s; continuing with a smaller stack", how)
        elif worker.job is None or self._queue.died(worker.job):
            _log.warning("a worker process %s; another one continues", how)
        else:
            cause = f"{ATTEMPTS} worker processes died on it; the last one {how}"
            executor = executor_of(self._settings)
            with executor.store.claim(worker.job.runs) as mine:
                self._queue.end(worker.job, executor.give_up(mine, cause, status))
        self._hire()

    def _interrupt(self) -> None:
        """Stop all workers as this process was stopped; one still loading records nothing."""
        number = signal.SIGTERM if signals.asked() else signal.SIGINT
        for worker in self._workers:
            with suppress(ProcessLookupError):  # it has ended
                if worker.ready:
                    os.kill(worker.process.pid or 0, number)
                else:
                    worker.process.kill()
        for worker in self._workers:
            said = _last_message(worker)
            if isinstance(said, Exception):
                _log.warning("a worker could not record its runs: %s", said)
            worker.pipe.close()  # so that it ends, should it wait for another stack
            worker.process.join()


def _last_message(worker: _Worker) -> Any:
    """Return what a worker says after the shares that it has done; None if it ends in silence."""
    said: Any = None
    with suppress(Exception):  # its end of the pipe is closed, or cut off
        while worker.job is not None and isinstance(said := worker.pipe.recv(), float):
            said = None
    return said


def _serve(pipe: Connection, threads: int, slot: int, settings: Settings) -> None:
    """Run the stacks that arrive through a pipe until it closes."""
    tqdm.set_lock(
        RLock()
    )  # its own lock is a system semaphore, which a killed process leaves behind
    prepare(threads)
    executor = executor_of(settings)
    take_gpu(executor.device, slot)
    told = time.monotonic()

    def report(share: float) -> None:
        nonlocal told
        if time.monotonic() - told >= _REPORT_S:
            told = time.monotonic()
            pipe.send(share)

    # No more work, or the parent is gone. An interrupt comes from both the terminal and the parent.
    with (
        suppress(EOFError, OSError, KeyboardInterrupt),
        signals.interruptible(report, once=True) as progress,
    ):
        pipe.send(_READY)
        while True:
            runs, seconds = pipe.recv()
            pipe.send(_done(executor, runs, seconds, progress))


def _done(
    executor: Executor,
    runs: Sequence[Run],
    seconds: float | None,
    progress: Callable[[float], None],
) -> _Ended | Exception:
    """Run a stack, and return what to tell the parent of it."""
    began = time.monotonic()
    try:
        with signals.noting(signal.SIGTERM):
            statuses = executor.run(runs, progress, seconds)
    except Exception as error:
        return error
    return _Ended(statuses, time.monotonic() - began)
