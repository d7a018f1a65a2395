"""An update in the form of a singular value decomposition, ``scaling * P diag(values) Q``.

This file holds the layer, its three forms of values, the two penalties and the common base of
`bilora` and `bilora_joint`, which define how the parts are trained.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeVar

import torch
from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor, nn

from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.task import Task
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.run_axis import RunAxis
from gapbench.bench.store.diagnostic import Diagnostic
from gapbench.methods._shared.lowrank import (
    ORTHOGONALITY,
    LowRank,
    LowRankConfig,
    Space,
    StackedLora,
)

Form = Literal["softmax", "real", "binary"]

_INITIAL_STD = 0.02
_NOTED = 5  # decimals of values in a record, which holds rank values for every layer
_CLAMP = 1e-6  # keeps the logarithms of the binary penalty finite


class PseudoSvdConfig(LowRankConfig):
    """Settings of the update's form; sources are in the docstring of `methods.bilora`."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {
        "times_rank",
        "value_lr_ratio",
        "orthogonality",
        "binary_penalty",
    }

    values: Form = Field(
        default="softmax",
        description="pseudo singular values from raw parameters: 'softmax' over the rank, 'real' "
        "unchanged, 'binary' by a sigmoid",
    )
    times_rank: bool = Field(
        default=False, description="whether to multiply the values by the rank (softmax: mean 1)"
    )
    value_lr_ratio: float = Field(
        default=1.0, gt=0, description="learning rate of the values, relative to the run's own"
    )
    orthogonality: float = Field(
        default=0.1, ge=0, description="weight of the orthogonality penalty on P and Q"
    )
    orthogonality_form: Literal["squared", "norm"] = Field(
        default="squared",
        description="measure of that penalty: the squared Frobenius norm, or the norm",
    )
    binary_penalty: float = Field(
        default=1e-4, ge=0, description="weight of the entropy of 'binary' values, summed"
    )


