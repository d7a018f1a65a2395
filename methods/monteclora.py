"""MonteCLoRA: A plus a sampled mixture of normal noise, with penalties on the mixture.

Source: Sengupta et al. 2024, "Robust and Efficient Fine-tuning of LLMs with Bayesian
Reparameterization of Low-Rank Adaptation", arXiv:2411.04358, as PEFT 0.21 implements it
(``monteclora_config``). In training A becomes ``A + sum over n of w_n eps E_n diag(v)^(1/2)``:
v is the diagonal of a Wishart draw with scale ``diag(sigma^2)``, w the softmax of a normal draw
that approximates a Dirichlet distribution. The loss gains a weighted sum of three divergences, one
per distribution, averaged over layers. Predictions use A alone.

Only the paper's abstract was available.

Deviations from PEFT:
1. Draws are keyed by run, step and layer; PEFT takes them from a buffer that it sometimes refills.
2. PEFT uses only the diagonal of the Wishart draw, so only that is drawn here: independent
   chi-squared values with the rank as degrees of freedom.
3. The runs of a stack share ranks.
"""

from typing import ClassVar

import torch
from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor, nn

from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.lowrank import (
    LayerSettings,
    LowRank,
    LowRankConfig,
    Space,
    StackedLora,
)

_LEAST_VARIANCE = 1e-3
_EPS = 1e-6  # both as in PEFT


class MontecloraConfig(LowRankConfig):
    """LoRA's settings and those of the mixture. Defaults: PEFT's."""

    PER_RUN: ClassVar[frozenset[str]] = (LowRankConfig.PER_RUN - {"rank"}) | {
        *("noise_scale", "divergence_weight", "concentration")
    }

    mixture: int = Field(default=8, ge=1, description="number of draws of A mixed in a step")
    noise_scale: float = Field(default=1e-4, ge=0, description="factor on the noise on A")
    divergence_weight: float = Field(
        default=1e-5, ge=0, description="weight of the three divergences in the loss"
    )
    concentration: float = Field(
        default=0.1, gt=0, description="concentration of the Dirichlet prior of the mixture"
    )
    even_mixture: bool = Field(
        default=False,
        description="whether the sum of the squared mixture weights is added to the loss "
        "(use_entropy of PEFT)",
    )


class MontecloraLayer(StackedLora):
    """A low-rank layer with noise on A in training.

    ``log_deviation`` is (runs, rank), ``log_concentration`` is (runs, mixture); both start uniform
    between 0 and 1. ``noise_scales`` is (all runs,).
    """

    noise_scales: Tensor

    def __init__(
        self, axis: RunAxis, base: nn.Module, site: str, mixture: int, settings: LayerSettings
    ) -> None:
        super().__init__(axis, base, site, **settings)
        self.log_deviation = self._uniform("log_deviation", self.lora_A.shape[1])
        self.log_concentration = self._uniform("log_concentration", mixture)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Return A (with noise in training) and B."""
        if not self.training:
            return self.lora_A, self.lora_B
        mixture = self.log_concentration.shape[1]
        shape = (mixture, *self.lora_A.shape[1:])
        noise = torch.einsum("rn,rnki->rki", self.weights(), self._normal("noise", *shape))
        scale = self.axis.select(self.noise_scales).view(-1, 1, 1)
        return self.lora_A + scale * noise * self.variances().sqrt().unsqueeze(2), self.lora_B

    def variances(self) -> Tensor:
        """Return the drawn variance of each row of A in this step, (runs, rank)."""
        rank = self.lora_A.shape[1]
        chi_squared = self._normal("variance", rank, rank).square().sum(dim=2)
        return (self.log_deviation.exp().square() * chi_squared).clamp(min=_LEAST_VARIANCE)

    def weights(self) -> Tensor:
        """Return the drawn weights of the mixture in this step, (runs, mixture)."""
        log, count = self.log_concentration, self.log_concentration.shape[1]
        rest = (-log).exp()
        variance = rest * (1 - 2 / count) + rest.sum(dim=1, keepdim=True) / count**2
        deviation = (variance.clamp(min=_EPS) + _EPS).sqrt()
        mean = log - log.mean(dim=1, keepdim=True)
        return torch.softmax(deviation * self._normal("mixture", count) + mean, dim=1)

    def divergences(self, prior: Tensor) -> Tensor:
        """Return the sum of the three divergences as PEFT computes them, (runs,).

        Args:
            prior: (runs,), concentration of the Dirichlet prior.
        """
        own, count = self.log_concentration.exp(), self.log_concentration.shape[1]
        total, prior = own.sum(dim=1), prior.unsqueeze(1)
        mixture = torch.lgamma(total) - torch.lgamma(prior.squeeze(1) * count)
        mixture = mixture + (torch.lgamma(own) - torch.lgamma(prior)).sum(dim=1)
        digammas = torch.digamma(own) - torch.digamma(total).unsqueeze(1)
        mixture = mixture + ((own - prior) * digammas).sum(dim=1)
        rank, square, drawn = self.lora_A.shape[1], self.log_deviation.mul(2), self.variances()
        scale = 0.5 * rank * (square.exp() - square - 1).sum(dim=1)
        normal = 0.5 * count * (drawn - drawn.log() - 1).sum(dim=1)
        return mixture + scale + normal

    def parameter_count(self, index: int) -> int:
        """Count the deviations, concentrations and LoRA's parameters."""
        return super().parameter_count(index) + self.ranks[index] + self.log_concentration.shape[1]

    def _uniform(self, name: str, count: int) -> nn.Parameter:
        runs = range(len(self.axis.seeds))
        drawn = [torch.rand(count, generator=self.axis.generator(r, name, self.site)) for r in runs]
        return nn.Parameter(torch.stack(drawn).to(self.axis.device, self.axis.dtype))

    def _normal(self, name: str, *shape: int) -> Tensor:
        return self.axis.normal(f"{name}.{self.site}", shape)


class Monteclora(LowRank[MontecloraConfig]):
    """LoRA with a sampled mixture of noise on A."""

    name = "monteclora"
    reference = "Sengupta et al. 2024, arXiv:2411.04358; PEFT 0.21, monteclora"
    Config = MontecloraConfig
    tuned: ClassVar[Space] = {"noise_scale": FloatDistribution(1e-5, 1e-1, log=True)}

    def layer(self, base: nn.Module, site: str) -> StackedLora:
        """Return the layer that replaces ``base``."""
        mixture = self.configs[0].mixture
        layer = MontecloraLayer(self.axis, base, site, mixture, self.layer_settings())
        layer.noise_scales = self.axis.vector([config.noise_scale for config in self.configs])
        return layer

    def penalty(self, state: TrainState) -> Tensor:  # noqa: ARG002 - its layers are known
        """Return each run's weighted divergences, averaged over layers, (runs,)."""
        configs = self.active_configs
        prior = self.axis.vector([config.concentration for config in configs])
        weight = self.axis.vector([config.divergence_weight for config in configs])
        layers = [layer for layer in self.adapters.values() if isinstance(layer, MontecloraLayer)]
        each = [weight * layer.divergences(prior) for layer in layers]
        if configs[0].even_mixture:
            each += [layer.weights().square().sum(dim=1) for layer in layers]
        return torch.stack(each).sum(dim=0) / len(layers)
