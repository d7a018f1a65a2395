"""BiLoRA's update trained on one level: the control that shows the effect of the two levels.

Same ``scaling * P diag(values) Q`` and same penalties as in `bilora`, but one optimiser trains all
parameters together on the whole training set. Reviewers of BiLoRA asked for this comparison
(reports on the version submitted to ICLR 2024); the text of the paper, which may have one,
could not be read.

Deviations:
1. Those of `bilora` in initial values, penalties, scaling and weight decay (2, 3, 6, 7 and 9).
2. Gradients of all parameters are clipped by one common norm; `bilora` clips each level by its own.
"""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from gapbench.bench.adaptation.train_state import TrainState
from gapbench.methods._shared.pseudo_svd import PseudoSvd, PseudoSvdConfig, StackedPseudoSvd


class StackedJointSvd(StackedPseudoSvd):
    """The same layer with its values in the main optimiser group."""

    groups: ClassVar[Mapping[str, str]] = {}


class BiloraJoint(PseudoSvd[PseudoSvdConfig]):
    """Low-rank fine-tuning in the form of a singular value decomposition, on one level."""

    name = "bilora_joint"
    reference = "control for Qiang, Zhang, Xie 2024, arXiv:2403.13037"
    Config = PseudoSvdConfig
    Layer = StackedJointSvd

    def penalty(self, state: TrainState) -> Tensor | float:
        """Return both penalties, (runs,)."""
        return super().penalty(state) + self.value_penalty()
