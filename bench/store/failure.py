"""What went wrong with a run: its status, its cause in one line, and whether to try it again.

A failure is no result and is tried again, until it has happened twice in the same way: seeds are
fixed, so a third time would end like that too, and a large suite must not repeat it forever.
"""

import signal
import traceback
from collections.abc import Collection
from pathlib import Path

import torch

from gapbench.bench.core.errors import BenchError
from gapbench.bench.core.memory import kernel_value
from gapbench.bench.store.record import Record, Status

ENOUGH = 2
"""Failures of one kind in a row after which a run is left alone."""

_VMSTAT = Path("/proc/vmstat")
_SHORT = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def status_of(error: Exception) -> Status:
    """Return the status of runs that ended by an error."""
    short = isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SHORT)
    )
    return Status.OUT_OF_MEMORY if short else Status.FAILED


def cause_of(error: Exception) -> str:
    """Return what a record says about an error: what it means, or where it happened."""
    if isinstance(error, BenchError):
        return str(error)
    return "".join(traceback.format_exception(error)).strip()


def left_alone(record: Record | None, retry: Collection[str] = ()) -> bool:
    """Whether a run has failed often enough, and not with a status that is to be tried again."""
    if record is None or record.status.settled or record.status == Status.INTERRUPTED:
        return False
    return record.attempts >= ENOUGH and record.status not in retry


def oom_kills() -> int:
    """Return how many processes this system has killed for memory, 0 where it does not tell."""
    return int(kernel_value(_VMSTAT, "oom_kill ") or 0)


def death_of(exit_code: int | None, kills_before: int) -> tuple[Status, str]:
    """Return what the death of a worker process means for its runs, and say how it died.

    Args:
        exit_code: of the process, negative if a signal ended it.
        kills_before: what `oom_kills` gave when the process was well.
    """
    if exit_code is None or exit_code >= 0:
        return Status.FAILED, f"ended with exit code {exit_code}"
    if -exit_code == signal.SIGKILL and oom_kills() > kills_before:
        return Status.OUT_OF_MEMORY, "was killed by the system, which ran out of memory"
    return Status.FAILED, f"was killed by signal {-exit_code} ({_named(-exit_code)})"


def _named(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
