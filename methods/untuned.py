"""The pretrained backbone with a newly drawn head, before any training.

If runs have an initial adapter, the backbone includes it.
"""

from typing import ClassVar

from torch import nn

from gapbench.bench.adaptation.method import Method, MethodConfig
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.initial_adapter import fold


class Untuned(Method[MethodConfig]):
    """Score the model before training."""

    name = "untuned"
    reference = "baseline"
    trains = False
    no_initial_adapter: ClassVar[str | None] = None

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Return the model with the initial adapter folded in, if there is one."""
        if backbone.start is not None:
            fold(model, backbone.start)
        return model
