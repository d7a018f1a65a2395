"""DropKey: keys are dropped before the softmax of attention, so the rest needs no rescaling.

Source: Li et al. 2023, "DropKey for Vision Transformer", CVPR, arXiv:2208.02646; under LoRA Wang et
al. 2024, arXiv:2403.00812, equation 3.

Deviations (the paper's value, then ours; the shared ones are in `methods.unified_dropout`):
1. A separate mask for every query, one for all queries of a head (``logit_pattern: element``
   restores it): what Wang et al. found best under LoRA.
2. A rate that falls with depth, one rate: as Wang et al.
3. A final part of training without dropping, none.
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
