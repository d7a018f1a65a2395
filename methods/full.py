"""Full fine-tuning: every parameter trains. Runs change the backbone, so they cannot share it.

Source: Devlin et al. 2019, "BERT", section 3.2.

Deviations:
1. AdamW with the suite's settings, decay on matrices only; the paper has Adam with decay 0.01.
"""

from torch import nn

from gapbench.bench.adaptation.method import Method, MethodConfig
from gapbench.bench.config.task import Task
from gapbench.bench.models.backbone import Backbone


class Full(Method[MethodConfig]):
    """Train everything, one run at a time."""

    name = "full"
    reference = "Devlin et al. 2019, arXiv:1810.04805, section 3.2"
    stackable = False
    learning_rates = (1e-5, 1e-3)

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: MethodConfig) -> str | None:  # noqa: ARG003
        """Refuse weights in few bits, which no step of an optimiser can move."""
        if backbone.quantization is None:
            return None
        return (
            f"its weights train, and a backbone in {backbone.quantization} has only frozen ones; "
            "leave out 'quantization'"
        )

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:  # noqa: ARG002
        """Unfreeze all weights."""
        return model.requires_grad_(True)  # noqa: FBT003 - the framework's own signature
