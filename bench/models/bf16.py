"""`precision: bf16`: a frozen backbone in bfloat16 from end to end; what trains stays in float32.

A frozen weight has no update that rounding could lose, and its products are most of the work. So
every frozen weight of the backbone is rounded once, and activations are bfloat16 from the
embeddings to the head: no layer converts what the next one would convert back. Normalisation and
softmax compute in float32 inside their kernels. Trained numbers, their gradients and the optimiser
are float32. An adapter rounds its matrices to the type of its input for each product. A head
computes in its own type, so that logits and losses are float32.

Rounding would hide the difference of two nearby passes, and has no place in exported weights. Both
use the full weights, which stay in memory because other stacks share them.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from gapbench.bench.models.quantized import Quantized

_FULL = "_gapbench_full"


def roundable(model: Any) -> list[nn.Parameter]:
    """Return the frozen weights of a plain model, without those that its family keeps in float32.

    The model library names them: routers, sinks and scales, with which the family's code computes
    in float32.
    """
    kept = getattr(model, "_keep_in_fp32_modules_strict", None) or ()
    return [
        weight
        for name, weight in model.named_parameters()
        if not weight.requires_grad and not any(part in name for part in kept)
    ]


def round_frozen(model: Any, weights: Iterable[nn.Parameter]) -> None:
    """Round those weights of a model that are still frozen, except in the layer of logits.

    Args:
        model: an adapted model.
        weights: what `roundable` gave before it was adapted.
    """
    logits = model.get_output_embeddings()
    if logits is not None:
        _stay_in_full(logits)
    kept = set() if logits is None else {id(p) for p in logits.parameters()}
    for weight in weights:
        if not weight.requires_grad and id(weight) not in kept:
            setattr(weight, _FULL, nn.Parameter(weight.data, requires_grad=False))
            weight.data = weight.data.bfloat16()


def full(weight: nn.Parameter) -> nn.Parameter:
    """Return a weight as it was before it was rounded."""
    return vars(weight).get(_FULL, weight)  # type: ignore[no-any-return]


def full_rows(layer: nn.Module) -> Tensor:
    """Return a frozen layer's weight before it was rounded, with one row per output, (out, in)."""
    if isinstance(layer, Quantized):
        return layer.rows(full(layer.like).dtype)
    rows = full(layer.get_parameter("weight"))
    return rows.T if isinstance(layer, Conv1D) else rows


def full_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the rounded weights of a model before they were rounded, by every name they have."""
    return {
        f"{path}.{name}" if path else name: full(weight)
        for path, module in model.named_modules()
        for name, weight in module.named_parameters(recurse=False)
        if _FULL in vars(weight)
    }


@contextmanager
def exactly(model: nn.Module) -> Iterator[None]:
    """Give a model its full weights inside the block, which must hold whole passes."""
    rounded = {p: p.data for p in model.parameters() if _FULL in vars(p)}
    for weight in rounded:
        weight.data = full(weight).data
    try:
        yield
    finally:
        for weight, values in rounded.items():
            weight.data = values


def _stay_in_full(layer: nn.Module) -> None:
    """Make a layer compute in the type of its weight, which it shares with no other layer."""
    for name, own in layer.named_parameters(recurse=False):
        if not own.requires_grad:
            setattr(layer, name, nn.Parameter(own.detach(), requires_grad=False))
    weight = layer.get_parameter("weight")
    layer.register_forward_pre_hook(lambda _, args: (args[0].to(weight.dtype), *args[1:]))
