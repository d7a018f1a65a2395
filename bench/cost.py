"""What a run costs: clocks that wait for the device, memory peaks, floating-point operations.

Operations are counted by the framework on real steps, so that a method with extra passes pays for
them without telling anyone.
"""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

_CLEAR_PEAK = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class Stopwatch:
    """Seconds of named activities, shared evenly by the runs that were active."""

    def __init__(self, runs: int, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[str, NDArray[np.float64]] = {}
        self._runs = runs

    @contextmanager
    def measure(self, activity: str, active: tuple[int, ...]) -> Iterator[None]:
        """Charge the time inside to ``active``, after waiting for the device at both ends."""
        self._wait()
        start = time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            share = (time.perf_counter() - start) / max(1, len(active))
            spent = self.seconds.setdefault(activity, np.zeros(self._runs))
            spent[list(active)] += share

    def spent(self, activity: str, run: int) -> float:
        """Return the seconds charged to a run for an activity."""
        return float(self.seconds[activity][run]) if activity in self.seconds else 0.0

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


class FlopEstimate:
    """Training operations of one run from the widths of its steps.

    A transformer step on B examples of T tokens takes B (c + a T + b T^2) operations: head, linear
    layers, attention. Three counted steps of different widths give the polynomial; then every step
    is charged by its own width, as if the run had been alone, so that the figure does not depend on
    the stack's padding.
    """

    _COEFFICIENTS = 3

    def __init__(self) -> None:
        self._points: dict[int, float] = {}

    def wants(self, width: int) -> bool:
        """Whether a step of this width should be counted."""
        return len(self._points) < self._COEFFICIENTS and width not in self._points

    @contextmanager
    def count(self, examples: int, width: int) -> Iterator[None]:
        """Count the operations of one step on ``examples`` (all runs) of ``width`` tokens."""
        with FlopCounterMode(display=False) as counter:
            yield
        self._points[width] = counter.get_total_flops() / examples

    def total(self, examples: NDArray[np.int64], widths: NDArray[np.int64]) -> float:
        """Return the operations of all steps of one run, given by examples and width."""
        if not self._points:
            return 0.0
        known = np.array(list(self._points), dtype=float)
        powers = np.arange(len(known))
        coefficients = np.linalg.solve(known[:, None] ** powers, list(self._points.values()))
        each = (widths[:, None].astype(float) ** powers) @ coefficients
        # Counted operations are whole numbers: rounding hides which steps were counted.
        return float(np.round((examples * each).sum()))


class MemoryPeak:
    """Peak memory since construction: of the GPU, or the resident set of this process."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            try:
                _CLEAR_PEAK.write_text("5")
            except OSError:
                pass  # the peak is then that of the whole process life

    def bytes(self) -> int:
        """Return the peak in bytes."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        try:
            lines = _STATUS.read_text().splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
        except (OSError, StopIteration):
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
