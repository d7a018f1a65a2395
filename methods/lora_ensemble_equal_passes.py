"""A LoRA ensemble that trains for the price of one LoRA: the control for claims of ensembles.

It is `lora_ensemble`, except that the examples of every batch are dealt out to the members. So all
members together pass as many examples forward and backward as LoRA does; at inference each example
still passes through every member. Members see disjoint examples in an epoch, and updates of a
member are made of fewer of them, which are the two prices of equal passes.

Source: Lakshminarayanan, Pritzel & Blundell 2017, section 2.4, for the ensemble; the division is
ours.

Deviations:
1. Those of `lora_ensemble`, but members see different examples in place of the same.
2. A batch that the members cannot share evenly repeats some of its first examples.
"""

from typing import ClassVar

from gapbench.methods._shared.ensemble import Ensemble


class LoraEnsembleEqualPasses(Ensemble):
    """LoRA adapters and heads that divide each batch between them."""

    name = "lora_ensemble_equal_passes"
    reference = (
        "Lakshminarayanan et al. 2017, arXiv:1612.01474, section 2.4; division of batches ours"
    )
    divides: ClassVar[bool] = True
