"""Base of LoRA and its variants: settings, the stacked low-rank update, its injection.

A variant overrides a piece: `LowRank.layer` (another layer), `LowRank.scaling`,
`StackedLora.strength` (factors on the inner features), `StackedLora.matrices` (A and B as a
pass uses them), `StackedLora.initial` (first values).
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar, TypedDict, TypeVar

import torch
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from pydantic import Field
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from gapbench.bench.adaptation.method import Method, MethodConfig
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import MergeError
from gapbench.bench.models import masks
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.initial_adapter import InitialAdapter, Update
from gapbench.bench.models.quantized import Quantized
from gapbench.bench.models.run_axis import RunAxis, Stacked, replace_module
from gapbench.bench.store.diagnostic import Drop

_NARROWEST = 8
"""All lower ranks cost the same."""

Space = Mapping[str, BaseDistribution]
"""Ranges that a tuner may search, by field of a method's settings."""
ORTHOGONALITY = FloatDistribution(0.05, 0.5, log=True)
"""Range of the weight of an orthogonality penalty, around AdaLoRA's choices."""


class LowRankConfig(MethodConfig):
    """Settings of a low-rank update. Defaults: LoRA's own scripts for RoBERTa on GLUE."""

    PER_RUN: ClassVar[frozenset[str]] = frozenset({"rank", "alpha", "dropout"})

    rank: int = Field(default=8, ge=1, description="inner width; at most the width of the layer")
    alpha: float = Field(default=16.0, gt=0, description="numerator of scaling = alpha / rank")
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the update's inputs dropped per token",
    )
    targets: str | tuple[str, ...] = Field(
        default="default",
        description="'default' (query and value), 'all-linear', or endings of layer names",
    )


def dropped(*positions: tuple[str, str, float, str]) -> tuple[Drop, ...]:
    """Return those of several positions (name, label, rate, pattern) that drop anything."""
    return tuple(
        Drop(position=name, label=label, rate=rate, pattern=pattern)
        for name, label, rate, pattern in positions
        if masks.drops(rate)
    )


def layer_shape(layer: nn.Module) -> tuple[int, int]:
    """Return (in, out) features of a linear or Conv1D layer (whose weight is transposed)."""
    if isinstance(layer, nn.Linear | Quantized):
        return layer.in_features, layer.out_features
    if isinstance(layer, Conv1D):
        return int(layer.weight.shape[0]), int(layer.weight.shape[1])
    raise TypeError(f"expected a linear or Conv1D layer, got {type(layer).__name__}")


