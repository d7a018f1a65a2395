"""HiddenCut: parts of the feed-forward output are dropped before the residual sum.

Source: Chen et al. 2021, "HiddenCut", ACL; under LoRA Wang et al. 2024, arXiv:2403.00812, section
3, whose element-wise form is the default here.

Deviations (the paper's value, then ours; the shared ones are in `methods.unified_dropout`):
1. A contiguous span set to zero, single elements rescaled (``ffn_pattern: span`` restores it): what
   Wang et al. found best under LoRA.
2. A span that begins at one of the tokens with most attention, one that begins anywhere.
3. A second pass without cuts, whose task loss is added, and a Jensen-Shannon loss between the two;
   one pass (``consistency: js`` adds a pass without dropping and KL from it).
"""

from typing import ClassVar

from gapbench.methods._shared.dropout_config import DroppingConfig, TiedRate
from gapbench.methods._shared.dropout_method import RATE, DroppingLora
from gapbench.methods._shared.lowrank import Space


class HiddenCutConfig(DroppingConfig):
    """Settings of HiddenCut. The rate is that of the authors' code."""

    ffn_rate: TiedRate = 0.1


class HiddenCut(DroppingLora[HiddenCutConfig]):
    """LoRA with feed-forward outputs dropped."""

    name = "hiddencut"
    reference = "Chen et al. 2021, ACL, section 3; Wang et al. 2024, arXiv:2403.00812, section 3"
    Config = HiddenCutConfig
    tuned: ClassVar[Space] = {"ffn_rate": RATE}
