"""BiLoRA: pseudo singular vectors and values are fitted on different parts of the training set.

Source: Qiang, Zhang, Xie 2024, "BiLoRA: A Bi-level Optimization Framework for Overfitting-Resilient
Low-Rank Adaptation of Large Pre-trained Models", arXiv:2403.13037. Its text could not be read.
Facts about it come from its abstract, from reviews, and from the code of two later works of the
same authors with the same solver (AutoLoRA; BiDoRA, t2ance/BiDoRA at e7922af; Betty 0.2.1).

Update ``scaling * P diag(values) Q``; P, Q and the head are the lower level, with the penalty
`orthogonality` on P and Q; the raw values are the upper level.

Deviations and choices where the source is silent:
1. Hypergradient: the paper's choice is unknown; its solver computes 't1t2'.
   'unrolled' repeats one lower batch in all its steps.
2. Initial values: unknown; raw values 0, Q from N(0, 0.02), P = 0, and for 'real' values
   P from N(0, 0.02) as in AdaLoRA.
3. Orthogonality: the paper has a penalty in the form of AdaLoRA's paper, a sum over matrices of
   the squared norm; here their mean, so that the weight does not depend on depth.
   Weight 0.1 as in AdaLoRA's code; the paper swept it.
4. Learning rates: unknown ("larger than LoRA's"); here the run's own on both levels
   (`value_lr_ratio` 1), as in BiDoRA's scripts.
5. Steps of either level: unknown; here one lower step for each upper step.
6. Scaling alpha / rank as in LoRA; AdaLoRA's code has alpha / (rank + 1e-5). Softmax values are
   1 / rank at first and are not rescaled (`times_rank`).
7. Weight decay: vectors are never decayed here; BiDoRA's scripts decay the upper level by 0.1.
8. Checkpoint: the engine's validation split; the paper's dev-set practice is unknown.
9. Binary values: the paper has a penalty on them of unknown form; here it is their entropy.
"""

from typing import ClassVar

from torch import Tensor

from gapbench.methods._shared.bilevel import Bilevel, BilevelConfig
from gapbench.methods._shared.pseudo_svd import PseudoSvd, PseudoSvdConfig


class BiloraConfig(PseudoSvdConfig, BilevelConfig):
    """Settings of BiLoRA."""

    PER_RUN: ClassVar[frozenset[str]] = PseudoSvdConfig.PER_RUN


class Bilora(Bilevel[BiloraConfig], PseudoSvd[BiloraConfig]):
    """Low-rank fine-tuning on two levels: lower singular vectors, upper singular values."""

    name = "bilora"
    reference = "Qiang, Zhang, Xie 2024, arXiv:2403.13037"
    Config = BiloraConfig

    def upper_penalty(self) -> Tensor | float:
        """Return the penalty added to the upper task loss of each run, (runs,)."""
        return self.value_penalty()
