"""HiddenKey: DropKey by columns, HiddenCut by elements, and a symmetric KL between two passes.

Source: Wang et al. 2024, "LoRA Meets Dropout under a Unified Framework", arXiv:2403.00812, section
4 and equation 11.

Deviations: those of `methods.unified_dropout`, and
1. Whether the two positions share a rate is unknown; here they do unless ``ffn_rate`` is set.
2. The paper searches the weight of the KL loss from 0.01 to 10 and does not report it; 1 here.
3. The paper does not say whether both passes have a task loss; here only the first has, following
   the gradient marks in figure 3 (``consistency: kl_both``: both).
"""

from typing import ClassVar

from gapbench.methods._shared.dropout_config import Consistency, DroppingConfig, LogitRate, TiedRate
from gapbench.methods._shared.dropout_method import RATE, WEIGHT, DroppingLora
from gapbench.methods._shared.lowrank import Space


class HiddenKeyConfig(DroppingConfig):
    """Settings of HiddenKey; the paper's chosen rates and weights are not reported."""

    logit_rate: LogitRate = 0.1
    ffn_rate: TiedRate = None
    consistency: Consistency = "kl"


class HiddenKey(DroppingLora[HiddenKeyConfig]):
    """LoRA with keys and feed-forward outputs dropped, and a consistency loss on two passes."""

    name = "hiddenkey"
    reference = "Wang et al. 2024, arXiv:2403.00812, section 4 and equation 11"
    Config = HiddenKeyConfig
    tuned: ClassVar[Space] = {"logit_rate": RATE, "consistency_weight": WEIGHT}
