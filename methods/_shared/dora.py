"""The stacked DoRA layer: a weight split into magnitude and direction (Liu et al. 2024).

    W' = m * V' / ||V'||        V' = W + B diag(strength) A        m, ||V'||: one value per output

The magnitude ``m`` trains, and low-rank factors move the direction. The method `dora` itself is in
`methods.dora`; others build on the layer.
"""

from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from gapbench.bench.models.bf16 import full_rows
from gapbench.bench.models.initial_adapter import Update
from gapbench.bench.models.quantized import product
from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.lowrank import LayerSettings, StackedLora


class StackedDora(StackedLora):
    """A frozen layer whose weight is rescaled, output by output, after a low-rank change.

    ``lora_magnitude`` is (runs, out) and starts as the norms of the rows of the frozen weight, so
    that nothing is rescaled before the first step. Norms are constants in the backward pass (paper,
    section 4.3). No weight of size (runs, out, in) is ever made: see `norms`.
    """

    def __init__(
        self, axis: RunAxis, base: nn.Module, site: str, **settings: Unpack[LayerSettings]
    ) -> None:
        super().__init__(axis, base, site, **settings)
        self._row_squares = self._frozen_rows.square().sum(dim=1)
        runs = len(axis.seeds)
        self.lora_magnitude = nn.Parameter(self._row_squares.sqrt().expand(runs, -1).clone())

    def reset_run(self, position: int, index: int) -> None:
        """Set the first values of run ``index``, which stands at ``position``."""
        super().reset_run(position, index)
        if "lora_magnitude" in self._parameters:  # not yet while the parent is being made
            self.lora_magnitude.data[position] = self._row_squares.sqrt()

    @torch.no_grad()
    def start_from(self, update: Update) -> None:
        """Load an adapter into every run; without magnitudes in it, nothing is rescaled."""
        super().start_from(update)
        given = update.magnitude
        self.lora_magnitude.copy_(self.norms() if given is None else given)

    def forward(self, x: Tensor) -> Tensor:
        """Map (runs * batch, tokens, in) to (runs * batch, tokens, out).

        When input features of the update are dropped (x~), the frozen layer still sees all of x:
        ``W x + (m / n - 1) W x~ + (m / n) B A x~``, as the authors' code and PEFT compute it.
        """
        dropped = self.update_input(x)
        frozen = product(self.base, x)
        seen = frozen if dropped is x else product(self.base, dropped)
        moved = self.add_update(seen, dropped)
        scale = (self.lora_magnitude / self.norms()).unsqueeze(1).to(moved.dtype)
        out = moved * scale
        if dropped is not x:
            out = out + self.runs_first(frozen - seen)
        if self.base.bias is not None:
            out = out + self.base.get_parameter("bias")
        return out.view_as(frozen)

    @torch.no_grad()
    def norms(self) -> Tensor:
        """Return the norm of every row of ``W + B diag(strength) A``, (runs, out), as a constant.

        Computed as ``||w||^2 + 2 b A w + b (A A^T) b`` for each row w of W and b of B, with small
        products only. In float32 this agrees with the norm of the full weight to a few roundings.
        """
        a, up = self.lora_A, (self.lora_B * self.strength()).transpose(1, 2)  # (runs, rank, in/out)
        cross = torch.baddbmm(F.linear(a, self._frozen_rows), a @ a.transpose(1, 2), up, beta=2)
        squares = self._row_squares + (up * cross).sum(dim=1)
        return squares.clamp_(min=torch.finfo(squares.dtype).tiny).sqrt_()

    def magnitudes(self, position: int) -> Tensor:
        """Return the magnitude of every output of an active run, (out,)."""
        return self.lora_magnitude[position].detach().clone()

    def parameter_count(self, index: int) -> int:
        """Count the rows and columns of the run's own rank, and the magnitudes."""
        return super().parameter_count(index) + self.out_features

    def plain(self, position: int) -> dict[str, Tensor]:
        """Return the run's rescaled weight, in the base layer's own layout."""
        folded = super().plain(position)
        scale = (self.lora_magnitude / self.norms())[position].detach()
        across = scale if isinstance(self.base, Conv1D) else scale.unsqueeze(1)
        return folded | {"weight": folded["weight"] * across}

    @property
    def _frozen_rows(self) -> Tensor:
        """The frozen weight with one row an output, (out, in), in any layout of the base."""
        return full_rows(self.base)
