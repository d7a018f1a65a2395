"""A LoRA ensemble at the training cost of one LoRA: the control for claims of ensembles.

It is `lora_ensemble`, except that every batch is divided between the members. All members together
thus pass as many examples forward and backward as LoRA does; at inference each example still passes
through every member. Equal passes have two costs: members see disjoint examples in an epoch, and
each update of a member uses fewer examples.

Source: Lakshminarayanan, Pritzel & Blundell 2017, section 2.4, for the ensemble; the division is
ours.

Deviations:
1. Those of `lora_ensemble`, but members see different examples.
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
