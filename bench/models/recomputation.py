"""`gradient_checkpointing`: layers keep their inputs, and the backward pass computes the rest anew.

A pass then holds the inputs of all layers and the activations of one (Chen et al. 2016,
arXiv:1604.06174), and takes a second forward pass through the layers. Its gradients are the same:
a layer is repeated with the parameters, the mode and the masks that it had. All three may differ by
the time of the backward pass: probes of bilevel methods call a model with other parameters, some
methods score in between, and masks depend on what `RunAxis.varies` names.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from transformers.cache_utils import Cache

from gapbench.bench.models import attention
from gapbench.bench.models.run_axis import RunAxis

_AXIS = "_gapbench_axis"


def unsupported_reason(model: Any) -> str | None:
    """Return why the layers of a model cannot be computed anew, None if they can."""
    if _layers(model):
        return None
    family = model.config.model_type
    return (
        f"layers are to be computed anew, but no layers of the family {family!r} are known; leave "
        "out 'gradient_checkpointing'"
    )


def attach(model: nn.Module, axis: RunAxis) -> None:
    """Make the layers of a model compute their activations anew in backward passes."""
    for layer in _layers(model):
        kind: Any = layer.__class__
        setattr(layer, _AXIS, axis)
        # Not a wrapper that holds the layer: layers and their names stay what they are, and no
        # cycle of references keeps a stack in memory.
        layer.__class__ = _repeating(kind)


@contextmanager
def paused(model: nn.Module) -> Iterator[None]:
    """Compute every layer of a model once inside the block, which must hold whole passes.

    What is fitted after training reads layers in hooks, which a second pass would call again.
    """
    layers = [module for module in model.modules() if isinstance(module, _Repeating)]
    for layer in layers:
        layer.repeats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.repeats = True


def _layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers that the library itself would repeat, or those of its attention."""
    # Later, as it imports the library's modelling code, which what only plans does without.
    from transformers.modeling_layers import GradientCheckpointingLayer

    found = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    inside = {id(part) for layer in found for part in layer.modules() if part is not layer}
    outermost = [layer for layer in found if id(layer) not in inside]
    return outermost or attention.layers(model)


@lru_cache
def _repeating(kind: Any) -> type[nn.Module]:
    """Return a type of layers that act like ``kind``, and are repeated."""
    return type(kind.__name__, (_Repeating, kind), {"__module__": kind.__module__})


class _Repeating(nn.Module):
    """A layer whose activations are dropped, and computed anew in the backward pass."""

    repeats = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not (self.repeats and torch.is_grad_enabled()):
            return super().forward(*args, **kwargs)
        args = tuple(map(_without_cache, args))
        kwargs = {name: _without_cache(value) for name, value in kwargs.items()}
        once = _Once(self, super().forward)
        with set_checkpoint_early_stop(enable=False):  # what a layer sets in a pass, it resets
            return checkpoint(once, *args, use_reentrant=False, **kwargs)


def _without_cache(value: Any) -> Any:
    """Return None for an empty cache of keys and values, to which a second pass would add."""
    return None if isinstance(value, Cache) and value.get_seq_length() == 0 else value


class _Once:
    """A layer's pass, which repeats itself as it was the first time."""

    def __init__(self, layer: nn.Module, forward: Any) -> None:
        axis: RunAxis = getattr(layer, _AXIS)
        self._body = _Body(layer, forward)
        self._mode, self._moment = layer.training, axis.moment()
        self._numbers: dict[str, Tensor] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._numbers is None:
            self._numbers = self._body.numbers()
            return self._body(*args, **kwargs)
        layer = self._body.layer
        mode = layer.training
        layer.train(self._mode)
        try:
            with self._moment():
                return functional_call(self._body, self._numbers, args, kwargs, tie_weights=False)
        finally:
            layer.train(mode)


class _Body(nn.Module):
    """A layer in the form that `functional_call` takes, without the layer's hooks."""

    def __init__(self, layer: nn.Module, forward: Any) -> None:
        super().__init__()
        self.layer = layer
        self._forward = forward

    def numbers(self) -> dict[str, Tensor]:
        """Return the parameters in place, each under one name, as `functional_call` takes them."""
        return {
            f"{path}.{name}": parameter
            for path, module in self.named_modules()
            for name, parameter in module.named_parameters(recurse=False)
        }

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._forward(*args, **kwargs)
