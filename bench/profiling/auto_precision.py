"""`precision: auto`: bfloat16 where its products are faster and every backbone can compute in it.

One frozen layer of the backbone's shape is timed forward and backward in both precisions. The
result is remembered, so a study that continues later keeps its precision. The chosen precision is a
setting of every run, like any other.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from gapbench.bench.config.run import Cell, Precision
from gapbench.bench.core.errors import BackboneError
from gapbench.bench.data.sources import Sources
from gapbench.bench.models.loading import read_config
from gapbench.bench.profiling import precision_check
from gapbench.bench.profiling.measurement_cache import key_of, recall, remember
from gapbench.bench.profiling.step_timer import timed

_LEAST_GAIN = 1.2  # minimum speed-up of a layer; other operations gain nothing
_TOKENS = 32  # tokens per example
_ROUNDS = 9


def choose(names: Sequence[str], batch_size: int, device: torch.device) -> Precision:
    """Return the precision for a suite: bf16 if it pays with every backbone, else fp32.

    Args:
        names: built-in names, folders or hub ids of the backbones.
        batch_size: examples of one run's batch.
        device: device on which the runs will train.

    Raises:
        BackboneError: if a configuration cannot be read.
    """
    rows = _TOKENS * batch_size
    pays = all(gain(_widths(read_config(name)), rows, device) >= _LEAST_GAIN for name in names)
    return "bf16" if pays else "fp32"


def refusing(cells: Iterable[Cell], sources: Sources, device: torch.device) -> str | None:
    """Return the name of a backbone that cannot compute in its cells' precision, None if all can.

    A backbone that is still on the hub, or cannot be read, is left out; its runs report it.
    """
    for cell in {(cell.backbone.digest, cell.task.head): cell for cell in cells}.values():
        if sources.weight_bytes(cell.backbone) < float("inf"):
            with suppress(BackboneError):
                if precision_check.unsupported_reason(cell, sources, device) is not None:
                    return cell.backbone.name
    return None


def gain(widths: tuple[int, int], rows: int, device: torch.device) -> float:
    """Return how many times faster a frozen layer is in bfloat16; measured once.

    Args:
        widths: input and output features.
        rows: rows of the input.
        device: device to measure on.
    """
    key = key_of({"precision": widths, "rows": rows}, device)
    known = recall(key)
    if known is None:
        known = _measured(widths, rows, device)
        remember(key, known)
    return float(known)


def _measured(widths: tuple[int, int], rows: int, device: torch.device) -> float:
    layer = nn.Linear(*widths, device=device).requires_grad_(requires_grad=False)
    x = torch.randn(rows, widths[0], device=device, requires_grad=True)
    rounded = x.detach().bfloat16().requires_grad_()
    plain = timed(lambda: layer(x).sum().backward(), device, _ROUNDS)
    layer.bfloat16()
    return plain / timed(lambda: layer(rounded).sum().backward(), device, _ROUNDS)


def _widths(config: Any) -> tuple[int, int]:
    """Return the input and output features of a backbone's widest kind of layer."""
    hidden = int(config.hidden_size)
    return hidden, int(getattr(config, "intermediate_size", None) or 4 * hidden)
