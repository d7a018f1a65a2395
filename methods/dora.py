"""DoRA: magnitude and direction of every weight row are trained separately.

Source: Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation", equations 5 and 6 and
section 4.3 (the norm is a constant in the backward pass).

Deviations:
1. The norm is taken over the input features, one per output, as in the authors' code and in PEFT;
   the paper writes it as the norm of the columns of a transposed weight.
2. Rank 8, alpha 16 on query and value, as for LoRA here; the paper's language models have rank 16
   or 32 with alpha twice that, on five projections per layer.
"""

from typing import ClassVar

from torch import nn

from gapbench.methods._shared.dora import StackedDora
from gapbench.methods._shared.lowrank import LowRank, LowRankConfig


class Dora(LowRank[LowRankConfig]):
    """LoRA on the directions, with trained magnitudes."""

    name = "dora"
    reference = "Liu et al. 2024, arXiv:2402.09353, equations 5 and 6, section 4.3"
    Config = LowRankConfig
    magnitudes: ClassVar[bool] = True

    def layer(self, base: nn.Module, site: str) -> StackedDora:
        """Return the layer that replaces ``base``."""
        return StackedDora(self.axis, base, site, **self.layer_settings())
