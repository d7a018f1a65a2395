"""LoRA scored with the plain average of the last iterates: stochastic weight averaging.

Source: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization",
algorithm 1: after a share of training, ``average = (average * n + numbers) / (n + 1)``.

Deviations:
1. The iterate after every update counts; in the paper, after every epoch, with a cyclical or
   constant learning rate. Here the schedule is the suite's, the same for all methods, and falls.
2. No recomputed batch normalisation: the backbones have none.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor

from gapbench.bench.adaptation.train_state import Phase, TrainState
from gapbench.bench.config.run import Training
from gapbench.methods._shared.averaging import AveragedLora
from gapbench.methods._shared.lowrank import LowRankConfig, Space


class LoraSwaConfig(LowRankConfig):
    """LoRA's settings and where averaging begins."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {"start"}

    start: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="share of the updates before averaging begins (the paper's 75 %); until then, "
        "and always at 1, the latest parameters are scored",
    )


class LoraSwa(AveragedLora[LoraSwaConfig]):
    """LoRA with the average of its last iterates."""

    name = "lora_swa"
    reference = "Izmailov et al. 2018, arXiv:1803.05407, algorithm 1"
    Config = LoraSwaConfig
    tuned: ClassVar[Space] = {"start": FloatDistribution(0.25, 0.9)}

    _firsts: Tensor  # (all runs,), updates before the first that counts

    def begin(
        self, state: TrainState, phase: Phase, trainings: Sequence[Training], steps: int
    ) -> None:
        """Store where averaging begins."""
        super().begin(state, phase, trainings, steps)
        self._firsts = self.axis.vector([int(config.start * steps) for config in self.configs])

    def newest_weight(self, updates: int) -> Tensor:
        """Return 1 / the number of iterates that count, including the newest."""
        return 1 / (updates - self._firsts + 1).clamp(min=1)

    def total_weight(self, updates: int) -> Tensor:  # noqa: ARG002 - the same at all times
        """Return 1."""
        return torch.ones_like(self._firsts)
