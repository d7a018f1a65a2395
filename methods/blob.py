"""BLoB: Bayesian LoRA by backpropagation, with a normal posterior over every entry of A.

Source: Wang et al. 2024, "BLoB: Bayesian Low-Rank Adaptation by Backpropagation for Large Language
Models", NeurIPS, arXiv:2406.11675, and the authors' code (Wang-ML-Lab/bayesian-peft, commit
bc6a4a7, ``modelwrappers/blob.py``). A has the mean M and the deviation ``G^2``; a pass in training
draws A by flipout, ``B (M x + s * ((G^2 * noise) (r * x)))`` with random signs r and s for every
token. After each optimiser step on the task loss, a step of plain gradient descent lowers the
divergence from the prior N(0, beta^2). Its weight is ``2^i / (2^(P + 1) - 1)`` at the i-th of
every P steps, so that the weights add up to one. Predictions average probabilities over samples
of A.

The paper's text was not available; equations, settings and their values come from the code.

Deviations:
1. At inference one sample of A serves all examples and tokens, so that a prediction does not
   depend on its neighbours in a batch; the code draws signs for each token.
2. The head is not adapted by LoRA, as in all methods here; their scripts adapt it
   (``apply-classhead-lora``).
3. P is a setting; the code computes it, ``100 n^(pi / gamma) / batch`` for n training examples and
   gamma = 8, which is 55 for 256 examples in batches of 16.
4. The runs of a stack share ranks.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor, nn

from gapbench.bench.adaptation.optim import learning_rate_at
from gapbench.bench.adaptation.train_state import Phase, StepReport, TrainState
from gapbench.bench.config.run import Training
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.lowrank import LayerSettings, LowRankConfig, Space, StackedLora
from gapbench.methods._shared.posterior_samples import SampledConfig, SampledLora, samples

_EPS = 1e-6  # for the divergence, as in the code
_SPAN = 1 - 1 / math.sqrt(2)


class BlobConfig(SampledConfig):
    """LoRA's settings and those of the posterior. Defaults: the code's for RoBERTa."""

    PER_RUN: ClassVar[frozenset[str]] = (LowRankConfig.PER_RUN - {"rank"}) | {
        *("first_deviation", "prior_deviation", "divergence_rate", "divergence_period")
    }

    samples: int = samples(10, "samples of A")
    first_deviation: float = Field(
        default=0.05,
        gt=0,
        description="G is drawn initially between this / sqrt(2) and this (eps of the code)",
    )
    prior_deviation: float = Field(
        default=0.2, gt=0, description="standard deviation of the prior (beta of the code)"
    )
    divergence_rate: float = Field(
        default=0.002,
        ge=0,
        description="peak learning rate of the divergence steps, with the same schedule as the "
        "task loss (kllr of the code)",
    )
    divergence_period: int = Field(
        default=55, ge=1, description="steps over which the weights of the divergence sum to one"
    )


class BlobLayer(StackedLora):
    """A low-rank layer whose A is drawn; ``deviation_root`` is G, (runs, rank, in).

    Attributes:
        sample: number of the sample that a pass in evaluation uses; None for the mean.
    """

    sample: int | None = None

    def __init__(
        self,
        axis: RunAxis,
        base: nn.Module,
        site: str,
        firsts: Sequence[float],
        settings: LayerSettings,
    ) -> None:
        super().__init__(axis, base, site, **settings)
        shape = self.lora_A.shape[1:]
        drawn = [
            first * (1 - torch.rand(shape, generator=axis.generator(run, "G", site)) * _SPAN)
            for run, first in enumerate(firsts)
        ]
        self.deviation_root = nn.Parameter(torch.stack(drawn).to(axis.device, axis.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Map (runs * batch, tokens, in) to (runs * batch, tokens, out)."""
        out = super().forward(x)
        if not self.training:
            return out
        rows, noise = self.runs_first(self.update_input(x)), self._noise("flipout")
        signs = self._signs(x, "in", self.in_features), self._signs(x, "out", noise.shape[1])
        inner = torch.bmm(rows * signs[0], noise.mT.to(x.dtype)) * signs[1]
        inner = (inner * self.strength()).to(x.dtype)
        noisy = torch.baddbmm(self.runs_first(out), inner, self.lora_B.mT.to(x.dtype))
        return noisy.view_as(out)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Return A (in evaluation, the sample in use) and B."""
        if self.training or self.sample is None:
            return self.lora_A, self.lora_B
        return self.lora_A + self._noise("posterior", self.sample), self.lora_B

    def divergence(self, prior: Tensor) -> Tensor:
        """Return each run's divergence of the posterior from N(0, prior^2), (runs,) nats."""
        deviation = self.deviation_root.square()
        prior = prior.view(-1, 1, 1)
        spread = (deviation.square() + self.lora_A.square()) / (2 * prior.square() + _EPS)
        each = (prior + _EPS).log() - (deviation + _EPS).log() + spread - 0.5
        return each.sum(dim=(1, 2))

    def parameter_count(self, index: int) -> int:
        """Count the deviations and LoRA's parameters."""
        return super().parameter_count(index) + self.ranks[index] * self.in_features

    def _noise(self, site: str, step: int | None = None) -> Tensor:
        """Return a draw of A minus its mean, (runs, rank, in)."""
        unit = self.axis.normal(f"{site}.{self.site}", self.lora_A.shape[1:], step)
        return unit * self.deviation_root.square()

    def _signs(self, x: Tensor, side: str, features: int) -> Tensor:
        """Return a random sign for every feature of every token, (runs, batch * tokens, ...)."""
        shape = (x.shape[0] // self.axis.size, *x.shape[1:-1], features)
        even = torch.full_like(self.drop_rates, 0.5)
        keep, _ = self.axis.keep_mask(even, f"{side} signs.{self.site}", shape)
        return (keep.to(x.dtype) * 2 - 1).flatten(1, -2)


class Blob(SampledLora[BlobConfig]):
    """LoRA with a trained posterior over A."""

    name = "blob"
    reference = "Wang et al. 2024, arXiv:2406.11675; Wang-ML-Lab/bayesian-peft, commit bc6a4a7"
    Config = BlobConfig
    tuned: ClassVar[Space] = {"divergence_rate": FloatDistribution(2e-4, 2e-1, log=True)}

    _schedules: Mapping[int, Training]  # by run
    _steps: int

    def layer(self, base: nn.Module, site: str) -> StackedLora:
        """Return the layer that replaces ``base``."""
        firsts = [config.first_deviation for config in self.configs]
        return BlobLayer(self.axis, base, site, firsts, self.layer_settings())

    def begin(
        self, state: TrainState, phase: Phase, trainings: Sequence[Training], steps: int
    ) -> None:
        """Store the schedule, which the steps on the divergence share."""
        super().begin(state, phase, trainings, steps)
        self._steps, self._schedules = steps, dict(zip(self.axis.active, trainings, strict=True))

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Make an update on the task loss, then one on the divergence."""
        report = super().step(state, batches)
        priors = self.axis.vector([config.prior_deviation for config in self.active_configs])
        divergences = [layer.divergence(priors) for layer in self._layers]
        torch.stack(divergences).sum().backward()
        learning_rates = self.axis.vector(
            [self._divergence_rate(index) for index in self.axis.active]
        )
        state.bank.values.sub_(state.bank.grads * learning_rates.unsqueeze(1))
        state.bank.grads.zero_()
        return report

    def predict(self, state: TrainState, batch: Batch) -> Tensor:
        """Return logits at the mean, or the log of the mean probabilities of samples."""
        if self.configs[0].samples == 0:
            return super().predict(state, batch)
        try:
            return self.mean_of_samples(state, batch, self._move_to)
        finally:
            self._move_to(None)

    @property
    def _layers(self) -> list[BlobLayer]:
        return [layer for layer in self.adapters.values() if isinstance(layer, BlobLayer)]

    def _move_to(self, number: int | None) -> None:
        for layer in self._layers:
            layer.sample = number

    def _divergence_rate(self, index: int) -> float:
        """Return the learning rate of a run's divergence step times the weight of this step."""
        config, step = self.configs[index], self.axis.step
        peak = self._schedules[index].learning_rate
        share = learning_rate_at(step, self._steps, self._schedules[index]) / peak
        period = config.divergence_period
        place = step % period + 1
        weight = 2.0 ** (place - period - 1) / (1 - 2.0 ** -(period + 1))
        return config.divergence_rate * share * weight
