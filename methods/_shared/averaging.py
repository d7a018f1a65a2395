"""LoRA scored with an average of its parameters over training: base class of EMA and SWA.

Training is LoRA's. After each update ``average += weight * (parameters - average)``. A
subclass defines this weight, and the divisor of the average at scoring.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from gapbench.bench.adaptation.train_state import Phase, StepReport, TrainState
from gapbench.bench.config.run import Training
from gapbench.bench.data.batching import Batch
from gapbench.methods._shared.lowrank import LowRank, LowRankConfig

ConfigT = TypeVar("ConfigT", bound=LowRankConfig)


class AveragedLora(LowRank[ConfigT]):
    """LoRA with averaged parameters, adapters and head."""

    _sums: Tensor  # (all runs, numbers), before the correction
    _updates = 0

    @abstractmethod
    def newest_weight(self, updates: int) -> Tensor:
        """Return the weight of the newest parameters after ``updates`` updates, (all runs,)."""

    @abstractmethod
    def total_weight(self, updates: int) -> Tensor:
        """Return the sum of all weights after ``updates`` updates, (all runs,)."""

    def begin(
        self, state: TrainState, phase: Phase, trainings: Sequence[Training], steps: int
    ) -> None:
        """Start the average from zero."""
        super().begin(state, phase, trainings, steps)
        numbers = state.bank.values.shape[1]
        self._sums = state.bank.values.new_zeros(len(self.axis.seeds), numbers)
        self._updates = 0

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sums and the number of updates in them."""
        updates = torch.full((len(self._sums),), self._updates)
        return super().state_dict() | {"sums": self._sums, "updates": updates}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the state that `state_dict` returned."""
        super().load_state_dict(tensors)
        self._updates = int(tensors["updates"].max())

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Make LoRA's update and add its parameters to the average."""
        report = super().step(state, batches)
        weight = self.axis.select(self.newest_weight(self._updates)).unsqueeze(1)
        active = list(self.axis.active)
        self._sums[active] = torch.lerp(self._sums[active], state.bank.values, weight)
        self._updates += 1
        return report

    @contextmanager
    def scoring(self, state: TrainState) -> Iterator[None]:
        """Replace the parameters by their averages, which exist after the first update."""
        if self._updates == 0:
            yield
            return
        before = state.bank.values.clone()
        total = self.axis.select(self.total_weight(self._updates)).unsqueeze(1)
        state.bank.values.copy_(self.axis.select(self._sums) / total)
        try:
            yield
        finally:
            state.bank.values.copy_(before)
