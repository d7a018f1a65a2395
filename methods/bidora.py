"""BiDoRA: directions and magnitudes of weights are fitted on different parts of the training set.

Source: Qin, Zhang, Xie 2025, "BiDoRA: Bi-level Optimization-Based Weight-Decomposed Low-Rank
Adaptation", TMLR 07/2025, arXiv:2410.09758; code t2ance/BiDoRA at e7922af. Only the abstract and
the code could be read, not the body of the paper.

``W' = m * V' / ||V'||`` where ``V' = W + scaling * B A``: A, B and the head are the lower level,
with the penalty `orthogonality` on the directions; the magnitudes m are the upper level.

Deviations and choices:
1. Norms are per output row here, as in DoRA's own code; the public layer takes them per input
   column (over dim 0 of an (out, in) weight).
2. alpha / rank scales the update here; the code of the public layer never uses its
   scaling. It also drops the base layer's bias and draws A from N(0, 1); here A and B have LoRA's
   initial values.
3. The norm is a constant in the backward pass, as in DoRA (section 4.3); the public layer
   differentiates it.
4. Orthogonality: in the code the mean over layers of ``||D'D - I||_F``, columns of D of length 1;
   here ``||DD' - I||_F``, rows of length 1, which follows from 1. The weight is 0.1 in the code's
   function and 1e-5 in its script for RTE; here 0, because the weight behind the paper's tables
   is unknown and the penalty needs a full weight matrix per layer and run.
5. Learning rates: the scripts read use one for both levels (1e-5), as here (`magnitude_lr_ratio`
   1). Magnitudes have weight decay 0.1 there, and none here because they are vectors.
6. Refit: the script read (RTE) uses a separate learning rate (3e-5) and the same number of steps
   again; here it is an option, at the run's own learning rate and within the budget.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.bilevel import Bilevel, BilevelConfig
from gapbench.methods._shared.dora import StackedDora
from gapbench.methods._shared.lowrank import ORTHOGONALITY, Space


class BidoraConfig(BilevelConfig):
    """Settings of BiDoRA."""

    PER_RUN: ClassVar[frozenset[str]] = BilevelConfig.PER_RUN | {
        "magnitude_lr_ratio",
        "orthogonality",
    }

    magnitude_lr_ratio: float = Field(
        default=1.0, gt=0, description="learning rate of magnitudes, relative to the run's own"
    )
    orthogonality: float = Field(
        default=0.0, ge=0, description="weight of the orthogonality penalty on the directions"
    )


class StackedBidora(StackedDora):
    """A DoRA layer whose magnitudes are the upper level."""

    groups: ClassVar[Mapping[str, str]] = {"lora_magnitude": "upper"}

    def __init__(
        self, axis: RunAxis, base: nn.Module, site: str, rate: Tensor, **settings: Any
    ) -> None:
        super().__init__(axis, base, site, **settings)
        self.rate = rate

    def learning_rate_factor(self, parameter: str) -> Tensor | None:
        """Return the factor on the learning rate of the magnitudes, (all runs,)."""
        return self.rate if parameter == "lora_magnitude" else None

    def skewness(self) -> Tensor:
        """Return ``||D D' - I||_F`` of the directions D, rows of length 1; (runs,)."""
        update = (self.lora_B * self.strength()) @ self.lora_A
        directions = F.normalize(self._frozen_rows + update, dim=2)
        gram = directions @ directions.mT
        identity = torch.eye(gram.shape[-1], device=gram.device, dtype=gram.dtype)
        norms: Tensor = torch.linalg.vector_norm((gram - identity).flatten(1), dim=1)
        return norms


class Bidora(Bilevel[BidoraConfig]):
    """DoRA on two levels: directions on the lower, magnitudes on the upper."""

    name = "bidora"
    reference = "Qin, Zhang, Xie 2025, arXiv:2410.09758; code t2ance/BiDoRA at e7922af"
    Config = BidoraConfig
    magnitudes: ClassVar[bool] = True
    tuned: ClassVar[Space] = {
        "magnitude_lr_ratio": FloatDistribution(0.1, 10.0, log=True),
        "orthogonality": ORTHOGONALITY,
    }

    def layer(self, base: nn.Module, site: str) -> StackedBidora:
        """Return the layer that replaces ``base``."""
        rate = self.axis.vector([c.magnitude_lr_ratio for c in self.configs])
        return StackedBidora(self.axis, base, site, rate, **self.layer_settings())

    def penalty(self, state: TrainState) -> Tensor | float:  # noqa: ARG002
        """Return the weighted mean distance of the directions from orthogonality, (runs,)."""
        if not any(c.orthogonality for c in self.active_configs):
            return 0.0
        weights = self.axis.vector([c.orthogonality for c in self.active_configs])
        layers = [m for m in self.adapters.values() if isinstance(m, StackedBidora)]
        distances = torch.stack([layer.skewness() for layer in layers])
        return weights * distances.mean(dim=0)
