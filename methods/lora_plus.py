"""LoRA+: B learns faster than A.

Source: Hayou, Ghosh & Yu 2024, "LoRA+: Efficient Low Rank Adaptation of Large Models", section 4:
learning rate of B = ratio * learning rate of A, because with equal rates A and B cannot both learn
features efficiently in wide models.

Deviations:
1. Only B has the higher rate, as in the paper's equations; the authors' code and PEFT also give it
   to every trained vector, here the bias of the head (ratio 16 there, 1 here).
"""

from typing import ClassVar

from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor, nn

from gapbench.methods._shared.lowrank import LowRank, LowRankConfig, Space, StackedLora


class LoraPlusConfig(LowRankConfig):
    """LoRA's settings and the ratio of the two learning rates."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {"ratio"}

    ratio: float = Field(
        default=16.0,
        gt=0,
        description="learning rate of B over that of A (Hayou et al. 2024: 2^4)",
    )


class FasterB(StackedLora):
    """A low-rank layer whose B has its own learning rate; ``ratios`` is (all runs,)."""

    ratios: Tensor

    def learning_rate_factor(self, parameter: str) -> Tensor | None:
        """Return the ratios for B."""
        return self.ratios if parameter == "lora_B" else None


class LoraPlus(LowRank[LoraPlusConfig]):
    """LoRA with a higher learning rate for B."""

    name = "lora_plus"
    reference = "Hayou et al. 2024, arXiv:2402.12354, section 4"
    Config = LoraPlusConfig
    tuned: ClassVar[Space] = {"ratio": FloatDistribution(1.0, 64.0, log=True)}

    def layer(self, base: nn.Module, site: str) -> StackedLora:
        """Return the layer that replaces ``base``."""
        layer = FasterB(self.axis, base, site, **self.layer_settings())
        layer.ratios = self.axis.vector([config.ratio for config in self.configs])
        return layer
