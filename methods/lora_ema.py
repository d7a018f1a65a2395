"""LoRA scored with an exponential moving average of its parameters.

Source: Kingma & Ba 2015, "Adam", section 7.2 (after Polyak & Juditsky 1992): after each update
``average = decay * average + (1 - decay) * parameters``, from zero, and the scored parameters are
``average / (1 - decay^t)``. Training is that of LoRA; the head is averaged too.

Deviations:
1. Decay 0.99, an average over about 100 updates, because runs here have a few hundred. The
   paper evaluates no decay; 0.999 to 0.9999 are usual for many thousands of updates.
"""

from typing import ClassVar

from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor

from gapbench.methods._shared.averaging import AveragedLora
from gapbench.methods._shared.lowrank import LowRankConfig, Space


class LoraEmaConfig(LowRankConfig):
    """LoRA's settings and the decay of the average."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {"decay"}

    decay: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        description="decay of the average per update; 0 scores the last parameters alone",
    )


class LoraEma(AveragedLora[LoraEmaConfig]):
    """LoRA with averaged parameters."""

    name = "lora_ema"
    reference = "Kingma & Ba 2015, arXiv:1412.6980, section 7.2"
    Config = LoraEmaConfig
    tuned: ClassVar[Space] = {"decay": FloatDistribution(0.9, 0.999)}

    def newest_weight(self, updates: int) -> Tensor:  # noqa: ARG002 - the same at all times
        """Return one minus the decay."""
        return 1 - self._decays

    def total_weight(self, updates: int) -> Tensor:
        """Return the weights' sum, which is below 1 since the average starts from zero."""
        return 1 - self._decays**updates

    @property
    def _decays(self) -> Tensor:
        return self.axis.vector([config.decay for config in self.configs])
