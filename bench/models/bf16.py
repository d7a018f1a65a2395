"""`precision: bf16`: a frozen backbone in bfloat16 from end to end; what trains stays in float32.

A frozen weight has no update that rounding could lose, and its products are most of the work. So
every frozen weight of the backbone is rounded once, and activations are bfloat16 from the
embeddings to the head: no layer converts what the next one would convert back. Normalisation and
softmax compute in float32 inside their kernels. Trained numbers, their gradients and the optimiser
are float32. An adapter rounds its matrices to the type of its input for each product. A head
computes in its own type, so that logits and losses are float32.

Rounding would hide the difference of two nearby passes, and has no place in exported weights. Both
use the full weights. A weight that bfloat16 holds exactly, as all of a checkpoint in bfloat16, is
in memory once, in two bytes, and made full where it is used. The full numbers of the others stay
beside the rounded ones, since other stacks share them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only
from transformers.pytorch_utils import Conv1D

from gapbench.bench.models.pretrained_weights import is_inside
from gapbench.bench.models.quantized import Quantized

_FULL = "_gapbench_full"


def roundable(model: Any, head: Sequence[str] = ()) -> list[nn.Parameter]:
    """Return the weights of a plain model, without its head and what its family keeps in float32.

    The model library names the latter: routers, sinks and scales, with which the family's code
    computes in float32.

    Args:
        model: a model before it is adapted.
        head: names of the modules of its head.
    """
    kept = getattr(model, "_keep_in_fp32_modules_strict", None) or ()
    return [
        weight
        for name, weight in model.named_parameters()
        if not is_inside(name, head) and not any(part in name for part in kept)
    ]


def store(model: Any, head: Sequence[str]) -> None:
    """Keep those weights of a plain model in bfloat16 which it holds exactly.

    The layer of logits keeps its type, in which it computes.
    """
    logits = _ids_of_logits(model)
    for weight in roundable(model, head):
        if id(weight) not in logits and _is_exact(weight):
            weight.data = weight.data.bfloat16()


def round_frozen(model: Any, weights: Iterable[nn.Parameter]) -> None:
    """Round those weights of a model that are still frozen, except in the layer of logits.

    What trains is made full.

    Args:
        model: an adapted model.
        weights: what `roundable` gave before it was adapted.
    """
    if (layer := model.get_output_embeddings()) is not None:
        _stay_in_full(layer)
    logits = _ids_of_logits(model)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = full(weight).data
    for weight in weights:
        if not weight.requires_grad and id(weight) not in logits:
            if not _is_exact(weight):
                setattr(weight, _FULL, nn.Parameter(weight.data, requires_grad=False))
            weight.data = weight.data.bfloat16()


def full(weight: nn.Parameter) -> nn.Parameter:
    """Return a weight as it was before it was rounded."""
    if weight.dtype != torch.bfloat16:
        return weight
    if (known := vars(weight).get(_FULL)) is not None:
        return known  # type: ignore[no-any-return]
    return nn.Parameter(weight.detach().float(), requires_grad=False)


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
        if weight.dtype == torch.bfloat16
    }


class InFull(TorchFunctionMode):
    """Computations inside the block use full weights, each made as long as an operation takes.

    A backward pass would keep them all: take it elsewhere.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is Tensor.__deepcopy__:  # its memo holds whatever was copied before
            return func(*args, **(kwargs or {}))
        args, kwargs = tree_map_only(nn.Parameter, full, (tuple(args), dict(kwargs or {})))
        return func(*args, **kwargs)


def _is_exact(weight: nn.Parameter) -> bool:
    """Whether rounding changes nothing."""
    return torch.equal(weight.data.bfloat16().to(weight.dtype), weight.data)


def _ids_of_logits(model: Any) -> set[int]:
    """Return the parameters of the layer that gives a language model's logits, by identity."""
    layer = model.get_output_embeddings()
    return set() if layer is None else {id(weight) for weight in layer.parameters()}


def _stay_in_full(layer: nn.Module) -> None:
    """Make a layer compute in the type of its weight, which it shares with no other layer."""
    for name, own in layer.named_parameters(recurse=False):
        if not own.requires_grad:
            setattr(layer, name, nn.Parameter(own.detach(), requires_grad=False))
    weight = layer.get_parameter("weight")
    layer.register_forward_pre_hook(lambda _, args: (args[0].to(weight.dtype), *args[1:]))
