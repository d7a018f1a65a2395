"""The stacked low-rank update that LoRA and its relatives share."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from bench.stack import RunAxis, Stacked


def layer_shape(layer: nn.Module) -> tuple[int, int]:
    """Return (in, out) features of a linear or Conv1D layer (whose weight is transposed)."""
    if isinstance(layer, Conv1D):
        return int(layer.weight.shape[0]), int(layer.weight.shape[1])
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    raise TypeError(f"expected a linear or Conv1D layer, got {type(layer).__name__}")


class StackedLora(Stacked):
    """A frozen layer plus one low-rank update a run: ``W x + scaling * B A x``.

    ``lora_A`` is (runs, rank, in), uniform as `torch.nn.Linear` draws it; ``lora_B`` is
    (runs, out, rank), zero. Ranks are padded with zeros to the largest of the stack: a zero row of
    A and a zero column of B get zero gradients, so they stay zero.
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
    ) -> None:
        super().__init__(axis)
        self.base = base
        self.site = site
        self.ranks = tuple(ranks)
        self.in_features, self.out_features = layer_shape(base)
        self.scaling = axis.vector(scalings).view(-1, 1, 1)
        self.rates = axis.vector(dropouts)
        self._drops = any(rate > 0 for rate in dropouts)
        shape = (len(self.ranks), max(self.ranks), self.in_features)
        self.lora_A = nn.Parameter(torch.zeros(shape, device=axis.device, dtype=axis.dtype))
        self.lora_B = nn.Parameter(
            torch.zeros(shape[0], self.out_features, shape[1], device=axis.device, dtype=axis.dtype)
        )
        for run, rank in enumerate(self.ranks):
            self.lora_A.data[run, :rank] = self._initial_a(run, rank)

    def forward(self, x: Tensor) -> Tensor:
        """Map (runs * batch, tokens, in) to (runs * batch, tokens, out)."""
        dropped = (
            self.axis.dropout(x, self.rates, self.site) if self.training and self._drops else x
        )
        down = torch.bmm(self.runs_first(dropped), self.lora_A.transpose(1, 2))
        down = down * self.axis.select(self.scaling)
        out = self.base(x)
        return torch.baddbmm(self.runs_first(out), down, self.lora_B.transpose(1, 2)).view_as(out)

    def parameter_count(self, index: int) -> int:
        """Count the rows and columns of the run's own rank."""
        return self.ranks[index] * (self.in_features + self.out_features)

    @property
    def weight(self) -> Tensor:
        """The frozen weight, for library code that asks for its type."""
        weight: Tensor = self.base.weight  # type: ignore[assignment]
        return weight

    def _initial_a(self, run: int, rank: int) -> Tensor:
        generator = self.axis.generator(run, "lora_A", self.site)
        bound = 1 / math.sqrt(self.in_features)  # kaiming_uniform with a = sqrt(5)
        drawn = torch.rand(rank, self.in_features, generator=generator)
        return (drawn * 2 - 1).mul_(bound).to(self.axis.device, self.axis.dtype)
