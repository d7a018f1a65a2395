"""DropLoRA: dropout between A and B, on the rank axis.

Source: Zhang 2025, "DropLoRA: Sparse Low-Rank Adaptation for Parameter-Efficient Fine-Tuning", and
the author's code (TayeeChang/DropLoRA, commit a65ce19): ``B dropout(A x) * scaling`` in training.

Deviations:
1. The code's variant with learned logits in place of random masks (``dynamic_pruning``, off by
   default) is not offered.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor, nn

from gapbench.bench.store.diagnostic import Drop
from gapbench.methods._shared.lowrank import LowRank, LowRankConfig, Space, StackedLora, dropped

Pattern = Literal["element", "rank"]


class DropLoraConfig(LowRankConfig):
    """LoRA's settings and those of the dropout on the rank axis."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {"rank_rate"}

    rank_rate: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="share of the inner features dropped (default of the author's code)",
    )
    pattern: Pattern = Field(
        default="element",
        description="each token drops its own inner features (the author's code), or a whole step "
        "drops the same ones, as if the rank were lower (rank)",
    )


class RankDropped(StackedLora):
    """A low-rank layer that drops inner features in training.

    Attributes:
        rank_rates: (all runs,), probability of dropping.
        shared: whether one draw serves all tokens of a step.
    """

    rank_rates: Tensor
    shared: bool
    _kept: Tensor | None = None  # factors of the current pass: the reciprocal keep rate, or zero

    def forward(self, x: Tensor) -> Tensor:
        """Map (runs * batch, tokens, in) to (runs * batch, tokens, out)."""
        if self.training:
            self._kept = self._draw(x.shape[:-1])
        out = super().forward(x)
        self._kept = None
        return out

    def strength(self) -> Tensor:
        """Return scaling, in training times the mask factors, (runs, 1 or tokens, rank)."""
        return super().strength() if self._kept is None else super().strength() * self._kept

    def _draw(self, rows: Sequence[int]) -> Tensor:
        """Return factors of inner features, (runs, 1 or batch * tokens, rank)."""
        own = (1,) if self.shared else (rows[0] // self.axis.size, *rows[1:])
        shape = (*own, self.lora_A.shape[-2])
        keep, scale = self.axis.keep_mask(
            self.rank_rates, f"rank.{self.site}", shape, by_example=not self.shared
        )
        return (keep * scale).flatten(1, -2)


class DropLora(LowRank[DropLoraConfig]):
    """LoRA with dropout on the rank axis."""

    name = "drop_lora"
    reference = "Zhang 2025, arXiv:2508.17337; TayeeChang/DropLoRA, commit a65ce19"
    Config = DropLoraConfig
    tuned: ClassVar[Space] = {"rank_rate": FloatDistribution(0.05, 0.6)}

    @classmethod
    def drops(cls, config: DropLoraConfig) -> tuple[Drop, ...]:
        """Return the dropout of inner features beside that of the update's input."""
        own = ("rank", "inner features of the update", config.rank_rate, config.pattern)
        return super().drops(config) + dropped(own)

    def layer(self, base: nn.Module, site: str) -> StackedLora:
        """Return the layer that replaces ``base``."""
        layer = RankDropped(self.axis, base, site, **self.layer_settings())
        layer.rank_rates = self.axis.vector([config.rank_rate for config in self.configs])
        layer.shared = self.configs[0].pattern == "rank"
        return layer
