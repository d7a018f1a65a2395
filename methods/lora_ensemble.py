"""A deep ensemble of LoRA adapters and heads inside each run, on one copy of the backbone.

Source: Lakshminarayanan, Pritzel & Blundell 2017, "Simple and Scalable Predictive Uncertainty
Estimation using Deep Ensembles", section 2.4: members that differ in their initial values train on
all data, and their probabilities are averaged. Wang et al. 2023 do so with LoRA.

Each member learns as it would alone: from its own mean loss and with its own gradient clipping.

Deviations:
1. Members see the same batches in the same order (the paper shuffles for each); they differ only by
   their initial values, and by input dropout if there is any.
2. Four members; the paper uses 5. No adversarial examples (the paper's optional part).
3. In regression the means are averaged, without the predicted variances of the paper.
"""

from gapbench.methods._shared.ensemble import Ensemble


class LoraEnsemble(Ensemble):
    """LoRA adapters and heads whose probabilities are averaged."""

    name = "lora_ensemble"
    reference = "Lakshminarayanan et al. 2017, arXiv:1612.01474, section 2.4"
