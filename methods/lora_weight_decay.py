"""LoRA with decoupled weight decay on A and B: the oldest control.

Source: Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization". The decay is 0.1, as
in the scripts of LoRA's authors for RoBERTa on GLUE (microsoft/LoRA, commit c18b175,
``examples/NLU/roberta_base_rte.sh``). `lora` here has none, so the two can be compared.

A step at learning rate r multiplies every decayed parameter by 1 - 0.1 r. Over a whole training
this is exp(-0.1 * sum of learning rates). A peak of 1e-3 and 1,000 steps with linear decay shrink
them by 5 %, so the control is mild unless the learning rate or the number of steps is high.

Deviations:
1. The optimiser's decay also acts on the head's matrices; vectors are exempt.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from gapbench.methods._shared.lowrank import LowRank, LowRankConfig


class LoraWeightDecay(LowRank[LowRankConfig]):
    """LoRA trained with weight decay 0.1."""

    name = "lora_weight_decay"
    reference = "Loshchilov & Hutter 2019, arXiv:1711.05101"
    Config = LowRankConfig
    training: ClassVar[Mapping[str, Any]] = {"weight_decay": 0.1}
