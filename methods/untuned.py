"""The pretrained backbone with a freshly drawn head: where every method starts. No training.

Where runs start from an adapter, it is the backbone with that adapter.
"""

from typing import ClassVar

from torch import nn

from gapbench.bench.adaptation.method import Method, MethodConfig
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.initial_adapter import fold


class Untuned(Method[MethodConfig]):
    """Score the start."""

    name = "untuned"
    reference = "baseline"
    trains = False
    no_start: ClassVar[str | None] = None

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Leave the model as it is, but for the adapter that all start from."""
        if backbone.start is not None:
            fold(model, backbone.start)
        return model
