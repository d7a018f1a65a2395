"""HiddenCut: parts of the feed-forward output are dropped before the residual sum.

Source: Chen et al. 2021, "HiddenCut", ACL; under LoRA: Wang et al. 2024, arXiv:2403.00812,
section 3. The element-wise form of the latter is the default here.

Deviations (the paper's choice, then ours; shared ones are in `methods.unified_dropout`):
1. Paper: a contiguous span is zeroed (``ffn_pattern: span``). Ours: single elements are zeroed and
   the rest rescaled, the best under LoRA in Wang et al.
2. Paper: a span begins at one of the tokens with most attention. Ours: it begins anywhere.
3. Paper: a second pass without cuts adds its task loss, and a Jensen-Shannon loss between the two.
   Ours: one pass (``consistency: js`` adds a pass without dropping and KL from it).
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
