"""DropKey: keys are dropped before the softmax of attention, so the rest needs no rescaling.

Source: Li et al. 2023, "DropKey for Vision Transformer", CVPR, arXiv:2208.02646; under LoRA: Wang
et al. 2024, arXiv:2403.00812, equation 3.

Deviations (the paper's choice, then ours; shared ones are in `methods.unified_dropout`):
1. Paper: a separate mask for every query (``logit_pattern: element``). Ours: one for all queries of
   a head, the best under LoRA in Wang et al.
2. Paper: a rate that falls with depth. Ours: one rate, as in Wang et al.
3. Paper: no dropping in the last part of training. Ours: dropping throughout.
"""

from typing import ClassVar

from gapbench.methods._shared.dropout_config import DroppingConfig, LogitRate
from gapbench.methods._shared.dropout_method import RATE, DroppingLora
from gapbench.methods._shared.lowrank import Space


class DropKeyConfig(DroppingConfig):
    """Settings of DropKey."""

    logit_rate: LogitRate = 0.1


class DropKey(DroppingLora[DropKeyConfig]):
    """LoRA with keys dropped from attention logits."""

    name = "dropkey"
    reference = "Li et al. 2023, arXiv:2208.02646, section 3; Wang et al. 2024, equation 3"
    Config = DropKeyConfig
    tuned: ClassVar[Space] = {"logit_rate": RATE}
