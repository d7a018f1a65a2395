"""LoRA trained by sharpness-aware minimisation (SAM): a step at the worst nearby parameters.

Source: Foret et al. 2021, "Sharpness-Aware Minimization for Efficiently Improving Generalization",
algorithm 1: with g the gradient at w, the update follows the gradient at ``w + rho g / |g|``. On
LoRA's parameters this is LoRA-SAM of Liu et al. 2025 (arXiv:2508.19564, equations 3 and 4).

Deviations:
1. All trained parameters share one norm and are perturbed, including the head (Foret et al.); the
   equations of Liu et al. name only A and B.
2. Both passes of a step drop the same features where dropout is on.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from optuna.distributions import FloatDistribution
from pydantic import Field

from gapbench.bench.adaptation.train_state import StepReport, TrainState
from gapbench.bench.config.task import Task
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.backbone import Backbone
from gapbench.methods._shared.lowrank import LowRank, LowRankConfig, Space

_EPS = 1e-12  # as in the widely used implementation, davda54/sam, commit 3c3afdb


class SamLoraConfig(LowRankConfig):
    """LoRA's settings and the radius of the neighbourhood."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {"radius"}

    radius: float = Field(
        default=0.05,
        ge=0,
        description="length of the perturbation of a run's parameters, rho (Foret et al.: 0.05)",
    )


class SamLora(LowRank[SamLoraConfig]):
    """LoRA that descends along the gradient at perturbed parameters."""

    name = "sam_lora"
    reference = "Foret et al. 2021, arXiv:2010.01412, algorithm 1"
    Config = SamLoraConfig
    tuned: ClassVar[Space] = {"radius": FloatDistribution(0.005, 0.5, log=True)}

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: SamLoraConfig) -> str | None:
        """Refuse a neighbourhood of one point, where the first pass moves nothing."""
        if config.radius == 0:
            return "radius is 0, which is 'lora' at twice the passes; set it above 0"
        return super().supports(task, backbone, config)

    @classmethod
    def relative_cost(cls, config: SamLoraConfig) -> float:  # noqa: ARG003 - the same for all
        """Count the second forward and backward pass."""
        return 2.0

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Ascend, take the gradient there, go back, and make the update."""
        bank = state.bank
        losses = self.batch_losses(state, batches["train"])
        losses.sum().backward()
        lengths = torch.linalg.vector_norm(bank.grads, dim=1, keepdim=True)
        radii = self.axis.vector([config.radius for config in self.active_configs]).unsqueeze(1)
        before = bank.values.clone()
        bank.values.add_(bank.grads * (radii / (lengths + _EPS)))
        bank.grads.zero_()
        self.batch_losses(state, batches["train"]).sum().backward()
        bank.values.copy_(before)
        norms = state.optimizers["main"].step()
        return StepReport(losses.detach(), norms, forward_passes=2, backward_passes=2)
