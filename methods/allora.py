"""ALLoRA: no dropout, no scaling, and longer rows learn more slowly.

Source: Huang & Balestriero 2024, "ALLoRA: Adaptive Learning Rate Mitigates LoRA Fatal Flaws". Each
row w of A and of B learns at ``rate / sqrt(|w| + 1 / eta^2)``, so that B leaves zero faster.

Only the paper's abstract was available. The formula, its use on the rows of both matrices and
eta = 2 come from public optimisers by third parties that cite the paper; nothing could be checked
against the authors' text or code.

Deviations:
1. The factor acts on the learning rate; the abstract says on gradients. AdamW divides by the size
   of the gradients, so a factor on them that changes slowly would have no effect.
2. The head has no factor.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor

from gapbench.bench.adaptation.train_state import StepReport, TrainState
from gapbench.bench.data.batching import Batch
from gapbench.methods._shared.lowrank import LowRank, LowRankConfig, Space


class AlloraConfig(LowRankConfig):
    """LoRA's settings, with another meaning of ``alpha``, and the steepness of the factor."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {"eta"}

    alpha: float = Field(
        default=1.0,
        gt=0,
        description="factor on the update at any rank; 1 is the paper's method, which has no "
        "scaling",
    )
    eta: float = Field(
        default=2.0, gt=0, description="factor on the learning rate of a row of zeros"
    )


class Allora(LowRank[AlloraConfig]):
    """LoRA with learning rates that fall with the length of a row."""

    name = "allora"
    reference = "Huang & Balestriero 2024, arXiv:2410.09692"
    Config = AlloraConfig
    tuned: ClassVar[Space] = {"eta": FloatDistribution(0.5, 8.0, log=True)}

    @classmethod
    def scaling(cls, config: AlloraConfig) -> float:
        """Return the factor on the update: ``alpha`` itself."""
        return config.alpha

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Make LoRA's update with a learning rate for each row."""
        losses = self.batch_losses(state, batches["train"])
        losses.sum().backward()
        norms = state.optimizers["main"].step(self._learning_rate_factors(state))
        return StepReport(losses.detach(), norms)

    @torch.no_grad()
    def _learning_rate_factors(self, state: TrainState) -> Tensor:
        """Return the factor on the learning rate of each parameter, (runs, parameters)."""
        factors = torch.ones_like(state.bank.values)
        etas = self.axis.vector([config.eta for config in self.active_configs])
        for layer in self.adapters.values():
            for matrix in (layer.lora_A, layer.lora_B):
                lengths = torch.linalg.vector_norm(matrix, dim=-1, keepdim=True)
                each = (lengths + etas.view(-1, 1, 1) ** -2).rsqrt()
                factors[:, state.bank.columns_of(matrix)] = each.expand_as(matrix).flatten(1)
        return factors
