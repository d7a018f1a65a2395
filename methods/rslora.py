"""Rank-stabilised LoRA: the update is scaled by alpha / sqrt(rank), not alpha / rank.

Source: Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA",
section 3.2: with alpha / rank the update of a high rank shrinks, and high ranks learn no more than
low ones.

Deviations:
1. Alpha 16 as for LoRA here. At rank 8 the scaling is then 5.7 instead of LoRA's 2, so learning
   rates tuned for LoRA may be too high. The two agree at rank 1.
"""

import math

from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.models.merge import Adapter, peft_adapter
from gapbench.methods._shared.lowrank import LowRank, LowRankConfig


class RsLora(LowRank[LowRankConfig]):
    """LoRA with a scaling that does not shrink high ranks."""

    name = "rslora"
    reference = "Kalajdzievski 2023, arXiv:2312.03732, section 3.2"
    Config = LowRankConfig

    @classmethod
    def scaling(cls, config: LowRankConfig) -> float:
        """Return alpha / sqrt(rank)."""
        return config.alpha / math.sqrt(config.rank)

    def export(self, state: TrainState, position: int) -> Adapter:
        """Return a PEFT adapter with ``use_rslora``."""
        return peft_adapter(state.model, position, state.task.head, rank_stabilised=True)
