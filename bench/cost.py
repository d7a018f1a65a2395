"""What a run costs: clocks that wait for the device, and floating-point operations.

Operations are counted by the framework on real steps, so that a method with extra passes pays for
them without telling anyone.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

Shape = tuple[int, ...]


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


def _attention_flops(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward_flops(
    gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any
) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))


# The framework's counter knows the fused attention of GPUs, not that of CPUs.
_FUSED_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}


def count_operations() -> FlopCounterMode:
    """Return the framework's counter of operations, which also knows fused attention on CPUs."""
    return FlopCounterMode(display=False, custom_mapping=_FUSED_ON_CPU)


def work(examples: int, tokens: int, decisions: int = 1) -> NDArray[np.float64]:
    """Return what a step on a batch of ``tokens``-wide examples is charged by; (5,).

    A transformer takes B (c + a T + b T^2 + d D) operations for B examples of T tokens with D
    decisions: head, linear layers, attention, a language model's head. A penalty on the weights
    takes some a step, whatever the batch. Widths are counted in units of 64 tokens, to keep the
    numbers alike in size.
    """
    widths = examples * (tokens / 64) ** np.arange(3.0)
    return np.array([*widths, 1.0, examples * decisions / 64])


Work = Mapping[str, NDArray[np.float64]]  # by part of the training set that a step draws from


class FlopEstimate:
    """Training operations of one run from the work of its steps.

    Operations are a linear function of `work`, so a few counted steps of different widths give
    its coefficients. Every step is then charged by its own width: the figure does not depend on
    the padding of examples. Rank padding is charged: in a stack of different ranks, the update's
    small part of the operations is that of the largest.

    Attributes:
        counted: the work of each counted step, and its operations.
    """

    def __init__(self) -> None:
        self.counted: list[tuple[Work, float]] = []

    def wants(self, step: Work) -> bool:
        """Whether counting a step with this work would teach anything new."""
        steps = [work for work, _ in self.counted]
        before, after = self._matrix(steps), self._matrix([*steps, step])
        return bool(np.linalg.matrix_rank(after) > np.linalg.matrix_rank(before))

    @contextmanager
    def count(self, step: Work, runs: int) -> Iterator[None]:
        """Count the operations of one step of ``runs`` runs, each with the given work."""
        with count_operations() as counter:
            yield
        self.counted.append((step, counter.get_total_flops() / runs))

    def total(self, done: Work) -> float:
        """Return the operations of all steps of one run, given the sum of their work."""
        if not self.counted:
            return 0.0
        steps, counts = zip(*self.counted, strict=True)
        matrix = self._matrix([*steps, done])
        known = _independent_columns(matrix[:-1])
        coefficients = np.linalg.lstsq(matrix[:-1, known], counts, rcond=None)[0]
        # Counted operations are whole numbers: rounding hides which steps were counted.
        return float(np.round(matrix[-1, known] @ coefficients))

    @staticmethod
    def _matrix(steps: Sequence[Work]) -> NDArray[np.float64]:
        """Lay steps one below the other: all linear columns, then the others by their weight."""
        parts = sorted({part for step in steps for part in step})
        absent = np.zeros(5)
        order = (1, 0, 4, 3, 2)
        rows = [[step.get(part, absent)[k] for k in order for part in parts] for step in steps]
        return np.array(rows).reshape(len(steps), len(order) * len(parts))


def _independent_columns(matrix: NDArray[np.float64]) -> list[int]:
    """Choose columns from the left that the rows can tell apart."""
    chosen: list[int] = []
    for column in range(matrix.shape[1]):
        wider = matrix[:, [*chosen, column]]
        if np.linalg.matrix_rank(wider) > len(chosen):
            chosen.append(column)
    return chosen