class StackedLora(Stacked):
    """A frozen layer plus one low-rank update per run: ``W x + B diag(strength) A x``.

    ``lora_A`` is (runs, rank, in), uniform as `torch.nn.Linear` draws it; ``lora_B`` is
    (runs, out, rank), zero; ``strength`` is scaling for all inner features. Ranks are padded with
    zeros to the largest of the stack: a zero row of A and a zero column of B get zero gradients,
    so they stay zero. With several members per run, both have a second axis for them.
    """

    def __init__(
        self,
        axis: RunAxis,
        base: nn.Module,
        site: str,
        *,
        ranks: Sequence[int],
        scalings: Sequence[float],
        dropouts: Sequence[float],
        members: int = 1,
    ) -> None:
        super().__init__(axis)
        self.base = base
        self.site = site
        self.ranks = tuple(ranks)
        self.in_features, self.out_features = layer_shape(base)
        self.scaling = axis.vector(scalings).view(-1, 1, 1)
        self.drop_rates = axis.vector(dropouts)
        self._drops = any(rate > 0 for rate in dropouts)
        runs, rank = len(self.ranks), max(self.ranks)
        several = () if members == 1 else (members,)
        down = torch.zeros(runs, *several, rank, self.in_features)
        up = torch.zeros(runs, *several, self.out_features, rank)
        self.lora_A = nn.Parameter(down.to(axis.device, axis.dtype))
        self.lora_B = nn.Parameter(up.to(axis.device, axis.dtype))
        self.reset()

    def reset(self) -> None:
        """Set every run to its initial values."""
        for run in range(len(self.lora_A)):
            self.reset_run(run, run)

    def reset_run(self, position: int, index: int) -> None:
        """Set the first values of run ``index``, which stands at ``position``."""
        rank = self.ranks[index]
        for member, a, b in self._members(position):
            a.zero_()
            b.zero_()
            first_a, first_b = self.initial(index, rank, member)
            a[:rank] = first_a
            b[:, :rank] = first_b

    def initial(self, index: int, rank: int, member: int) -> tuple[Tensor, Tensor]:
        """Return the first values of A, (rank, in), and B, (out, rank), of a run."""
        site = (self.site, f"member {member}") if member else (self.site,)
        generator = self.axis.generator(index, "lora_A", *site)
        bound = 1 / math.sqrt(self.in_features)  # kaiming_uniform with a = sqrt(5)
        drawn = torch.rand(rank, self.in_features, generator=generator)
        return (drawn * 2 - 1).mul_(bound), torch.zeros(self.out_features, rank)

    @torch.no_grad()
    def start_from(self, update: Update) -> None:
        """Load an adapter's A, and its B at the run's own scaling, into every run and member."""
        for run, scaling in enumerate(self.scaling.flatten().tolist()):
            for _, a, b in self._members(run):
                a.copy_(update.a)
                b.copy_(update.b / scaling)

    def strength(self) -> Tensor:
        """Return the factors on the inner features of the active runs, (runs, 1, 1 or rank).

        They may not follow from the step: a chosen checkpoint predicts after the last one.
        """
        return self.axis.select(self.scaling)

    def forward(self, x: Tensor) -> Tensor:
        """Map (runs * batch, tokens, in) to (runs * batch, tokens, out)."""
        out = self.base(x)
        return self.add_update(out, self.update_input(x)).view_as(out)

    def add_update(self, out: Tensor, x: Tensor) -> Tensor:
        """Return ``out + B diag(strength) A x``, (models, batch * tokens, out).

        Neighbours of similar rank are multiplied together, so that a run costs about as much as its
        own rank requires, whatever the largest rank of the stack.
        """
        a, b = self.matrices()
        a, b = a.to(x.dtype), b.to(x.dtype)
        models, ranks = self._neighbours(len(a))
        pieces = zip(
            ranks,
            out.reshape(len(a), -1, self.out_features).split(models),
            x.reshape(len(a), -1, self.in_features).split(models),
            a.split(models),
            self.strength().split(models),
            b.split(models),
            strict=True,
        )
        made = [
            torch.baddbmm(
                wide,
                (torch.bmm(rows, a_of[:, :rank].mT) * strength[..., :rank]).to(x.dtype),
                b_of[..., :rank].mT,
            )
            for rank, wide, rows, a_of, strength, b_of in pieces
        ]
        return made[0] if len(made) == 1 else torch.cat(made)

    def _neighbours(self, models: int) -> tuple[list[int], list[int]]:
        """Return the number of models in each group and the rank of its product."""
        widths = [_multiplied(self.ranks[index]) for index in self.axis.active]
        groups = [(width, len(list(same))) for width, same in groupby(widths)]
        each, largest = models // len(widths), self.lora_A.shape[-2]
        return [each * n for _, n in groups], [min(width, largest) for width, _ in groups]

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Return A, (models, rank, in), and B, (models, out, rank), of all models in the pass."""
        return self.lora_A.flatten(0, -3), self.lora_B.flatten(0, -3)

    @property
    def models(self) -> int:
        """Number of models in a pass: the active runs, times their members."""
        return self.lora_A.shape[:-2].numel()

    def update_input(self, x: Tensor) -> Tensor:
        """Return the input of the update: ``x``, with features dropped in training."""
        if not (self.training and self._drops):
            return x
        return self.axis.dropout(x, self.drop_rates, self.site)

    def parameter_count(self, index: int) -> int:
        """Count the rows and columns of the run's own rank."""
        members = self.lora_A.shape[1] if self.lora_A.dim() == 4 else 1
        return members * self.ranks[index] * (self.in_features + self.out_features)

    def factors(self, position: int) -> tuple[Tensor, Tensor]:
        """Return A, (rank, in), and B, (out, rank), of an active run, with ``B A`` its update."""
        rank = self.ranks[self.axis.active[position]]
        strength = self.strength()[position].expand(1, self.lora_A.shape[-2])[:, :rank]
        a, b = self.lora_A[position, :rank], self.lora_B[position, :, :rank]
        return a.detach().clone(), (b * strength).detach()

    def plain(self, position: int) -> dict[str, Tensor]:
        """Return the run's weight with the update folded in, in the base layer's own layout."""
        if self.lora_A.dim() == 4:
            raise MergeError("an ensemble has several updates; it cannot be folded into one model")
        a, b = self.factors(position)
        update = a.T @ b.T if isinstance(self.base, Conv1D) else b @ a
        weight = self.weight
        folded = {"weight": weight + update.to(weight.dtype)}
        bias = self.base.get_parameter("bias") if self.base.bias is not None else None
        return folded if bias is None else folded | {"bias": bias.detach().clone()}

    @property
    def weight(self) -> Tensor:
        """The frozen weight, for library code that asks for its type."""
        base: Any = self.base
        return base.weight  # type: ignore[no-any-return]

    def _members(self, position: int) -> list[tuple[int, Tensor, Tensor]]:
        """Return writable views (member, its A, its B) of a run."""
        a, b = self.lora_A.data[position], self.lora_B.data[position]
        if a.dim() == 2:
            return [(0, a, b)]
        return [(member, a[member], b[member]) for member in range(len(a))]


