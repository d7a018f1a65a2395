"""HiddenKey without its consistency loss: DropKey by columns and HiddenCut by elements, one pass.

Source: Wang et al. 2024, "LoRA Meets Dropout under a Unified Framework", arXiv:2403.00812, section
4.

Deviations: those of `methods.unified_dropout`, and
1. Whether the two positions share a rate is unknown; here they do unless ``ffn_rate`` is set.
"""

from typing import ClassVar

from gapbench.methods._shared.dropout_config import DroppingConfig, LogitRate, TiedRate
from gapbench.methods._shared.dropout_method import RATE, DroppingLora
from gapbench.methods._shared.lowrank import Space


class HiddenKeyMinusConfig(DroppingConfig):
    """Settings of HiddenKey without the second pass; the paper's chosen rates are not reported."""

    logit_rate: LogitRate = 0.1
    ffn_rate: TiedRate = None


class HiddenKeyMinus(DroppingLora[HiddenKeyMinusConfig]):
    """LoRA with keys and feed-forward outputs dropped."""

    name = "hiddenkey_minus"
    reference = "Wang et al. 2024, arXiv:2403.00812, section 4 (without equation 11)"
    Config = HiddenKeyMinusConfig
    tuned: ClassVar[Space] = {"logit_rate": RATE}
