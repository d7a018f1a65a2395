"""AdaLoRA with LoRA Dropout: random columns of Q and rows of P are zeroed, Lambda never.

Source: Lin et al. 2024, "LoRA Dropout as a Sparsity Regularizer for Overfitting Control",
equations 4 to 8, on AdaLoRA (Zhang et al. 2023). Deviations and choices are those of
`methods.adalora` and of `methods.lora_dropout`.

Where the paper is silent:
1. The orthogonality penalty is on the unmasked P and Q, since it concerns the parameters.
2. Importance comes from the gradient averaged over the copies and from the unmasked parameters.
"""

from typing import ClassVar

from torch import nn

from gapbench.methods._shared.adalora_layer import StackedAdaLora
from gapbench.methods._shared.adaptive_rank import AdaLoraConfig, AdaptiveRank
from gapbench.methods._shared.lowrank import StackedLora
from gapbench.methods._shared.masked_lora import MaskedLora, MaskedLowRank, MaskingConfig


class AdaLoraDropoutConfig(AdaLoraConfig, MaskingConfig):
    """Settings of AdaLoRA and of LoRA Dropout."""

    PER_RUN: ClassVar[frozenset[str]] = AdaLoraConfig.PER_RUN | MaskingConfig.PER_RUN


class MaskedAdaLora(MaskedLora, StackedAdaLora):
    """Masked copies of an update in the form of a singular value decomposition."""


class AdaLoraDropout(MaskedLowRank[AdaLoraDropoutConfig], AdaptiveRank[AdaLoraDropoutConfig]):
    """AdaLoRA trained and scored in masked copies."""

    name = "adalora_dropout"
    reference = "Lin et al. 2024, arXiv:2404.09610, equations 4 to 8"
    Config = AdaLoraDropoutConfig

    def layer(self, base: nn.Module, site: str) -> StackedLora:
        """Return the layer that replaces ``base``."""
        return MaskedAdaLora(self.axis, base, site, masking=self.masking, **self.layer_settings())
