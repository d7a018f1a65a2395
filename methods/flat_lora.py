"""Flat-LoRA: noise on the merged weights in training, so that LoRA finds flat minima.

Source: Li et al. 2025, "Flat-LoRA: Low-Rank Adaptation over a Flat Loss Landscape", ICML,
arXiv:2409.14396, and the authors' code (nblt/Flat-LoRA, commit 16d48ae, ``logTrainer.py``). At step
t of T every adapted weight ``W = W0 + s B A`` (out, in) becomes, for that step,
``W + rho f_t |W_i| / sqrt(in) * noise`` with standard normal noise, |W_i| the length of a row, and
``f_t = (1 - cos(pi t / T)) / 2``.

Every run has its own noise, although the runs of a stack share W0: the noise is a separate product
beside the frozen one, and is drawn again from its key wherever it is needed.

Deviations:
1. The code adds the noise to the frozen weight and removes it again; here it is a separate product,
   which gives the same function and the same gradient.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor, nn

from gapbench.bench.adaptation.train_state import Phase, StepReport, TrainState
from gapbench.bench.config.run import Training
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.quantized import output_rows
from gapbench.methods._shared.lowrank import LowRank, LowRankConfig, Space, StackedLora


class FlatLoraConfig(LowRankConfig):
    """LoRA's settings and the size of the noise."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {"radius"}

    radius: float = Field(
        default=0.05,
        ge=0,
        description="length of the noise on a weight row, relative to the row's length, at the "
        "end of training; rho in the authors' command (0.05)",
    )


class NoisyLora(StackedLora):
    """A low-rank layer with noise on its merged weight in training.

    Attributes:
        radii: (runs,), relative length of the noise in this step; None for none.
    """

    radii: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (runs * batch, tokens, in) to (runs * batch, tokens, out)."""
        out = super().forward(x)
        if not self.training or self.radii is None:
            return out
        noise = self.noise(self.radii).mT.to(x.dtype)
        noisy = torch.baddbmm(self.runs_first(out), self.runs_first(x), noise)
        return noisy.view_as(out)

    @torch.no_grad()
    def noise(self, radii: Tensor) -> Tensor:
        """Return noise of relative length ``radii``, (runs,), as (runs, out, in)."""
        a, b = self.matrices()
        merged = output_rows(self.base) + torch.bmm(b * self.strength(), a)
        lengths: Tensor = torch.linalg.vector_norm(merged, dim=2, keepdim=True)
        shape = (self.out_features, self.in_features)
        unit = self.axis.normal(f"weight noise.{self.site}", shape)
        return unit * (lengths * (radii.view(-1, 1, 1) / math.sqrt(self.in_features)))


class FlatLora(LowRank[FlatLoraConfig]):
    """LoRA with noise on the merged weights."""

    name = "flat_lora"
    reference = "Li et al. 2025, arXiv:2409.14396; nblt/Flat-LoRA, commit 16d48ae"
    Config = FlatLoraConfig
    tuned: ClassVar[Space] = {"radius": FloatDistribution(0.01, 0.5, log=True)}

    _steps = 1

    def layer(self, base: nn.Module, site: str) -> StackedLora:
        """Return the layer that replaces ``base``."""
        return NoisyLora(self.axis, base, site, **self.layer_settings())

    def begin(
        self, state: TrainState, phase: Phase, trainings: Sequence[Training], steps: int
    ) -> None:
        """Store the length of the phase: the noise grows until its end."""
        super().begin(state, phase, trainings, steps)
        self._steps = steps

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Make LoRA's update with the gradient at noisy weights."""
        growth = 0.5 * (1 - math.cos(math.pi * self.axis.step / self._steps))
        lengths = [config.radius * growth for config in self.active_configs]
        radii = self.axis.vector(lengths) if any(lengths) else None
        for layer in self.adapters.values():
            assert isinstance(layer, NoisyLora)  # noqa: S101 - `layer` has made it
            layer.radii = radii
        return super().step(state, batches)
