"""`quantization`: the frozen linear layers of a backbone in 8 or 4 bits a weight.

Only storage changes. Each pass makes the numbers of a layer from its bits, in the type of its
input, multiplies, and drops them again; the backward pass makes them once more. So the memory of a
stack is that of the bits and of one layer's numbers, and a run gets what it would get from a
backbone with those numbers as its plain weights, in any stack. What trains is not quantised.

- ``int8``: one scale for each output, 127 steps on both sides of zero.
- ``int4``: one scale for 64 weights, 7 steps on both sides of zero.
- ``nf4``: one scale for 64 weights and 16 levels at quantiles of the normal distribution (Dettmers
  et al. 2023, "QLoRA", arXiv:2305.14314, section 3), by bitsandbytes. Scales stay in float32 ("no
  double quantisation").
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from gapbench.bench.config.run import Quantization
from gapbench.bench.core.extras import needs_extra
from gapbench.bench.models.run_axis import replace_module

BLOCK = 64
"""Weights that share a scale in 4 bits: neighbours, row after row."""


class Quantized(nn.Module):
    """A frozen layer ``W x + bias`` whose weight is stored in few bits.

    Its state dict is that of the plain layer which acts like it.

    Attributes:
        bits: the weight, uint8 or int8; its layout depends on the format.
        scales: float32.
        like: an empty parameter in the type of `weight`. What rounds a backbone rounds this too.
    """

    bits: Tensor
    scales: Tensor

    def __init__(self, layer: Any, quantization: Quantization) -> None:
        nn.Module.__init__(self)  # not that of a plain layer, which would make a weight
        rows = layer.weight.detach()
        rows = (rows.T if isinstance(layer, Conv1D) else rows).float()
        self.out_features, self.in_features = rows.shape
        self.quantization = quantization
        self.bias = layer.bias
        self.like = nn.Parameter(layer.weight.new_empty(0), requires_grad=False)
        bits, scales = _pack(rows, quantization)
        self.register_buffer("bits", bits)
        self.register_buffer("scales", scales)

    def rows(self, dtype: torch.dtype) -> Tensor:
        """Return the weight with one row per output, (out, in), made from its bits."""
        shape = self.out_features, self.in_features
        return _unpack(self.bits, self.scales.float(), self.quantization, shape, dtype)

    @property
    def weight(self) -> Tensor:
        """The weight in the layout of the plain layer, made from its bits."""
        return self.rows(self.like.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        out = product(self, x)
        return out if self.bias is None else out + self.bias

    def extra_repr(self) -> str:
        """Return the format and the sizes."""
        return f"{self.quantization}, in={self.in_features}, out={self.out_features}"

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:  # noqa: ARG002, FBT001 - the framework's signature
        destination[f"{prefix}weight"] = self.weight
        if self.bias is not None:
            destination[f"{prefix}bias"] = self.bias.detach()


class QuantizedLinear(Quantized, nn.Linear):  # type: ignore[override]
    """A linear layer in few bits."""


class QuantizedConv1D(Quantized, Conv1D):  # type: ignore[misc]
    """A Conv1D layer (GPT-2) in few bits; its plain weight is (in, out)."""

    @property
    def weight(self) -> Tensor:
        """The weight, (in, out), made from its bits."""
        return self.rows(self.like.dtype).T

    __repr__ = nn.Module.__repr__  # a Conv1D's own reads fields that it lacks


def quantize(model: nn.Module, names: Iterable[str], quantization: Quantization) -> None:
    """Store some linear or Conv1D layers of a model in few bits.

    Raises:
        ConfigError: if the format needs a package that is not installed.
    """
    for name in names:
        layer = model.get_submodule(name)
        kind = QuantizedConv1D if isinstance(layer, Conv1D) else QuantizedLinear
        replace_module(model, name, kind(layer, quantization))


def dequantize(model: nn.Module) -> None:
    """Replace every quantised layer of a model by the plain layer which acts like it."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Quantized):
            dequantize_layer(model, name)


def dequantize_layer(model: nn.Module, name: str) -> nn.Module:
    """Return a layer of a model; a quantised one is replaced by its plain layer first."""
    layer = model.get_submodule(name)
    if isinstance(layer, Quantized):
        layer = _plain(layer)
        replace_module(model, name, layer)
    return layer


def output_rows(layer: nn.Module) -> Tensor:
    """Return a frozen layer's weight, plain or quantised, with one row per output, (out, in)."""
    if isinstance(layer, Quantized):
        return layer.rows(layer.like.dtype)
    weight = layer.get_parameter("weight")
    return weight.T if isinstance(layer, Conv1D) else weight


def product(layer: nn.Module, x: Tensor) -> Tensor:
    """Return ``W x`` of a frozen layer without its bias; (..., in) to (..., out)."""
    if isinstance(layer, Quantized):
        made: Tensor = _Product.apply(x, layer)  # type: ignore[no-untyped-call]
        return made
    return F.linear(x, output_rows(layer))


class _Product(torch.autograd.Function):
    """The product with a weight that is made in each pass, so that no pass keeps it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Quantized) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.rows(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return gradient @ ctx.layer.rows(gradient.dtype), None


def _plain(layer: Quantized) -> nn.Module:
    transposed = isinstance(layer, Conv1D)
    sizes = layer.in_features, layer.out_features
    with torch.device("meta"):  # which draws no first values
        plain: Any = Conv1D(*sizes[::-1]) if transposed else nn.Linear(*sizes, bias=False)
    plain.weight = nn.Parameter(layer.weight.contiguous(), requires_grad=False)
    plain.bias = layer.bias
    return plain  # type: ignore[no-any-return]


def _pack(rows: Tensor, quantization: Quantization) -> tuple[Tensor, Tensor]:
    """Return the bits and scales of a weight, (out, in) in float32."""
    if quantization == "int8":
        scales = _scales(rows, 127)
        return (rows / scales).round().to(torch.int8), scales
    # One row a block, whatever the width: kernels of bitsandbytes for CPUs take the wrong scale
    # where a block crosses the end of a row.
    blocks = F.pad(rows.flatten(), (0, -rows.numel() % BLOCK)).view(-1, BLOCK)
    if quantization == "nf4":
        return _nf4().pack(blocks)  # type: ignore[no-any-return]
    scales = _scales(blocks, 7)
    steps = ((blocks / scales).round() + 8).to(torch.uint8)
    return steps[:, : BLOCK // 2] | steps[:, BLOCK // 2 :] << 4, scales


def _unpack(
    bits: Tensor,
    scales: Tensor,
    quantization: Quantization,
    shape: tuple[int, int],
    dtype: torch.dtype,
) -> Tensor:
    """Return the weight that `_pack` stored, (out, in)."""
    if quantization == "int8":
        return (bits * scales).to(dtype)
    if quantization == "nf4":
        blocks: Tensor = _nf4().unpack(bits, scales, BLOCK, dtype)
    else:
        steps = torch.cat([bits & 15, bits >> 4], dim=1).view(torch.int8) - 8
        blocks = (steps * scales).to(dtype)
    return blocks.flatten()[: shape[0] * shape[1]].view(shape)


def _scales(rows: Tensor, steps: int) -> Tensor:
    """Return the size of a step for each row, (rows, 1); above 0 where all weights are 0."""
    largest = rows.abs().amax(dim=1, keepdim=True)
    return largest.clamp(min=torch.finfo(rows.dtype).tiny * steps) / steps


@cache
def _nf4() -> Any:
    """Return the module of NF4, whose package comes with an extra."""
    with needs_extra("quantization nf4", "quantized"):
        from gapbench.bench.models import nf4
    return nf4
