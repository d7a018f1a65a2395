"""LoRA scored with an exponential moving average of its parameters.

Source: Kingma & Ba 2015, "Adam", section 7.2 (after Polyak & Juditsky 1992): after each update
``average = decay * average + (1 - decay) * parameters``, from zero, and the scored parameters are
``average / (1 - decay^t)``. Training is that of LoRA; the head is averaged too.

Deviations:
1. Decay 0.99, an average over about 100 updates, because runs here have a few hundred; the paper
   does not evaluate one, and 0.999 to 0.9999 are usual for many thousands of updates.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor

from gapbench.bench.adaptation.method import Phase, StepReport, TrainState
from gapbench.bench.config.run import Training
from gapbench.bench.data.batching import Batch
from gapbench.methods._shared.lowrank import LowRank, LowRankConfig, Space


class LoraEmaConfig(LowRankConfig):
    """LoRA's settings and the decay of the average."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {"decay"}

    decay: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        description="what the average keeps at an update; 0 scores the last numbers alone",
    )


class LoraEma(LowRank[LoraEmaConfig]):
    """LoRA with averaged parameters."""

    name = "lora_ema"
    reference = "Kingma & Ba 2015, arXiv:1412.6980, section 7.2"
    Config = LoraEmaConfig
    tuned: ClassVar[Space] = {"decay": FloatDistribution(0.9, 0.999)}

    _sums: Tensor  # (all runs, numbers), before the correction
    _updates = 0

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
        """Take back what `state_dict` returned."""
        super().load_state_dict(tensors)
        self._updates = int(tensors["updates"].max())

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Make LoRA's update and add its parameters to the average."""
        report = super().step(state, batches)
        kept = 1 - self.axis.select(self._decays)
        active = list(self.axis.active)
        self._sums[active] = torch.lerp(self._sums[active], state.bank.values, kept)
        self._updates += 1
        return report

    @contextmanager
    def scoring(self, state: TrainState) -> Iterator[None]:
        """Replace the parameters by their averages; before the first update there are none."""
        if self._updates == 0:
            yield
            return
        before = state.bank.values.clone()
        weight = 1 - self.axis.select(self._decays) ** self._updates
        state.bank.values.copy_(self.axis.select(self._sums) / weight)
        try:
            yield
        finally:
            state.bank.values.copy_(before)

    @property
    def _decays(self) -> Tensor:
        return self.axis.vector([config.decay for config in self.configs]).unsqueeze(1)
