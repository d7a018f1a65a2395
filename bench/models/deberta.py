"""DeBERTa's attention in a stack, where relative positions are shared by all models of a pass.

The library projects their embeddings without an axis for runs, members or masked copies, although
the projections are adapted. Here every model gets its own projections. Both DeBERTa versions are
recognised by name, so their files are not imported for other families.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn

from gapbench.bench.models.run_axis import Stacked

# The library's names of the positional part of the logits, in DeBERTa and in DeBERTa-v2.
_BIASES = ("disentangled_att_bias", "disentangled_attention_bias")


def is_disentangled(module: nn.Module) -> bool:
    """Whether a module is the attention of a DeBERTa version."""
    kind = type(module)
    return kind.__name__ == "DisentangledSelfAttention" and "deberta" in kind.__module__


def positional_norms(model: nn.Module) -> list[str]:
    """Return the names of the layers that normalise embeddings of relative positions.

    They act once for all runs, before any attention layer, so a run cannot have its own.
    """
    return [
        f"{name}.LayerNorm"
        for name, module in model.named_modules()
        if hasattr(module, "rel_embeddings") and hasattr(module, "LayerNorm")
    ]


def stack_positions(model: nn.Module) -> None:
    """Make projections of relative positions work model by model.

    Calling it twice is harmless. Other families have no such projections.
    """
    found: list[Any] = [module for module in model.modules() if is_disentangled(module)]
    for module in found:
        for name in _BIASES:
            if hasattr(module, name):
                # A weak reference: the layer must not keep itself and its stack alive.
                setattr(module, name, partial(_bias_by_model, ref(module), name))


def _bias_by_model(
    place: Any, name: str, query: Tensor, key: Tensor, *shared: Any, **named: Any
) -> Tensor:
    """Compute the positional part of the logits for each model with its own projections.

    Args:
        place: reference to a DeBERTa attention layer.
        name: name of the library's function for one model.
        query: (models * batch [* heads], ...), model by model; so is ``key``.
        key: see ``query``.
        shared: relative positions and their embeddings, the same for all models.
        named: the same, as keyword arguments.
    """
    module = place()
    bias = getattr(type(module), name)
    layers = {n: m for n, m in module.named_children() if isinstance(m, Stacked)}
    models = max((layer.models for layer in layers.values()), default=1)
    if models == 1:
        with _whole(layers):
            only: Tensor = bias(module, query, key, *shared, **named)
        return only
    pairs = zip(query.chunk(models), key.chunk(models), strict=True)
    with _in_turn(module, layers) as turns:
        parts = []
        for model, pair in enumerate(pairs):
            for turn in turns:
                turn.model = model
            parts.append(bias(module, *pair, *shared, **named))
    return torch.cat(parts)


def _whole(layers: Mapping[str, Stacked]) -> AbstractContextManager[None]:
    """Let layers draw masks for positions, which no part of a batch has."""
    first = next(iter(layers.values()), None)
    return nullcontext() if first is None else first.axis.whole()


@contextmanager
def _in_turn(module: nn.Module, layers: Mapping[str, Stacked]) -> Iterator[list["_Turn"]]:
    """Make the stacked layers of a module compute one model at a time."""
    turns = {name: _Turn(layer) for name, layer in layers.items()}
    for name, turn in turns.items():
        setattr(module, name, turn)
    try:
        yield list(turns.values())
    finally:
        for name, layer in layers.items():
            setattr(module, name, layer)


class _Turn(nn.Module):
    """A stacked layer that maps the same rows for every model, and returns those of one.

    Attributes:
        model: index of the model whose rows are returned.
    """

    model = 0

    def __init__(self, layer: Stacked) -> None:
        super().__init__()
        self._layer = [layer]  # in a list, so that it is not a submodule
        self._mapped: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (1, positions, in) to the model's (1, positions, out)."""
        if self._mapped is None:
            layer = self._layer[0]
            with layer.axis.whole():
                mapped: Tensor = layer(x.expand(layer.models, -1, -1))
            self._mapped = mapped
        # A copy, because the library divides it in place.
        return self._mapped[self.model : self.model + 1].clone()