class StackedPseudoSvd(StackedLora):
    """A frozen layer plus ``scaling * P diag(values) Q`` per run.

    ``lora_A`` is Q (runs, rank, in), ``lora_B`` is P (runs, out, rank), ``lora_E`` (runs, rank)
    holds the raw values, zero at first. 'real' values are then zero, so P and Q both start from
    N(0, 0.02); the other forms are not, so P starts at zero.
    """

    groups: ClassVar[Mapping[str, str]] = {"lora_E": "upper"}

    def __init__(
        self,
        axis: RunAxis,
        base: nn.Module,
        site: str,
        *,
        form: Form,
        factors: Tensor,
        rate: Tensor,
        **settings: Any,
    ) -> None:
        self.form = form
        super().__init__(axis, base, site, **settings)
        self.factor = factors.view(-1, 1)
        self.rate = rate
        runs, rank = self.lora_A.shape[:2]
        ranks = torch.tensor(self.ranks, device=axis.device).unsqueeze(1)
        self.own = torch.arange(rank, device=axis.device) < ranks
        self.lora_E = nn.Parameter(self.lora_A.new_zeros(runs, rank))

    def initial(self, index: int, rank: int, member: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return the initial Q, (rank, in), and P, (out, rank), of a run."""

        def normal(part: str, *shape: int) -> Tensor:
            generator = self.axis.generator(index, part, self.site)
            return torch.randn(shape, generator=generator) * _INITIAL_STD

        q = normal("lora_A", rank, self.in_features)
        if self.form == "real":
            return q, normal("lora_B", self.out_features, rank)
        return q, torch.zeros(self.out_features, rank)

    def values(self) -> Tensor:
        """Return the pseudo singular values, (runs, rank); 0 beyond a run's own rank."""
        own = self.axis.select(self.own)
        if self.form == "softmax":
            return self.lora_E.masked_fill(~own, -torch.inf).softmax(dim=1)
        raw = self.lora_E if self.form == "real" else self.lora_E.sigmoid()
        return raw * own

    def strength(self) -> Tensor:
        """Return scaling times values, (runs, 1, rank)."""
        values = self.values() * self.axis.select(self.factor)
        return super().strength() * values.unsqueeze(1)

    def gram_errors(self) -> Tensor:
        """Return ``P'P - I`` and ``QQ' - I`` within a run's own rank, (2, runs, rank, rank)."""
        grams = torch.stack([self.lora_B.mT @ self.lora_B, self.lora_A @ self.lora_A.mT])
        return grams - torch.diag_embed(self.axis.select(self.own).to(grams.dtype))

    def entropy(self) -> Tensor:
        """Return the entropy of the values as probabilities, in nats, summed; (runs,)."""
        values = self.values().clamp(_CLAMP, 1 - _CLAMP)
        entropy = -(values * values.log() + (1 - values) * (1 - values).log())
        return (entropy * self.axis.select(self.own)).sum(dim=1)

    def learning_rate_factor(self, parameter: str) -> Tensor | None:
        """Return the factor on the learning rate of the raw values, (all runs,)."""
        return self.rate if parameter == "lora_E" else None

    def parameter_count(self, index: int) -> int:
        """Count the rows, columns and values of the run's own rank."""
        return super().parameter_count(index) + self.ranks[index]


ConfigT = TypeVar("ConfigT", bound=PseudoSvdConfig)


class PseudoSvd(LowRank[ConfigT]):
    """A low-rank method whose layers are `StackedPseudoSvd`."""

    Layer: ClassVar[type[StackedPseudoSvd]] = StackedPseudoSvd
    no_initial_adapter: ClassVar[str | None] = (
        "its updates have singular values, which an adapter does not"
    )
    tuned: ClassVar[Space] = {
        "value_lr_ratio": FloatDistribution(0.1, 10.0, log=True),
        "orthogonality": ORTHOGONALITY,
    }
    diagnostics: ClassVar[tuple[Diagnostic, ...]] = (
        Diagnostic(
            kind="profiles",
            field="pseudo_singular_values",
            figure="values",
            title="Pseudo singular values of every layer, largest first",
            noun="value",
            caption="Dotted: equal values with sum 1, where a softmax starts. Steeper lines use "
            "fewer directions.",
        ),
    )

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: ConfigT) -> str | None:
        """Refuse the softmax over a single value, which is always 1."""
        if config.values == "softmax" and config.rank == 1:
            return "rank is 1, where 'softmax' values never change; give rank 2 or more"
        return super().supports(task, backbone, config)

    @property
    def layers(self) -> list[StackedPseudoSvd]:
        """The injected layers in the order of `adapters`."""
        return [m for m in self.adapters.values() if isinstance(m, StackedPseudoSvd)]

    def layer(self, base: nn.Module, site: str) -> StackedPseudoSvd:
        """Return the layer that replaces ``base``."""
        vector = self.axis.vector
        return self.Layer(
            self.axis,
            base,
            site,
            form=self.configs[0].values,
            factors=vector([c.rank if c.times_rank else 1.0 for c in self.configs]),
            rate=vector([c.value_lr_ratio for c in self.configs]),
            **self.layer_settings(),
        )

    def penalty(self, state: TrainState) -> Tensor | float:  # noqa: ARG002
        """Return the weighted distance of all P and Q from orthogonality, (runs,) (R1)."""
        if not any(c.orthogonality for c in self.active_configs):
            return 0.0
        weights = self.axis.vector([c.orthogonality for c in self.active_configs])
        errors = torch.cat([layer.gram_errors() for layer in self.layers])
        return weights * skewness(errors, self.configs[0].orthogonality_form)

    def value_penalty(self) -> Tensor | float:
        """Return the weighted entropy of binary values, (runs,) (R2); 0 for the other forms."""
        if self.configs[0].values != "binary":
            return 0.0
        weights = self.axis.vector([c.binary_penalty for c in self.active_configs])
        entropies = [layer.entropy() for layer in self.layers]
        return weights * torch.stack(entropies).sum(dim=0)

    def diagnostic_values(self, state: TrainState, position: int) -> dict[str, Any]:
        """Return the run's values by layer, largest first, and their range."""
        rank = self.active_configs[position].rank
        with torch.no_grad():
            values = torch.stack([layer.values()[position, :rank] for layer in self.layers])
        profiles = values.double().sort(dim=1, descending=True).values.tolist()
        rounded = [[round(value, _NOTED) for value in profile] for profile in profiles]
        found = {
            "smallest_value": float(values.min()),
            "largest_value": float(values.max()),
            "pseudo_singular_values": dict(zip(self.adapters, rounded, strict=True)),
        }
        return super().diagnostic_values(state, position) | found


def skewness(errors: Tensor, form: Literal["squared", "norm"]) -> Tensor:
    """Return each run's mean distance of its matrices from orthonormality, (runs,).

    Args:
        errors: Gram matrices minus identity, (matrices, runs, rank, rank).
        form: measure of one matrix, the squared Frobenius norm or the norm.
    """
    flat = errors.flatten(2)
    if form == "squared":
        return flat.square().sum(dim=2).mean(dim=0)
    norms: Tensor = torch.linalg.vector_norm(flat, dim=2)
    return norms.mean(dim=0)
