"""Products of frozen layers in bfloat16: what they round, and what stays as it is in float32."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import AnyMethod, TrainState
from gapbench.bench.data.batching import collate
from gapbench.bench.models.bf16 import HalfConv1D, HalfLinear, exactly, halve, without_bias
from tests.support.small_stack import CPU, load_backbone, make_runs, random_data

ROUNDING = 2.0**-8
"""Relative error of one rounding to bfloat16."""


def prepared(folder: Path, precision: str, method: str = "lora") -> tuple[AnyMethod, TrainState]:
    """Return three runs of a method, or one where it does not stack, ready for a first step."""
    seeds = (0,) if method == "full" else (0, 1, 2)
    runs = make_runs(method, seeds, precision=precision)
    return set_up(runs, load_backbone(folder, runs), random_data(), CPU)


@pytest.mark.parametrize("conv", [False, True], ids=["linear", "conv1d"])
def test_half_layer_multiplies_rounded_numbers(conv: bool) -> None:
    """Outputs and input gradients are those of rounded weights, and stay float32 outside."""
    torch.manual_seed(0)
    plain = Conv1D(12, 7) if conv else nn.Linear(7, 12)
    plain.requires_grad_(requires_grad=False)
    half = halve(deepcopy(plain))
    x = torch.randn(3, 5, 7, requires_grad=True)
    rows = plain.weight.T if conv else plain.weight
    exact = x.bfloat16().double() @ rows.bfloat16().double().T + plain.bias.bfloat16().double()
    made = half(x)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made.double(), exact, rtol=ROUNDING, atol=1e-3)
    assert not torch.equal(made, plain(x))
    (gradient,) = torch.autograd.grad(made.sum(), x)
    assert gradient.dtype == torch.float32
    expected = rows.bfloat16().double().sum(0).expand_as(gradient)
    torch.testing.assert_close(gradient.double(), expected, rtol=ROUNDING, atol=1e-3)


@pytest.mark.parametrize("conv", [False, True], ids=["linear", "conv1d"])
def test_half_layer_can_multiply_exactly_and_without_its_bias(conv: bool) -> None:
    """Inside `exactly` it is the layer that it was; without the bias it rounds all the same."""
    torch.manual_seed(0)
    plain = Conv1D(12, 7) if conv else nn.Linear(7, 12)
    half = halve(deepcopy(plain.requires_grad_(requires_grad=False)))
    x = torch.randn(3, 5, 7)
    with exactly():
        assert torch.equal(half(x), plain(x))
        assert torch.equal(without_bias(half, x), without_bias(plain, x))
    torch.testing.assert_close(without_bias(plain, x), plain(x) - plain.bias)
    rounded = without_bias(half, x)
    assert not torch.equal(rounded, without_bias(plain, x))
    torch.testing.assert_close(rounded, half(x) - half.bias, rtol=ROUNDING, atol=2e-2)


def test_hooks_on_a_layer_outlive_its_rounding() -> None:
    """What a method has hung on a layer is still called, and changes what comes out."""
    layer = nn.Linear(4, 3).requires_grad_(requires_grad=False)
    layer.register_forward_hook(lambda *_: torch.zeros(()))
    assert halve(layer)(torch.ones(4)) == 0


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_only_frozen_layers_are_rounded(make_backbone: Callable[[str], Path], family: str) -> None:
    """Every frozen linear layer multiplies in half; what trains is float32, and no weight moves."""
    folder = make_backbone(family)
    _, state = prepared(folder, "bf16")
    layers = [m for m in state.model.modules() if isinstance(m, nn.Linear | Conv1D)]
    assert layers
    assert all(isinstance(layer, HalfLinear | HalfConv1D) for layer in layers)
    assert {p.dtype for p in state.model.parameters()} == {torch.float32}
    _, full = prepared(folder, "bf16", "full")
    assert not any(isinstance(m, HalfLinear | HalfConv1D) for m in full.model.modules())


def test_losses_and_gradients_are_near_those_of_float32(
    make_backbone: Callable[[str], Path],
) -> None:
    """One step differs by roundings and by no more."""
    folder = make_backbone("bert")
    examples = np.arange(24).reshape(3, 8)  # of each of three runs
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for precision in ("fp32", "bf16"):
        method, state = prepared(folder, precision)
        losses = method.losses(state, collate(random_data().train, examples, CPU))
        losses.sum().backward()
        seen[precision] = losses.detach(), state.bank.grads.clone()
    (exact, gradients), (losses, rounded) = seen["fp32"], seen["bf16"]
    assert not torch.equal(losses, exact)
    torch.testing.assert_close(losses, exact, rtol=0.02, atol=0)
    distance = (rounded - gradients).norm(dim=1) / gradients.norm(dim=1)
    assert bool((distance < 0.05).all())


@pytest.mark.parametrize(("family", "staying"), [("bert", 2), ("llama", 4), ("gpt2", 0)])
def test_activations_in_half_lose_nothing(
    make_backbone: Callable[[str], Path], family: str, staying: int
) -> None:
    """What is rounded before and behind an activation may as well stay rounded in between."""
    method, state = prepared(make_backbone(family), "bf16")
    batch = collate(random_data().train, np.arange(24).reshape(3, 8), CPU)
    halves = [m for m in state.model.modules() if isinstance(m, HalfLinear | HalfConv1D)]
    inside = [layer for layer in halves if layer.returns == torch.bfloat16]
    assert len(inside) == staying
    losses = method.losses(state, batch)
    for layer in inside:
        layer.returns = torch.float32
    wider = method.losses(state, batch)
    exact = family != "llama"  # there the product of gate and input is rounded once more
    torch.testing.assert_close(losses, wider, rtol=0 if exact else 1e-3, atol=0)


def test_adapted_feed_forward_layers_get_float32(make_backbone: Callable[[str], Path]) -> None:
    """Where the layer behind the activation trains an update, its input is not rounded."""
    folder = make_backbone("bert")
    runs = make_runs("lora", (0, 1), configs=[{"targets": ["output.dense"]}], precision="bf16")
    _, state = set_up(runs, load_backbone(folder, runs), random_data(), CPU)
    halves = [m for m in state.model.modules() if isinstance(m, HalfLinear)]
    assert {layer.returns for layer in halves} == {torch.float32}
