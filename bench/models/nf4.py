"""NF4 by bitsandbytes: 16 levels at quantiles of the normal distribution, two weights a byte."""

import torch
from torch import Tensor

from gapbench.bench.models.hub_kernels import without_hub_kernels

with without_hub_kernels():
    import bitsandbytes  # noqa: F401 - registers the operations


def pack(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bits, (weights / 2, 1) uint8, and scales, (blocks,), of weights (blocks, size)."""
    operation = torch.ops.bitsandbytes.quantize_4bit.default
    bits, scales = operation(blocks.contiguous(), blocks.shape[1], "nf4", torch.uint8)
    return bits, scales


def unpack(bits: Tensor, scales: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Return what `pack` stored, (blocks, size)."""
    # The kernels write no float64.
    made = torch.float32 if dtype == torch.float64 else dtype
    operation = torch.ops.bitsandbytes.dequantize_4bit.default
    blocks: Tensor = operation(bits, scales, size, "nf4", (len(scales), size), made)
    return blocks.to(dtype)
