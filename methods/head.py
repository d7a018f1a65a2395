"""Head tuning (a linear probe): the backbone stays frozen, only the task head trains."""

from torch import nn

from bench.backbone import Backbone
from bench.method import Method, MethodConfig


class Head(Method[MethodConfig]):
    """Train the head alone."""

    name = "head"
    reference = "Alain & Bengio 2016, arXiv:1610.01644 (linear probes)"

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:  # noqa: ARG002
        """Leave the frozen backbone as it is."""
        return model
