"""Cost of a run: device time and floating-point operations.

The framework counts operations on real steps, so extra passes of a method are counted without
a declaration.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from gapbench.bench.data.encoded import CausalSplit, EncodedSplit, Indices

Shape = tuple[int, ...]

_MOST_UNREAD = 1000  # pairs of marks


class Stopwatch:
    """Seconds of named activities, shared evenly by the runs that were active.

    A GPU is still working on a step when the program has moved on. Its time is measured between
    events in its queue and read later, so that measuring never waits for it.
    """

    def __init__(self, runs: int, device: torch.device) -> None:
        self._runs = runs
        self._on_gpu = device.type == "cuda"
        self._read: dict[str, NDArray[np.float64]] = {}
        self._unread: list[tuple[str, tuple[int, ...], Any, Any]] = []

    @contextmanager
    def measure(self, activity: str, active: tuple[int, ...]) -> Iterator[None]:
        """Charge the device time of the block to ``active``."""
        began = self._mark()
        try:
            yield
        finally:
            self._unread.append((activity, active, began, self._mark()))
            if len(self._unread) >= _MOST_UNREAD:
                self._read_marks()

    @property
    def seconds(self) -> dict[str, NDArray[np.float64]]:
        """Seconds of each run, (runs,), by activity."""
        self._read_marks()
        return self._read

    @seconds.setter
    def seconds(self, seconds: Mapping[str, NDArray[np.float64]]) -> None:
        self._read, self._unread = dict(seconds), []

    def spent(self, activity: str, run: int) -> float:
        """Return the seconds charged to a run for an activity."""
        seconds = self.seconds
        return float(seconds[activity][run]) if activity in seconds else 0.0

    def _mark(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _read_marks(self) -> None:
        for activity, active, began, ended in self._unread:
            if self._on_gpu:
                ended.synchronize()
                seconds = began.elapsed_time(ended) / 1000
            else:
                seconds = ended - began
            spent = self._read.setdefault(activity, np.zeros(self._runs))
            spent[list(active)] += seconds / max(1, len(active))
        self._unread.clear()


def _attention_flops(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward_flops(
    _gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any
) -> int:
    """Return two products per forward product, without the one that fused kernels repeat."""
    return 2 * _attention_flops(query, key, value)


# The framework's counter knows the fused attention of GPUs, not that of CPUs. The cost of a run
# should not depend on the kernel, which varies with device and length (`bench.models.attention`).
_ATEN = torch.ops.aten
_FUSED = {
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
    _ATEN._scaled_dot_product_flash_attention_backward: _attention_backward_flops,
    _ATEN._scaled_dot_product_efficient_attention_backward: _attention_backward_flops,
    _ATEN._scaled_dot_product_cudnn_attention_backward: _attention_backward_flops,
}


def count_operations() -> FlopCounterMode:
    """Return the framework's counter of operations, which knows fused attention everywhere."""
    return FlopCounterMode(display=False, custom_mapping=_FUSED)


def work(examples: int, tokens: int, targets: int = 1, answer: int = 0) -> NDArray[np.float64]:
    """Return the work of a step on a batch of ``tokens``-wide examples, (5,); with an answer, (8,).

    A transformer takes B (c + a T + b T^2 + d D) operations for B examples of T tokens with D
    targets: head, linear layers, attention, a language model's head. A penalty on the weights
    takes a constant per step. An encoder-decoder whose decoder reads A tokens of an ``answer`` also
    takes B (e A + f A^2 + g A T). Widths are counted in units of 64 tokens, so that the numbers
    have similar size.
    """
    read, written = tokens / 64, answer / 64
    parts = [*examples * read ** np.arange(3.0), 1.0, examples * targets / 64]
    if answer:
        parts += [examples * each for each in (written, written**2, written * read)]
    return np.array(parts)


def widths(split: EncodedSplit, sequences: Indices, *, apart: bool) -> tuple[int, int, int]:
    """Return the widths of a batch as `work` takes them: tokens, targets and answer.

    Args:
        split: whose sequences.
        sequences: those of the batch.
        apart: whether an encoder reads the prompts, and a decoder the rest.
    """
    lengths = split.offsets[sequences + 1] - split.offsets[sequences]
    targets = int(split.target_counts[sequences].max())
    if not (apart and isinstance(split, CausalSplit)):
        return int(lengths.max()), targets, 0
    prompts, (places, present) = split.prompts[sequences], split.target_places(sequences)
    last = np.where(present, places, 0).max(axis=1)  # what follows is not read
    return int(prompts.max()), targets, int((last - prompts).max()) + 1


Work = Mapping[str, NDArray[np.float64]]  # by part of the training set that a step draws from


class FlopEstimate:
    """Training operations of one run from the work of its steps.

    Operations are a linear function of `work`, so a few counted steps of different widths give
    its coefficients. Every step is then charged by its own width, so the result does not depend on
    the padding of examples. A stack of different ranks is charged in equal shares: with MiniLM and
    ranks 4 and 64, each run of the two is charged 4 % more and 3 % less than alone on query and
    value, 18 % more and 12 % less on all linear layers.

    Attributes:
        counted: work and operations of each counted step.
    """

    def __init__(self) -> None:
        self.counted: list[tuple[Work, float]] = []

    def wants(self, step: Work) -> bool:
        """Whether counting a step with this work would add information."""
        steps = [work for work, _ in self.counted]
        if not steps:
            return True  # numpy before 2.4 knows no rank of an empty matrix
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
        """Stack steps as rows: all linear columns, then the others by their weight."""
        parts = sorted({part for step in steps for part in step})
        absent = np.zeros(max((len(work) for step in steps for work in step.values()), default=5))
        order = (1, 0, 4, 3, 2, 5, 6, 7)[: len(absent)]
        rows = [[step.get(part, absent)[k] for k in order for part in parts] for step in steps]
        return np.array(rows).reshape(len(steps), len(order) * len(parts))


def _independent_columns(matrix: NDArray[np.float64]) -> list[int]:
    """Choose linearly independent columns, from left to right."""
    chosen: list[int] = []
    for column in range(matrix.shape[1]):
        wider = matrix[:, [*chosen, column]]
        if np.linalg.matrix_rank(wider) > len(chosen):
            chosen.append(column)
    return chosen
