"""Bi-directional LoRA: a second update, trained by ascent, perturbs the first and is thrown away.

Source: Liu et al. 2025, "Bi-LoRA: Efficient Sharpness-Aware Minimization for Fine-Tuning
Large-Scale Models", arXiv:2508.19564v2, equations 7 to 10 and algorithm 1. It is unrelated
to BiLoRA (`bilora` here), which splits the training set between two levels.

In training ``W0 + s B1 A1 + s B2 A2``: the first pair descends, the second ascends on the same
gradient, and is scaled down where the norm of all ``s B2 A2`` of a run exceeds a radius.

The authors' code (CrazyElements/Bi-LoRA) was not available; the text used is version 2.

Deviations:
1. Both pairs are trained by AdamW with the suite's settings, each with its own clipping of
   gradients; the second has no weight decay. The paper's equation 9 is plain gradient descent and
   ascent, and it does not say how its optimiser clips.
2. The input of the second pair has no dropout, even if the first has.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor, nn

from gapbench.bench.adaptation.optim import StackedAdamW
from gapbench.bench.adaptation.train_state import Phase, StepReport, TrainState
from gapbench.bench.config.run import Training
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.lowrank import (
    LayerSettings,
    LowRank,
    LowRankConfig,
    Space,
    StackedLora,
)


class BidirectionalLoraConfig(LowRankConfig):
    """LoRA's settings and those of the second update."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {"radius"}

    radius: float = Field(
        default=0.05,
        ge=0,
        description="largest Frobenius norm of a run's perturbation over all layers, rho (the "
        "paper's value on GLUE)",
    )
    auxiliary_rank: int = Field(
        default=8, ge=1, description="rank of the second update (appendix J.1: 8 for any task)"
    )


class PerturbedLora(StackedLora):
    """A low-rank layer with a second update in training.

    ``auxiliary_A`` is (runs, auxiliary rank, in), drawn as A is; ``auxiliary_B`` is
    (runs, out, auxiliary rank), zero.
    """

    groups: ClassVar[Mapping[str, str]] = {"auxiliary_A": "auxiliary", "auxiliary_B": "auxiliary"}

    def __init__(
        self, axis: RunAxis, base: nn.Module, site: str, rank: int, settings: LayerSettings
    ) -> None:
        super().__init__(axis, base, site, **settings)
        runs = range(len(axis.seeds))
        self.site = f"auxiliary.{site}"  # the second A is drawn independently of the first
        drawn = [self.initial(run, rank, 0) for run in runs]
        self.site = site
        a, b = (torch.stack(each).to(axis.device, axis.dtype) for each in zip(*drawn, strict=True))
        self.auxiliary_A, self.auxiliary_B = nn.Parameter(a), nn.Parameter(b)

    def forward(self, x: Tensor) -> Tensor:
        """Map (runs * batch, tokens, in) to (runs * batch, tokens, out)."""
        out = super().forward(x)
        if not self.training:
            return out
        inner = torch.bmm(self.runs_first(x), self.auxiliary_A.mT.to(x.dtype))
        inner = (inner * self.axis.select(self.scaling)).to(x.dtype)
        change = torch.baddbmm(self.runs_first(out), inner, self.auxiliary_B.mT.to(x.dtype))
        return change.view_as(out)

    def parameter_count(self, index: int) -> int:
        """Count both updates."""
        auxiliary = self.auxiliary_A.shape[1] * (self.in_features + self.out_features)
        return super().parameter_count(index) + auxiliary

    def squared_norm(self) -> Tensor:
        """Return the squared Frobenius norm of each run's perturbation, (runs,)."""
        a, b = self.auxiliary_A, self.auxiliary_B
        products = torch.bmm(a, a.transpose(1, 2)) * torch.bmm(b.transpose(1, 2), b)
        return products.sum(dim=(1, 2)) * self.axis.select(self.scaling).flatten() ** 2


class BidirectionalLora(LowRank[BidirectionalLoraConfig]):
    """LoRA with a second update that ascends."""

    name = "bidirectional_lora"
    reference = "Liu et al. 2025, arXiv:2508.19564, equations 7 to 10"
    Config = BidirectionalLoraConfig
    tuned: ClassVar[Space] = {"radius": FloatDistribution(0.01, 0.2, log=True)}

    def layer(self, base: nn.Module, site: str) -> StackedLora:
        """Return the layer that replaces ``base``."""
        rank = self.configs[0].auxiliary_rank
        return PerturbedLora(self.axis, base, site, rank, self.layer_settings())

    def begin(
        self, state: TrainState, phase: Phase, trainings: Sequence[Training], steps: int
    ) -> None:
        """Make an optimiser for each update."""
        super().begin(state, phase, trainings, steps)
        free = [training.model_copy(update={"weight_decay": 0.0}) for training in trainings]
        state.optimizers["auxiliary"] = StackedAdamW(
            state.bank, free, steps, self.axis, "auxiliary"
        )

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Descend with the first update, ascend with the second, and keep the second small."""
        losses = self.batch_losses(state, batches["train"])
        losses.sum().backward()
        norms = state.optimizers["main"].step()
        ascent = state.optimizers["auxiliary"]
        state.bank.grads[:, ascent.columns].neg_()
        ascent.step()
        self._keep_small(state, ascent.columns)
        return StepReport(losses.detach(), norms)

    @torch.no_grad()
    def _keep_small(self, state: TrainState, columns: slice) -> None:
        """Scale the second update of a run down to the radius if it is larger."""
        layers = [layer for layer in self.adapters.values() if isinstance(layer, PerturbedLora)]
        length = torch.stack([layer.squared_norm() for layer in layers]).sum(dim=0).sqrt()
        radius = self.axis.vector([config.radius for config in self.active_configs])
        factor = torch.where(length > radius, (radius / length).sqrt(), torch.ones_like(length))
        state.bank.values[:, columns].mul_(factor.unsqueeze(1))
