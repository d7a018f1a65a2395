"""Head tuning (a linear probe): the backbone stays frozen, only the task head trains.

Source: Alain & Bengio 2016, "Understanding intermediate layers using linear classifier probes".

Deviations:
1. The probe reads the input of the model library's head (a pooled or last token); the paper probes
   every layer.
"""

from torch import nn

from gapbench.bench.adaptation.method import Method, MethodConfig
from gapbench.bench.config.task import Task
from gapbench.bench.models.backbone import Backbone


class Head(Method[MethodConfig]):
    """Train only the head."""

    name = "head"
    reference = "Alain & Bengio 2016, arXiv:1610.01644 (linear probes)"
    learning_rates = (1e-3, 1e-1)

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: MethodConfig) -> str | None:  # noqa: ARG003
        """Refuse tasks that use the backbone's own head."""
        if not backbone.head:
            return f"a {task.kind} task has no head of its own that could be trained alone"
        return None

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:  # noqa: ARG002
        """Return the frozen backbone unchanged."""
        return model
