"""The attention of a stack: its kernel, and dropout inside it.

A layer's attention is replaced through the library's registry of attention functions: the copy of
the backbone is told to use ours. Ours calls the library's fused function with a mask that excludes
dropped keys, or uses plain products: where weights are dropped, and over few tokens on a CPU, for
which the fused kernel is slow. DeBERTa's attention does not use the registry; hooks on its mask and
its weights reach it. Methods choose the masks (`methods._shared.dropout_masks`).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from gapbench.bench.models.deberta import is_disentangled

IMPLEMENTATION = "gapbench_dropping"
_ATTRIBUTE = "_gapbench_dropping"
_FEW = 64  # keys; up to this many, the fused kernel of a CPU is slower
_MANY = (
    2**23
)  # weights; the memory of a larger tensor is not kept between steps (`bench.core.process`)
_VECTOR = 16  # keys; shorter rows are summed number by number, four times as slow as along columns

Draw = Callable[[int, int, int, int], Tensor]


@dataclass(frozen=True)
class AttentionDropping:
    """Dropout of one attention layer in training.

    A mask is drawn for a shape (rows, heads, queries, keys). It is (rows, heads, 1 or queries,
    keys), True for keep.

    Attributes:
        logits: draws the mask before the softmax (DropKey); None drops nothing.
        weights: draws the mask after it (DropAttention); None drops nothing.
        stop_gradient: whether the normaliser of dropped weights is a constant in the backward pass.
    """

    logits: Draw | None = None
    weights: Draw | None = None
    stop_gradient: bool = True


_NOTHING = AttentionDropping()


def surviving(visible: Tensor | None, keep: Tensor) -> Tensor:
    """Return the keys that a query still sees; a query that has lost all gets all back.

    Args:
        visible: (rows, 1 or heads, 1 or queries, keys) bool, before dropping; None for all.
        keep: (rows, heads, 1 or queries, keys) bool.
    """
    left = keep if visible is None else visible & keep
    lost = ~left.any(dim=-1, keepdim=True)
    return left | (lost if visible is None else lost & visible)


def drop_weights(weights: Tensor, keep: Tensor, *, stop_gradient: bool) -> Tensor:
    """Zero dropped attention weights and rescale each query's row to sum one.

    Source: Lin et al. 2019, arXiv:1907.11065, as Wang et al. 2024 restate it in equations 1 and 2.
    A row whose whole weight is dropped stays unchanged.

    Args:
        weights: (rows, heads, queries, keys), each row a distribution.
        keep: (rows, heads, 1 or queries, keys) bool.
        stop_gradient: whether the normaliser carries no gradient.
    """
    kept = weights * keep
    total = kept.sum(dim=-1, keepdim=True)
    if stop_gradient:
        total = total.detach()
    lost = total == 0
    return torch.where(lost, weights, kept / total.masked_fill(lost, 1.0))


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,  # noqa: FBT001 - the library's own signature
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Compute attention as the library's fused function does, with dropout in training.

    Args:
        module: an attention layer of the library.
        query: (rows, heads, queries, width).
        key: (rows, heads or fewer, keys, width); so is ``value``.
        value: the values that are averaged.
        attention_mask: (rows, 1, queries, keys) bool, True for visible; None if all keys are
            visible, or all up to the query's own in a causal layer.
        scaling: of the logits; 1 / sqrt(width) if None.
        is_causal: whether a missing mask means a causal one; the layer's own attribute if None.
        kwargs: passed to the library.

    Returns:
        (rows, queries, heads, width), and the weights if they were computed.
    """
    dropping: AttentionDropping = vars(module).get(_ATTRIBUTE, _NOTHING)
    if not module.training:
        dropping = _NOTHING
    causal = bool(getattr(module, "is_causal", True)) if is_causal is None else is_causal
    plainly = dropping.weights is not None or _is_small(query, key, kwargs)
    visible = attention_mask
    if plainly or dropping.logits is not None:
        visible, causal = _visible(attention_mask, query, key, causal=causal), False
    shape = (*query.shape[:3], key.shape[2])
    if dropping.logits is not None:
        visible = surviving(visible, dropping.logits(*shape))
    if not plainly:
        kwargs |= {"scaling": scaling, "is_causal": causal}
        return _fused(module, query, key, value, visible, **kwargs)
    weights = _weights(query, key, visible, scaling)
    if dropping.weights is not None:
        keep = dropping.weights(*shape)
        weights = drop_weights(weights, keep, stop_gradient=dropping.stop_gradient)
    return (weights @ _each_head(value, query)).transpose(1, 2).contiguous(), weights


def layers(model: "transformers.PreTrainedModel") -> list[nn.Module]:
    """Return the transformer layers in order; empty if the model has no list of them."""
    count = model.config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count and attentions(module[0]):
            return list(module)
    return []


