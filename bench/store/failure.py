"""Failures of runs: status, cause in one line, and whether to try again.

A failure is not a result and is tried again until it has happened twice in the same way. Seeds are
fixed, so a third attempt would fail too, and a large suite must not repeat it forever.
"""

import signal
import traceback
from collections.abc import Collection
from pathlib import Path

from gapbench.bench.core.errors import BenchError, without_credentials
from gapbench.bench.core.kernel_files import kernel_value
from gapbench.bench.store.record import Record, Status

ENOUGH = 2
"""A run is left alone after this many failures of one kind in a row."""

_VMSTAT = Path("/proc/vmstat")
_SHORT = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def status_of(error: Exception) -> Status:
    """Return the status of runs that an error ended."""
    import torch  # who reads records alone waits for no torch

    short = isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SHORT)
    )
    return Status.OUT_OF_MEMORY if short else Status.FAILED


def cause_of(error: Exception) -> str:
    """Return the detail that a record states about an error: its message, or its traceback."""
    if isinstance(error, BenchError):
        return str(error)
    return without_credentials("".join(traceback.format_exception(error)).strip())


def left_alone(record: Record | None, retry: Collection[str] = ()) -> bool:
    """Whether a run has failed often enough, with a status that is not to be tried again."""
    if record is None or record.status.settled or record.status == Status.INTERRUPTED:
        return False
    return record.attempts >= ENOUGH and record.status not in retry


def oom_kills() -> int:
    """Return how many processes this system has killed for memory, 0 if unknown."""
    return int(kernel_value(_VMSTAT, "oom_kill ") or 0)


def death_of(exit_code: int | None, kills_before: int) -> tuple[Status, str]:
    """Return the status of runs whose worker process died, and how it died.

    Args:
        exit_code: the exit code of the process, negative if a signal ended it.
        kills_before: result of `oom_kills` while the process was alive.
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
