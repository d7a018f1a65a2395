"""Memory: peak use and free memory."""

import os
import resource
from contextlib import suppress
from pathlib import Path

import torch

from gapbench.bench.core.kernel_files import kernel_value
from gapbench.bench.core.process import give_back

_CLEAR_PEAK = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_MACHINE = Path("/proc/meminfo")


class MemoryPeak:
    """Peak memory since construction: of the GPU, or the resident set of this process.

    Freed memory that this process keeps (see `bench.core.process`) is returned to the system first,
    or the peak would include earlier work.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
        else:
            give_back()
            self._before = _bytes(_STATUS, "VmRSS:") or 0
            with suppress(OSError):  # or the peak is that of the whole process life
                _CLEAR_PEAK.write_text("5")

    def bytes(self) -> int:
        """Return the peak in bytes."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        peak = _bytes(_STATUS, "VmHWM:")
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if peak is None else peak

    def growth(self) -> int:
        """Return the bytes by which the peak exceeds what was in memory at construction."""
        return max(0, self.bytes() - self._before)


def available(device: torch.device) -> int:
    """Return the free bytes of the GPU or of the machine.

    Memory that the GPU allocator keeps from deleted tensors counts as free.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    free = _bytes(_MACHINE, "MemAvailable:")
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if free is None else free


def _bytes(file: Path, name: str) -> int | None:
    kilobytes = kernel_value(file, name)
    return None if kilobytes is None else int(kilobytes.removesuffix("kB")) * 1024
