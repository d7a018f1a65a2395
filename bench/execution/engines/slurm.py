"""A Slurm cluster: a job array whose elements visit all stacks and run the unclaimed ones.

The computers of the cluster share the results folder, and its claims divide the work. An element
that is pre-empted or out of time is queued again and continues with what is left, so no process
needs to remember its state. Partition, account and so on come from the variables that ``sbatch``
reads, such as ``SBATCH_PARTITION``.
"""

import logging
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import submitit
import torch
from submitit.core.utils import DelayedSubmission

from gapbench.bench.core import signals
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.process import prepare
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.engines.base import STACKS_A_WORKER, Search, Settings, small
from gapbench.bench.execution.engines.local import work_here
from gapbench.bench.execution.work_queue import Job, WorkQueue
from gapbench.bench.store.store import Store, store_at

HERE = False
WHEN = " in the array, once they have begun"

_log = logging.getLogger(__name__)
_MOST_ELEMENTS = 16  # if the user gives no number
_LARGE_CPUS = 4  # for an element with backbones that can use several threads
_LONGEST_MIN = 24 * 60  # limit without a time budget
_GRACE_MIN = 10  # for stacks that run when the time budget ends
_REQUEUES = 100  # limit for an element that repeatedly runs out of time without real progress
_POLL_S = 2.0
_POLL_SHARE = 0.1  # share of the waiting time that may be spent on polling


@dataclass(frozen=True)
class Element:
    """One element of the array: its work, at its start and at every restart."""

    work: Callable[[], None]

    def __call__(self) -> None:
        """Do what no other element holds."""
        prepare(int(os.environ.get("SLURM_CPUS_PER_TASK", "1")))
        try:
            # The first signals pre-emption, the second the end of the time.
            with signals.noting(signal.SIGTERM, signal.SIGUSR2) as heard:
                self.work()
        except signals.Stopped:
            if signal.SIGUSR2 in heard:  # submitit then queues the element again
                signal.raise_signal(signal.SIGUSR2)
            raise

    def checkpoint(self) -> DelayedSubmission:
        """Return the work after a pre-emption: the same, resumed from records and checkpoints."""
        return DelayedSubmission(self)


def work(queue: WorkQueue, settings: Settings) -> None:
    """Process a queue with a job array, and wait for its end.

    Raises:
        ConfigError: if this computer cannot send jobs, Slurm refuses them, or the folder's path
            holds a "%", which Slurm expands in the names of log files.
    """
    jobs = queue.take_all()  # the elements watch the time
    settings = replace(settings, results=settings.results.resolve())
    array = _submit(lambda _share: partial(_visit, jobs, settings), jobs, settings)
    try:
        left = _wait(queue, jobs, store_at(settings.results), array)
    except BaseException:
        _cancel(array)
        raise
    queue.left += left
    if left and settings.budget_s is None:
        _log.error("the array has ended early; the reasons are in %s", _folder(settings))


def _visit(jobs: Sequence[Job], settings: Settings) -> None:
    """Execute the runs that no other element holds."""
    work_here(WorkQueue(jobs, lambda *_: None, settings.budget_s), settings)


def suitable_workers(jobs: Sequence[Job], sources: Sources, device: torch.device) -> int:  # noqa: ARG001
    """Return the size of the array."""
    return _elements(jobs)


def _elements(jobs: Sequence[Job]) -> int:
    return min(_MOST_ELEMENTS, max(1, len(jobs) // STACKS_A_WORKER))


@contextmanager
def beside(search: Search, jobs: Sequence[Job], settings: Settings) -> Iterator[Callable[[], bool]]:
    """Search in the elements of a job array."""
    array = _submit(lambda share: partial(search, share), jobs, settings)
    try:
        yield partial(_in_queue, array)
    finally:
        _cancel(array)


def _cancel(array: str) -> None:
    subprocess.run(["scancel", array], check=False)  # noqa: S603, S607 - a number, Slurm's own


def _folder(settings: Settings) -> Any:
    return settings.results / "slurm"


def _submit(
    work_of: Callable[[float], Callable[[], None]], jobs: Sequence[Job], settings: Settings
) -> str:
    """Send an array and return its number.

    Args:
        work_of: returns the work of an element, given its share of the array that lies before it.
        jobs: what all elements have to do.
        settings: device, time and number of elements.
    """
    if "%" in str(settings.results.resolve()):
        raise ConfigError(
            f"--results {settings.results}: Slurm replaces what follows a % in a path; give a "
            "folder without one, or use --engine local"
        )
    workers = settings.workers or _elements(jobs)
    budget_min = None if settings.budget_s is None else math.ceil(settings.budget_s / 60)
    memory = max(job.memory_bytes for job in jobs)
    asked: dict[str, Any] = {
        "job_name": "gapbench",
        "time": _LONGEST_MIN if budget_min is None else budget_min + _GRACE_MIN,
        "mem": f"{math.ceil(memory / 2**20)}M",
        "cpus_per_task": 1 if small(jobs, settings.sources) else _LARGE_CPUS,
        "additional_parameters": {"requeue": True},
    }
    if settings.device == "cuda":
        asked["gpus_per_node"] = 1
    try:
        executor = submitit.SlurmExecutor(_folder(settings), max_num_timeout=_REQUEUES)
        executor.update_parameters(**asked)
        with executor.batch():
            sent = [executor.submit(Element(work_of(n / workers))) for n in range(workers)]
    except (RuntimeError, OSError, submitit.core.utils.FailedJobError) as error:
        raise ConfigError(
            f"--engine slurm: no job could be sent: {error}; send from a computer on which sbatch "
            "works, or use --engine local"
        ) from None
    array = str(sent[0].job_id).partition("_")[0]
    _log.warning("job array %s; its log files are in %s", array, _folder(settings))
    return array


def _wait(queue: WorkQueue, jobs: list[Job], store: Store, array: str) -> list[Job]:
    """Watch the records until the array has ended; return the stacks that are not done."""
    left = jobs
    alive = True
    while alive and left:
        alive = _in_queue(array)
        began = time.monotonic()
        left = [job for job in left if not _ended(queue, job, store, settled=True)]
        queue.show()
        if alive:
            time.sleep(max(_POLL_S, (time.monotonic() - began) / _POLL_SHARE))
    return [job for job in left if not _ended(queue, job, store, settled=False)]


def _in_queue(array: str) -> bool:
    """Whether any element waits or runs; Slurm forgets an array some minutes after its end.

    If the controller does not answer, it is asked again.
    """
    asked = ["squeue", "--noheader", "--jobs", array]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603
    if found.returncode:
        return "invalid job id" not in found.stderr.lower()
    return bool(found.stdout.strip())


def _ended(queue: WorkQueue, job: Job, store: Store, *, settled: bool) -> bool:
    """End a stack in the queue if all of its runs have records, settled ones if so wanted."""
    found = {run.hash: store.status(run) for run in job.runs}
    statuses = {run: status for run, status in found.items() if status is not None}
    if len(statuses) < len(found) or (settled and store.unsettled(job.runs)):
        return False
    queue.end(job, statuses)
    return True
