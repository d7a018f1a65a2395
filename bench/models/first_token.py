"""The last layer of an encoder, computed for the first token where a classifier reads no other.

The other tokens of the last layer are then needed as keys and values only. Their queries, the
output of their attention and their feed-forward layer, three quarters of the layer's products and
all of its attention, are left out in scoring. Training computes them, as it always has.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import transformers
from torch import Tensor, nn

from gapbench.bench.models import attention

_QUERY, _AFTER = "query", "attention.output"
"""Parts of a layer by the library's names in BERT and its relatives: the projection of the queries,
and what adds the output of attention to the layer's input."""


@contextmanager
def first_token_only(model: nn.Module) -> Iterator[None]:
    """Compute the last layer for the first token alone inside the block."""
    with _hooked(model, _first, _repeated):
        yield


def reads_first_only(model: nn.Module, predict: Callable[[], Tensor]) -> bool:
    """Whether predictions depend on no token of the last layer but the first.

    The others are set to NaN there, which would spread to whatever reads them.

    Args:
        model: model of a task that classifies sequences, in evaluation mode.
        predict: passes a batch through ``model`` and returns its logits.
    """
    reached = 0

    def poisoned(values: Tensor) -> Tensor:
        nonlocal reached
        reached += values.shape[1] > 1
        spoilt = values.clone()
        spoilt[:, 1:] = float("nan")
        return spoilt

    with _hooked(model, poisoned, lambda values, _: values):
        logits = predict()
    return reached > 0 and bool(logits.isfinite().all())


@contextmanager
def _hooked(
    model: nn.Module,
    change: Callable[[Tensor], Tensor],
    restore: Callable[[Tensor, int], Tensor],
) -> Iterator[None]:
    """Change the tokens (axis 1) in the last layer: of its queries, and after its attention.

    ``restore`` gets changed queries and the number of tokens, since attention asks for so many.
    """
    tokens = 0

    def before(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal tokens
        tokens = args[0].shape[1]
        return tuple(change(each) if isinstance(each, Tensor) else each for each in args)

    def after(_query: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return restore(output, tokens)

    query, last = _parts(model)
    handles = [part.register_forward_pre_hook(before) for part in (query, last) if part is not None]
    if query is not None:
        handles.append(query.register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first(values: Tensor) -> Tensor:
    """Take the first token; copied, since products of rows with gaps are slow."""
    return values[:, :1].contiguous()


def _repeated(values: Tensor, tokens: int) -> Tensor:
    """Let the first token stand for all; `attention.attend` sees that and computes it once."""
    return values.expand(-1, tokens, -1)


def _parts(model: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
    """Return the last layer's projection of queries and what follows its attention, if known."""
    layers = attention.layers(model) if isinstance(model, transformers.PreTrainedModel) else []
    if not layers:
        return None, None
    named = dict(layers[-1].named_modules())
    after = named.get(_AFTER)
    queries = [getattr(each, _QUERY, None) for each in attention.attentions(layers[-1])]
    return (queries[0] if after is not None and len(queries) == 1 else None), after
