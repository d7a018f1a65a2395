"""One masked layer of unequal widths for the tests of LoRA Dropout, and its update written out."""

from typing import Any

import torch
from torch import Tensor

from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.masked_lora import MaskedLora, Masking, MaskingConfig
from tests.support.small_stack import CPU

INSIDE, OUTSIDE, RANK, SCALING = 7, 5, 3, 2.5


def masked_layer(seed: int = 0, **settings: Any) -> MaskedLora:
    """Return a layer of one run from width 7 to 5 at rank 3, with a random B."""
    axis = RunAxis([seed], CPU, torch.float64)
    masking = Masking(axis, [MaskingConfig(**settings)])
    torch.manual_seed(seed)
    layer = MaskedLora(
        axis,
        torch.nn.Linear(INSIDE, OUTSIDE).double().requires_grad_(False),
        "site",
        masking=masking,
        ranks=[RANK],
        scalings=[SCALING],
        dropouts=[0.0],
        members=1,
    )
    layer.lora_B.data.normal_()
    return layer


def masks(layer: MaskedLora, copies: int, step: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the masks of A's columns, (copies, in), and of B's rows, (copies, out)."""
    with layer.masking.running(copies, step):
        columns = layer.masking.draw("site.input", layer.in_features)
        rows = layer.masking.draw("site.output", layer.out_features)
    return columns[0], rows[0]


def updates(layer: MaskedLora, copies: int, step: int | None = None) -> Tensor:
    """Return the masked updates of the only run, (copies, out, in)."""
    with layer.masking.running(copies, step):
        a, b = layer.matrices()
        return b @ (a * layer.strength().mT)


def unmasked(layer: MaskedLora) -> Tensor:
    """Return scaling B A of the only run, (out, in)."""
    return SCALING * layer.lora_B[0] @ layer.lora_A[0]


def outputs(layer: MaskedLora, x: Tensor, copies: int, step: int | None = None) -> Tensor:
    """Return the outputs of all copies for the same x, (copies, *x.shape[:-1], out)."""
    with layer.masking.running(copies, step):
        out: Tensor = layer(x.repeat(copies, *(1,) * (x.dim() - 1)))
    return out.view(copies, *x.shape[:-1], -1)
