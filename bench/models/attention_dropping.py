"""Dropout inside attention: which keys a query still sees, and how the rest is renormalised.

`bench.models.attention` puts it into the layers of a model. DeBERTa's attention is reached by hooks
on its mask and its weights. Methods choose the masks (`methods._shared.dropout_masks`).
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Draw = Callable[[int, int, int, int], Tensor]


@dataclass(frozen=True)
class AttentionDropping:
    """Dropout of one attention layer in training.

    A mask is drawn for a shape (rows, heads, queries, keys). It is (rows, heads, 1 or queries,
    keys), True for keep.

    Attributes:
        logits: function that draws the mask before the softmax (DropKey); None drops nothing.
        weights: function that draws the mask after it (DropAttention); None drops nothing.
        stop_gradient: whether the normaliser of dropped weights is a constant in the backward pass.
    """

    logits: Draw | None = None
    weights: Draw | None = None
    stop_gradient: bool = True


def surviving(visible: Tensor | None, keep: Tensor) -> Tensor:
    """Return the keys that a query still sees; a query that lost all keys gets all back.

    Args:
        visible: (rows, 1 or heads, 1 or queries, keys) bool, before dropping; None for all.
        keep: (rows, heads, 1 or queries, keys) bool.
    """
    left = keep if visible is None else visible & keep
    lost = ~left.any(dim=-1, keepdim=True)
    return left | (lost if visible is None else lost & visible)


def drop_weights(
    weights: Tensor, keep: Tensor, *, stop_gradient: bool, sink: Tensor | None = None
) -> Tensor:
    """Zero dropped attention weights and rescale each query's row, sink included, to sum one.

    Source: Lin et al. 2019, arXiv:1907.11065, as Wang et al. 2024 restate it in equations 1 and 2.
    A row whose whole weight is dropped stays unchanged. A sink is never dropped, so the forward
    pass equals that of dropped keys here too.

    Args:
        weights: (rows, heads, queries, keys), each row a distribution, with its sink if any.
        keep: (rows, heads, 1 or queries, keys) bool.
        stop_gradient: whether the normaliser carries no gradient.
        sink: (rows, heads, queries, 1), the weight that a row gives to no key; None without a sink.
    """
    kept = weights * keep
    total = kept.sum(dim=-1, keepdim=True)
    lost = total == 0
    if sink is not None:
        total = total + sink
    if stop_gradient:
        total = total.detach()
    return torch.where(lost, weights, kept / total.masked_fill(lost, 1.0))


def hook(module: Any, dropping: AttentionDropping) -> None:
    """Add dropout to an attention layer of DeBERTa, whose mask is (rows, 1, queries, keys)."""
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
