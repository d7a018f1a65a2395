"""R-Drop: two passes with independent dropout and a symmetric KL loss between them.

Source: Wu et al. 2021, "R-Drop: Regularized Dropout for Neural Networks", NeurIPS,
arXiv:2106.14448, equations 1 to 3.

Deviations (the paper's value, then ours; the shared ones are in `methods.unified_dropout`):
1. The backbone's ordinary dropout, dropout of LoRA's input and of feed-forward outputs at the same
   rate: with LoRA the backbone's own is off unless a suite sets ``backbone_dropout``.
2. KL summed over the batch (authors' code), its mean (``reduction: sum`` restores theirs).
3. The sum of both passes' task losses, their mean: the paper's loss with weight alpha is twice ours
   with ``consistency_weight`` alpha / 2, so that a weight means the same in all methods.
4. Weight 0.7, in regression 0.8, and half of the first pass's task loss (authors' code for
   RoBERTa), weight 1 and the mean of both.

In regression predictions are compared by their squared difference, as in the authors' code.
"""

from typing import ClassVar, Literal

from pydantic import Field

from gapbench.methods._shared.dropout_config import (
    Consistency,
    DroppingConfig,
    InputRate,
    Layers,
    TiedRate,
)
from gapbench.methods._shared.dropout_method import RATE, WEIGHT, DroppingLora
from gapbench.methods._shared.lowrank import Space


class RDropConfig(DroppingConfig):
    """Settings of R-Drop. The rate is the common one of transformers."""

    dropout: InputRate = 0.1
    ffn_rate: TiedRate = 0.1
    layers: Layers = "all"
    consistency: Consistency = "kl_both"
    regression_consistency: Literal["features", "predictions"] = Field(
        default="predictions",
        description="what is compared in regression: softmax over the features that the head gets, "
        "or the predictions by squared difference",
    )


class RDrop(DroppingLora[RDropConfig]):
    """LoRA with two passes a step, both with gradient."""

    name = "r_drop"
    reference = "Wu et al. 2021, arXiv:2106.14448, equations 1 to 3"
    Config = RDropConfig
    tuned: ClassVar[Space] = {"ffn_rate": RATE, "consistency_weight": WEIGHT}