def _multiplied(rank: int) -> int:
    """Return the rank for a run's product: the next power of two, so that few ranks differ."""
    return max(_NARROWEST, 1 << (rank - 1).bit_length())


class LayerSettings(TypedDict):
    """Arguments of every type of low-rank layer, one entry per run."""

    ranks: Sequence[int]
    scalings: Sequence[float]
    dropouts: Sequence[float]
    members: int


ConfigT = TypeVar("ConfigT", bound=LowRankConfig)


class LowRank(Method[ConfigT]):
    """A method that adds a low-rank update to every target layer.

    Attributes:
        tuned: search ranges besides rank, learning rate and those of parent classes; the first
            is searched by default.
        magnitudes: whether the layers also train the lengths of the weight's rows, as in DoRA.
        adapters: the injected layers, by the name of the layer that each replaces.
    """

    no_initial_adapter: ClassVar[str | None] = None
    magnitudes: ClassVar[bool] = False
    tuned: ClassVar[Space] = {"dropout": FloatDistribution(0.0, 0.3)}
    adapters: dict[str, StackedLora]

    @classmethod
    def search_space(cls) -> Space:
        """Return the rank as in LoRA's study (Hu et al. 2021, section 7.2), and `tuned`.

        Methods of one family search the same settings, since all inherit them.
        """
        found: dict[str, BaseDistribution] = {"rank": IntDistribution(1, 64, log=True)}
        for parent in cls.__mro__:
            for name, drawn in vars(parent).get("tuned", {}).items():
                found.setdefault(name, drawn)
        return found

    @classmethod
    def width(cls, config: ConfigT) -> int:
        """Return the rank: neighbours of similar rank are multiplied together."""
        return config.rank

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: ConfigT) -> str | None:  # noqa: ARG003
        """Refuse ranks above a target layer's width, and targets that would skip experts."""
        layers, experts = backbone.linear_layers(), backbone.stacked_weights()
        if config.targets == "all-linear" and experts:
            return (
                f"targets is 'all-linear', but {len(experts)} weights, such as {experts[0]}, hold "
                "several linear maps in one tensor, which no update can adapt; name the layers"
            )
        for name in backbone.target_layers(config.targets):
            width = min(layer_shape(layers[name]))
            if config.rank > width:
                return f"rank is {config.rank}, but layer {name} allows 1 to {width}"
        return None

    @classmethod
    def unsupported_adapter_reason(
        cls, start: InitialAdapter, backbone: Backbone, config: ConfigT
    ) -> str | None:
        """Refuse an adapter with other layers, ranks or form."""
        targets = backbone.target_layers(config.targets)
        return super().unsupported_adapter_reason(
            start, backbone, config
        ) or start.settings_incompatibility(targets, config.rank, magnitudes=cls.magnitudes)

    @classmethod
    def drops(cls, config: ConfigT) -> tuple[Drop, ...]:
        """Return the dropout of the update's input, if any."""
        return dropped(("update", "input of the update", config.dropout, "element"))

    @classmethod
    def scaling(cls, config: ConfigT) -> float:
        """Return the factor on the update."""
        return config.alpha / config.rank

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Add a stacked update to every target layer."""
        self.adapters = {}
        for name in backbone.target_layers(self.configs[0].targets):
            layer = self.layer(model.get_submodule(name), f"lora.{name}")
            if backbone.start is not None:
                layer.start_from(backbone.start.updates[name])
            replace_module(model, name, layer)
            self.adapters[name] = layer
        return model

    def layer(self, base: nn.Module, site: str) -> StackedLora:
        """Return the layer that replaces ``base``."""
        return StackedLora(self.axis, base, site, **self.layer_settings())

    def layer_settings(self) -> LayerSettings:
        """Return the arguments of a layer."""
        return {
            "ranks": [c.rank for c in self.configs],
            "scalings": [self.scaling(c) for c in self.configs],
            "dropouts": [c.dropout for c in self.configs],
            "members": self.members,
        }
