"""The pretrained backbone with a freshly drawn head: where every method starts. No training."""

from torch import nn

from bench.backbone import Backbone
from bench.method import Method, MethodConfig


class Untuned(Method[MethodConfig]):
    """Score the start."""

    name = "untuned"
    reference = "baseline"
    trains = False

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:  # noqa: ARG002
        """Leave the model as it is."""
        return model
