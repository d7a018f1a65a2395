"""Which runs go into which stack, and who works on them: this process, or several of it.

Results reach the store from wherever a stack runs; only progress and status come back here.
"""

import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench import registry
from bench.config import Run
from bench.errors import ConfigError
from bench.method import AnyMethod
from bench.process import prepare
from bench.record import Status
from bench.run import Executor, store_at
from bench.schema import content_hash
from bench.sources import Sources
from bench.stack_size import MOST

_log = logging.getLogger(__name__)
_PROGRESS_POLL_S = 0.2
_SMALL_BYTES = 32e6  # of weights
_STACKS_A_WORKER = 4


@dataclass(frozen=True)
class Settings:
    """How to execute, as opposed to what.

    Attributes:
        results: the results folder.
        device: auto, cpu or cuda.
        stack: most runs that may share a backbone; None lets the engine measure what suits.
        workers: processes; each gets an equal share of the threads. None lets the engine choose.
    """

    results: Path
    sources: Sources
    device: str = "auto"
    stack: int | None = None
    workers: int | None = None


Progress = Callable[[float, Counter[Status]], None]


def stacks(runs: Sequence[Run], limit: int) -> list[list[Run]]:
    """Group runs that may share a stack, in the order of the first of each group.

    They must agree on everything but seed, optimiser settings and the fields that their method
    declares as `PER_RUN`. Inside, they are ordered by their method's `width`.
    """
    groups: dict[str, list[Run]] = {}
    keys: dict[str, str] = {}
    for run in runs:
        cell = run.cell
        if cell.hash not in keys:
            keys[cell.hash] = _stack_key(run)
        groups.setdefault(keys[cell.hash], []).append(run)
    made = []
    for group in groups.values():
        method = registry.get(group[0].cell.method)
        widths = {run.cell.hash: _width(method, run) for run in group}
        group.sort(key=lambda run: widths[run.cell.hash])
        size = limit if method.stackable else 1
        made += [group[start : start + size] for start in range(0, len(group), size)]
    return made


def execute(runs: Sequence[Run], settings: Settings, progress: Progress) -> Counter[Status]:
    """Run everything that is not settled yet; return how many runs ended in which status.

    Args:
        runs: what is wanted; runs that are settled or claimed elsewhere are left alone.
        settings: device, workers and stack size.
        progress: called with the number of runs done (fractional) and the statuses so far.

    Raises:
        StoreError: if the results folder cannot be written.
        ConfigError: if the device does not exist.
    """
    device = choose_device(settings.device)
    todo = stacks(runs, settings.stack or MOST[device.type])
    workers = settings.workers or suitable_workers(todo, settings.sources, device)
    with heeding_interrupts(progress) as heedful:
        if workers == 1 or len(todo) < 2:
            return _in_this_process(todo, settings, device, heedful)
        return _in_processes(todo, settings, device, workers, heedful)


