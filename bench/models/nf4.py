"""NF4 by bitsandbytes: 16 levels at quantiles of the normal distribution, two weights a byte."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def _without_hub_kernels() -> Iterator[None]:
    """Hide the package `kernels`, from which bitsandbytes would load programs of the hub."""
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")  # it warns of their absence
    level, before = logger.level, sys.modules.get("kernels")
    logger.setLevel(logging.ERROR)
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        logger.setLevel(level)
        del sys.modules["kernels"]
        if before is not None:
            sys.modules["kernels"] = before


with _without_hub_kernels():
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
