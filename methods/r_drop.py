"""R-Drop: two passes with independent dropout and a symmetric KL loss between them.

Source: Wu et al. 2021, "R-Drop: Regularized Dropout for Neural Networks", NeurIPS,
arXiv:2106.14448, equations 1 to 3.

Deviations (the paper's choice, then ours; shared ones are in `methods.unified_dropout`):
1. Paper: the backbone's ordinary dropout. Ours: dropout of LoRA's input and of feed-forward outputs
   at the same rate; the backbone's own dropout is off unless a suite sets ``backbone_dropout``.
2. Authors' code: KL summed over the batch (``reduction: sum``). Ours: its mean.
3. Paper: the sum of both passes' task losses. Ours: their mean. The paper's loss with weight alpha
   is twice ours with ``consistency_weight`` alpha / 2; a weight thus means the same in all methods,
   and the default 0.5 is the paper's weight 1.
4. Authors' code for RoBERTa: weight 0.7 (regression 0.8) and half of the first pass's task loss.
   Ours: weight 0.5 and the mean of both.

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
    Weight,
)
from gapbench.methods._shared.dropout_method import RATE, WEIGHT, DroppingLora
from gapbench.methods._shared.lowrank import Space


class RDropConfig(DroppingConfig):
    """Settings of R-Drop. The rate is the common one of transformers."""

    dropout: InputRate = 0.1
    ffn_rate: TiedRate = 0.1
    layers: Layers = "all"
    consistency: Consistency = "kl_both"
    consistency_weight: Weight = 0.5
    regression_consistency: Literal["features", "predictions"] = Field(
        default="predictions",
        description="what is compared in regression: softmax over the features that the head gets, "
        "or the predictions by squared difference",
    )


class RDrop(DroppingLora[RDropConfig]):
    """LoRA with two passes per step, both with gradient."""

    name = "r_drop"
    reference = "Wu et al. 2021, arXiv:2106.14448, equations 1 to 3"
    Config = RDropConfig
    tuned: ClassVar[Space] = {"ffn_rate": RATE, "consistency_weight": WEIGHT}