def choose_device(name: str) -> torch.device:
    """Return the device called auto, cpu or cuda.

    Raises:
        ConfigError: if cuda is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: no CUDA device is available; use --device cpu or auto")
    return torch.device(name)


@contextmanager
def heeding_interrupts(progress: Progress) -> Iterator[Progress]:
    """Make sure that Ctrl-C stops the work.

    It is an exception that Python drops where it strikes inside a destructor. So it is remembered,
    and raised once more at the next sign of progress.
    """
    if threading.current_thread() is not threading.main_thread():
        yield progress  # only the main thread may handle signals
        return
    struck = False

    def strike(_number: int, _frame: object) -> None:
        nonlocal struck
        struck = True
        raise KeyboardInterrupt

    def heedful(done: float, statuses: Counter[Status]) -> None:
        if struck:
            raise KeyboardInterrupt
        progress(done, statuses)

    before = signal.signal(signal.SIGINT, strike)
    try:
        yield heedful
    finally:
        signal.signal(signal.SIGINT, before)


def suitable_workers(todo: list[list[Run]], sources: Sources, device: torch.device) -> int:
    """Return one process a core for small backbones on a CPU, else one.

    Layers of a small backbone are too small for several threads: quickstart took 229 s in one
    process of two threads and 133 s in two of one. A process must have some stacks to be worth it.
    """
    backbones = {run.cell.backbone for stack in todo for run in stack}
    if device.type != "cpu" or any(sources.weight_bytes(b) > _SMALL_BYTES for b in backbones):
        return 1
    return max(1, min(torch.get_num_threads(), len(todo) // _STACKS_A_WORKER))


def _in_this_process(
    todo: list[list[Run]], settings: Settings, device: torch.device, progress: Progress
) -> Counter[Status]:
    prepare()
    executor = _executor(settings, device)
    statuses: Counter[Status] = Counter()
    done = 0
    for stack in todo:
        report = partial(_report_share, progress, done, len(stack), statuses)
        statuses.update(executor.run(stack, report).values())
        done += len(stack)
        progress(done, statuses)
    return statuses


def _executor(settings: Settings, device: torch.device) -> Executor:
    """Return what works on stacks; without a size from the user, it measures what suits."""
    store = store_at(settings.results)
    return Executor(store, settings.sources, device, divides=settings.stack is None)


def _report_share(
    progress: Progress, done: int, size: int, statuses: Counter[Status], share: float
) -> None:
    progress(done + size * share, statuses)


def _in_processes(
    todo: list[list[Run]],
    settings: Settings,
    device: torch.device,
    workers: int,
    progress: Progress,
) -> Counter[Status]:
    context = multiprocessing.get_context("spawn")
    shares: Any = context.Manager().Queue()
    threads = max(1, torch.get_num_threads() // workers)
    statuses: Counter[Status] = Counter()
    done = [0.0] * len(todo)
    with ProcessPoolExecutor(
        workers,
        context,
        initializer=_start_worker,
        initargs=(threads, shares, settings, device),
    ) as pool:
        futures = {pool.submit(_work, number, stack): number for number, stack in enumerate(todo)}
        try:
            for future in _as_completed(futures, shares, todo, done, progress, statuses):
                _collect(future, todo[futures[future]], statuses)
        except KeyboardInterrupt:
            _log.warning("stopping; each worker notes what it was at")
            pool.shutdown(wait=False, cancel_futures=True)
            # A terminal tells the whole group, a single signal only this process.
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGINT)
            pool.shutdown(wait=True)
            raise
    return statuses


def _as_completed(
    futures: dict[Future[dict[str, Status]], int],
    shares: Any,
    todo: list[list[Run]],
    done: list[float],
    progress: Progress,
    statuses: Counter[Status],
) -> Iterator[Future[dict[str, Status]]]:
    """Yield futures as they end, passing on the workers' progress in between."""
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, _PROGRESS_POLL_S, FIRST_COMPLETED)
        while True:
            try:
                number, share = shares.get_nowait()
            except queue.Empty:
                break
            done[number] = share * len(todo[number])
        yield from finished
        progress(sum(done), statuses)


def _collect(
    future: Future[dict[str, Status]], stack: list[Run], statuses: Counter[Status]
) -> None:
    try:
        statuses.update(future.result().values())
    except BrokenProcessPool:
        # A worker was killed (by the system, for memory, or by hand). Its runs have no record; they
        # are as good as interrupted, and running again does them.
        _log.error("a worker process died; %d runs are left for the next invocation", len(stack))
        statuses.update([Status.INTERRUPTED] * len(stack))


_worker: dict[str, Any] = {}


def _start_worker(threads: int, shares: Any, settings: Settings, device: torch.device) -> None:
    prepare(threads)
    executor = _executor(settings, device)
    _worker.update(executor=executor, shares=shares)


def _work(number: int, stack: list[Run]) -> dict[str, Status]:
    def report(share: float) -> None:
        _worker["shares"].put((number, share))

    if "interrupted" in _worker:
        return {}
    try:
        statuses: dict[str, Status] = _worker["executor"].run(stack, report)
    except KeyboardInterrupt:
        # The pool would hand this process the next stack, with its libraries perhaps half loaded.
        _worker["interrupted"] = True
        raise
    return statuses


def _width(method: type[AnyMethod], run: Run) -> int:
    return method.width(method.Config.model_validate(run.cell.config))


def _stack_key(run: Run) -> str:
    cell = run.cell
    per_run = registry.get(cell.method).Config.PER_RUN
    shared = {name: value for name, value in cell.config.items() if name not in per_run}
    content = cell.model_dump(mode="json", exclude={"training", "config", "task"})
    return content_hash([content, shared, cell.task.identity()])