def attentions(layer: nn.Module) -> list[nn.Module]:
    """Return the attention modules of a layer: those with the attributes fused kernels need."""
    return [
        module
        for module in layer.modules()
        if is_disentangled(module) or hasattr(module, "is_causal")
    ]


def is_causal(model: "transformers.PreTrainedModel") -> bool:
    """Whether every query sees only the tokens up to its own: a decoder-only model."""
    first = layers(model)[0]
    return all(bool(getattr(module, "is_causal", False)) for module in attentions(first))


def droppable(model: "transformers.PreTrainedModel") -> bool:
    """Whether dropout can act in the attention of a model, by registry or by hooks."""
    by_registry = bool(getattr(model, "_supports_attention_backend", False))
    return by_registry or any(is_disentangled(m) for m in model.modules())


def take_over(model: "transformers.PreTrainedModel") -> None:
    """Make the layers of a model use `attend`, unless they need another than fused attention."""
    by_registry = getattr(model, "_supports_attention_backend", False)
    if by_registry and model.config._attn_implementation == "sdpa":
        _ask_ours(model)


def drop_in(
    model: "transformers.PreTrainedModel", layer: nn.Module, dropping: AttentionDropping
) -> None:
    """Add dropout to the attention of one layer of a model."""
    for module in attentions(layer):
        if is_disentangled(module):
            _hook(module, dropping)
        else:
            setattr(module, _ATTRIBUTE, dropping)
            _ask_ours(model)


def _ask_ours(model: "transformers.PreTrainedModel") -> None:
    _register()
    model.set_attn_implementation(IMPLEMENTATION)


@cache
def _register() -> None:
    """Register our attention; not on import, which would load the library's modelling code."""
    transformers.AttentionInterface.register(IMPLEMENTATION, attend)
    masks = transformers.AttentionMaskInterface()
    masks.register(IMPLEMENTATION, masks["sdpa"])


def _visible(mask: Tensor | None, query: Tensor, key: Tensor, *, causal: bool) -> Tensor | None:
    """Return the mask of visible keys: the library's, the implied causal one, or None for all."""
    queries, keys = query.shape[2], key.shape[2]
    if mask is None:
        if not causal or queries == 1:
            return None
        return torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril()[None, None]
    # The library expands a padding mask over the queries, so one query represents all.
    return mask[:, :, :1] if mask.stride(2) == 0 else mask


def _fused(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    attended: tuple[Tensor, Tensor | None] = _of_library()(*args, **kwargs)
    return attended


@cache
def _of_library() -> Callable[..., Any]:
    function: Callable[..., Any] = transformers.AttentionInterface()["sdpa"]
    return function


def _is_small(query: Tensor, key: Tensor, asked: Mapping[str, Any]) -> bool:
    """Whether plain products are faster than the library's function for this call."""
    if asked.get("position_bias") is not None or asked.get("dropout"):
        return False
    rows, heads, queries = query.shape[:3]
    keys = key.shape[2]
    on_cpu = query.device.type == "cpu"
    return on_cpu and keys <= _FEW and rows * heads * queries * keys <= _MANY


def _weights(query: Tensor, key: Tensor, visible: Tensor | None, scaling: float | None) -> Tensor:
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    logits = (query * scale) @ _each_head(key, query).transpose(-1, -2)
    if visible is not None:
        hidden = torch.zeros(visible.shape, dtype=logits.dtype, device=logits.device)
        logits += hidden.masked_fill_(~visible, torch.finfo(logits.dtype).min)
    if logits.shape[-1] >= _VECTOR:
        return logits.softmax(-1)
    return logits.mT.contiguous().softmax(-2).mT


def _each_head(shared: Tensor, query: Tensor) -> Tensor:
    """Repeat keys or values that a group of query heads shares; (rows, heads, keys, width)."""
    group = query.shape[1] // shared.shape[1]
    return shared if group == 1 else shared.repeat_interleave(group, dim=1)


def _hook(module: Any, dropping: AttentionDropping) -> None:
    """Add dropout to DeBERTa's attention, whose mask is (rows, 1, queries, keys)."""
    signature = inspect.signature(module.forward)

    def mask_keys(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if not module.training or dropping.logits is None:
            return None
        call = signature.bind(*args, **kwargs)
        visible = call.arguments["attention_mask"].bool()
        rows, _, queries, keys = visible.shape
        keep = dropping.logits(rows, module.num_attention_heads, queries, keys)
        call.arguments["attention_mask"] = surviving(visible, keep)
        return call.args, call.kwargs

    def drop_output(_: nn.Module, __: tuple[Any, ...], weights: Tensor) -> Tensor:
        if not module.training or dropping.weights is None:
            return weights
        keep = dropping.weights(*weights.shape)
        return drop_weights(weights, keep, stop_gradient=dropping.stop_gradient)

    module.register_forward_pre_hook(mask_keys, with_kwargs=True)
    module.dropout.register_forward_hook(drop_output)
