"""DropAttention: attention weights are dropped after the softmax, and the rest is renormalised.

Source: Lin et al. 2019, "DropAttention", arXiv:1907.11065; under LoRA: Wang et al. 2024,
arXiv:2403.00812, equations 1 and 2, where the normaliser is a constant in the backward pass. With
``normaliser: gradient`` the method has DropKey's output and DropKey's gradient.

Deviations (the paper's choice, then ours; shared ones are in `methods.unified_dropout`):
1. Paper: windows of w neighbouring keys. Ours: single keys or one span (``weight_pattern``), as
   in Wang et al.
2. Paper: silent on whether the divisor carries gradient. Ours: it does not, as in Wang et al.
"""

from typing import ClassVar

from gapbench.methods._shared.dropout_config import DroppingConfig, WeightRate
from gapbench.methods._shared.dropout_method import RATE, DroppingLora
from gapbench.methods._shared.lowrank import Space


class DropAttentionConfig(DroppingConfig):
    """Settings of DropAttention."""

    weight_rate: WeightRate = 0.1


class DropAttention(DroppingLora[DropAttentionConfig]):
    """LoRA with keys dropped from attention weights."""

    name = "dropattention"
    reference = "Lin et al. 2019, arXiv:1907.11065; Wang et al. 2024, equations 1 and 2"
    Config = DropAttentionConfig
    tuned: ClassVar[Space] = {"weight_rate": RATE}
