"""DoRA against PEFT's implementation and against the equations written out."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from gapbench.bench.data.batching import collate
from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.dora import StackedDora
from tests.support.peft_twin import RATE, TARGETS, assert_same_training, ready, share_masks, twin
from tests.support.small_stack import CPU, MakeBackbone, random_data


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("family", sorted(TARGETS))
def test_dora_alone_equals_peft_step_by_step(
    family: str, dropout: float, make_backbone: MakeBackbone
) -> None:
    """From the same state and masks, 20 AdamW steps agree to 1e-9."""
    folder = make_backbone(family)
    method, state = ready(folder, "dora", {}, rank=3, alpha=7, dropout=dropout)
    adapted = twin(folder, family, state, r=3, lora_alpha=7, lora_dropout=dropout, use_dora=True)
    share_masks(state, adapted)
    trained = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    assert_same_training(method, state, adapted, optimizer)
    batch = collate(random_data(outputs=3).test, np.arange(9)[None], CPU)
    ours = state.model.eval()(**batch.inputs).logits
    torch.testing.assert_close(ours, adapted.eval()(**batch.inputs).logits, rtol=0, atol=1e-9)


def _layer(dtype: torch.dtype, *, transposed: bool = False, runs: int = 3) -> StackedDora:
    """Return a layer of 12 inputs and 20 outputs with random factors, one rank a run."""
    torch.manual_seed(1)
    base = (Conv1D(20, 12) if transposed else nn.Linear(12, 20)).to(dtype).requires_grad_(False)
    nn.init.normal_(base.bias)
    layer = StackedDora(
        RunAxis(range(runs), CPU, dtype),
        base,
        "site",
        ranks=[2, 5, 3][:runs],
        scalings=[2.0, 0.5, 3.0][:runs],
        dropouts=[0.0] * runs,
        members=1,
    )
    nn.init.normal_(layer.lora_B, std=0.1)
    layer.lora_magnitude.data *= torch.rand(runs, 20, dtype=dtype) + 0.5
    return layer


def _direction(layer: StackedDora, run: int) -> torch.Tensor:
    """Return W + scaling B A of a run, (out, in), by the definition."""
    frozen = layer.weight.T if isinstance(layer.base, Conv1D) else layer.weight
    return frozen + layer.scaling[run] * layer.lora_B[run] @ layer.lora_A[run]


@pytest.mark.parametrize("transposed", [False, True])
def test_dora_layer_equals_its_equation(*, transposed: bool) -> None:
    """Outputs are those of m V' / ||V'|| written out, and folding gives that very weight."""
    layer = _layer(torch.float64, transposed=transposed)
    x = torch.randn(6, 4, 12).double()
    out = layer(x)
    for run in range(3):
        direction = _direction(layer, run)
        norms = direction.norm(dim=1, keepdim=True)
        weight = layer.lora_magnitude[run].unsqueeze(1) * direction / norms
        expected = nn.functional.linear(x[2 * run : 2 * run + 2], weight, layer.base.bias)
        torch.testing.assert_close(out[2 * run : 2 * run + 2], expected, rtol=0, atol=1e-12)
        folded = layer.plain(run)["weight"]
        folded = folded.T if transposed else folded
        torch.testing.assert_close(folded, weight.detach(), rtol=0, atol=1e-12)


def test_dora_gradient_treats_the_norm_as_a_constant() -> None:
    """Gradients equal those of the equation with its norm detached (paper, section 4.3)."""
    layer = _layer(torch.float64)
    x = torch.randn(3, 4, 12).double()
    layer(x).square().sum().backward()
    ours = [p.grad.clone() for p in (layer.lora_A, layer.lora_B, layer.lora_magnitude)]
    layer.zero_grad()
    total = 0
    for run in range(3):
        direction = _direction(layer, run)
        scale = layer.lora_magnitude[run] / direction.norm(dim=1).detach()
        out = nn.functional.linear(x[run], scale.unsqueeze(1) * direction, layer.base.bias)
        total = total + out.square().sum()
    total.backward()
    for mine, p in zip(ours, (layer.lora_A, layer.lora_B, layer.lora_magnitude), strict=True):
        torch.testing.assert_close(mine, p.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("rank", [1, 8, 64])
def test_dora_norms_in_float32_are_as_good_as_those_of_the_full_weight(
    rank: int, size: float
) -> None:
    """The expansion through small products errs by a few roundings, as the direct norm does."""
    generator = torch.Generator().manual_seed(rank)
    base = nn.Linear(768, 96).requires_grad_(False)
    base.weight.data = torch.randn(96, 768, generator=generator) * 0.02
    layer = StackedDora(
        RunAxis([0], CPU, torch.float32),
        base,
        "site",
        ranks=[rank],
        scalings=[16 / rank],
        dropouts=[0.0],
        members=1,
    )
    layer.lora_B.data = torch.randn(1, 96, rank, generator=generator) * size
    update = (16 / rank) * layer.lora_B[0].double() @ layer.lora_A[0].double()
    exact = (base.weight.double() + update).norm(dim=1)
    error = ((layer.norms()[0].double() - exact) / exact).abs().max()
    assert error < 8 * torch.finfo(torch.float32).eps


def test_dora_norms_stay_finite_where_a_row_is_cancelled() -> None:
    """A row of zeros, and a row that its update cancels, give finite outputs and gradients."""
    layer = _layer(torch.float32, runs=1)
    layer.base.weight.data[0] = 0
    layer.base.weight.data[1] = -(layer.scaling[0] * layer.lora_B[0] @ layer.lora_A[0])[1].detach()
    layer._row_squares = layer.base.weight.square().sum(dim=1)
    layer.lora_B.data[0, 0] = 0
    out = layer(torch.randn(2, 4, 12))
    out.sum().backward()
    assert out.isfinite().all()
    assert all(p.grad.isfinite().all() for p in layer.parameters() if p.requires_grad)


def test_dora_reset_restores_the_first_values() -> None:
    """After a reset the layer is the frozen one again, magnitudes included."""
    layer = _layer(torch.float64)
    x = torch.randn(3, 2, 12).double()
    assert not torch.allclose(layer(x), layer.base(x))
    layer.reset()
    torch.testing.assert_close(layer(x), layer.base(x), rtol=0, atol=1e-14)
    torch.testing.assert_close(layer.lora_magnitude[1], layer.base.weight.norm(dim=1))


def test_dora_counts_its_magnitudes() -> None:
    """A run of rank r has r (in + out) + out numbers in a layer."""
    layer = _layer(torch.float64)
    assert [layer.parameter_count(run) for run in range(3)] == [
        rank * (12 + 20) + 20 for rank in (2, 5, 3)
    ]
    assert math.prod(layer.lora_magnitude.shape) == 3 * 20
