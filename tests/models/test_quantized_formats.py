"""The formats of `quantization`: their numbers, products, gradients and memory."""

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gapbench.bench.config.run import Quantization
from gapbench.bench.models.quantized import QuantizedLinear

FORMATS = get_args(Quantization)
# Levels of NF4, from appendix E of the paper (Dettmers et al. 2023).
LEVELS = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453]
LEVELS += [-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0]
LEVELS += [0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224]
LEVELS += [0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]


def layer_of(outputs: int, inputs: int, *, bias: bool = True) -> nn.Linear:
    """Return a frozen layer of random weights with a row of zeros."""
    generator = torch.Generator().manual_seed(outputs)
    layer = nn.Linear(inputs, outputs, bias=bias).requires_grad_(False)
    layer.weight.data = torch.randn(outputs, inputs, generator=generator) * 0.02
    layer.weight.data[0] = 0.0
    return layer


def expected_rows(weight: Tensor, quantization: Quantization) -> Tensor:
    """Return the numbers that a format keeps of a weight, one at a time, by its definition."""
    rows = weight.double().numpy()
    if quantization == "int8":
        steps = np.abs(rows).max(1, keepdims=True) / 127
        return torch.from_numpy(np.rint(rows / np.where(steps > 0, steps, 1)) * steps)
    flat = rows.ravel()
    made = []
    for start in range(0, len(flat), 64):
        block = flat[start : start + 64]
        largest = np.abs(block).max() or 1.0
        levels = np.array(LEVELS) if quantization == "nf4" else np.arange(-7, 8) / 7
        nearest = np.abs(block[:, None] / largest - levels).argmin(axis=1)
        made.append(levels[nearest] * largest)
    return torch.from_numpy(np.concatenate(made).reshape(rows.shape))


@pytest.mark.parametrize("shape", [(8, 64), (5, 48), (3, 7), (16, 100)])
@pytest.mark.parametrize("quantization", FORMATS)
def test_a_format_keeps_the_nearest_of_its_levels(
    quantization: Quantization, shape: tuple[int, int]
) -> None:
    """Rows that fill no whole block, odd widths and rows of zeros included."""
    layer = layer_of(*shape)
    made = QuantizedLinear(layer, quantization)
    expected = expected_rows(layer.weight, quantization)
    torch.testing.assert_close(made.rows(torch.float64), expected, rtol=1e-6, atol=1e-9)
    rounded = made.rows(torch.float32).bfloat16()
    torch.testing.assert_close(made.rows(torch.bfloat16), rounded, rtol=0, atol=0)


def test_int8_is_that_of_bitsandbytes() -> None:
    """One scale for each output, the largest weight at 127."""
    pytest.importorskip("bitsandbytes", reason="the reference is in the extra 'quantized'")
    from bitsandbytes.functional import int8_vectorwise_dequant, int8_vectorwise_quant

    layer = layer_of(12, 64)
    layer.weight.data = layer.weight.data[1:]  # theirs makes no number of a row of zeros
    bits, scales, _ = int8_vectorwise_quant(layer.weight)
    made = QuantizedLinear(layer, "int8")
    assert torch.equal(made.bits, bits)
    torch.testing.assert_close(made.weight, int8_vectorwise_dequant(bits, scales))


@pytest.mark.parametrize("quantization", FORMATS)
def test_products_and_gradients_are_those_of_its_numbers(quantization: Quantization) -> None:
    """Forward, backward and twice backward are those of a plain layer with the same numbers."""
    made = QuantizedLinear(layer_of(6, 10).double(), quantization)
    x = torch.randn(4, 3, 10, dtype=torch.float64, requires_grad=True)
    expected = F.linear(x, made.rows(torch.float64), made.bias)
    torch.testing.assert_close(made(x), expected, rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(made, (x,))
    assert torch.autograd.gradgradcheck(lambda given: made(given).square(), (x,))


@pytest.mark.parametrize(("quantization", "size"), [("nf4", 0.5625), ("int4", 0.5625), ("int8", 1)])
def test_memory_is_that_of_the_bits(quantization: Quantization, size: float) -> None:
    """Bytes a weight in storage, and no weight in the memory of a pass."""
    layer = layer_of(256, 1024)
    made = QuantizedLinear(layer, quantization)
    stored = sum(each.untyped_storage().nbytes() for each in made.buffers())
    assert stored == size * layer.weight.numel() + (4 * 256 if quantization == "int8" else 0)
    kept: list[Tensor] = []
    x = torch.randn(2, 1024, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        made(x).sum().backward()
    assert sum(each.numel() for each in kept) < layer.weight.numel() / 100
