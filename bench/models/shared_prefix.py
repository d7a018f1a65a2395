"""Frozen modules before the first one that differs between runs, computed once for all of them.

In scoring, all runs of a stack read the same texts, so the rows of a batch are equal for all runs
until a module has weights of its own for each. The embeddings and the transformer layers below the
first adapted one therefore see only the distinct rows; their outputs are repeated.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import transformers
from torch import Tensor, nn

from gapbench.bench.models import attention
from gapbench.bench.models.run_axis import Stacked, StackedDropout

_LEAST_AXES = 3
"""Axes of what goes from layer to layer; tables of relative positions have fewer."""


@contextmanager
def sharing(model: nn.Module) -> Iterator["SharedPrefix"]:
    """Share the prefix of a model in evaluation; set ``distinct`` before each pass."""
    prefix = SharedPrefix()
    handles = [model.register_forward_pre_hook(prefix.count, with_kwargs=True)]
    for module in _leading(model):
        handles.append(module.register_forward_pre_hook(prefix.take_first, with_kwargs=True))
        handles.append(module.register_forward_hook(prefix.repeat))
    try:
        yield prefix
    finally:
        for handle in handles:
            handle.remove()


class SharedPrefix:
    """The hooks on a model, and the number of rows that differ.

    Attributes:
        distinct: distinct rows of the next pass; the batch is this block of rows, repeated.
    """

    distinct = 0
    _rows = 0
    _shared = False  # whether the module in the current call sees only the distinct rows

    def count(self, _model: nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
        """Note the rows of the batch."""
        rows, tokens = kwargs["input_ids"].shape
        # In a square batch, rows could not be told from tokens.
        self._rows = rows if rows > self.distinct > 0 and rows != tokens else 0

    def take_first(
        self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Keep the first block of rows of every input that has all of them."""
        main = args[0] if args else next(iter(kwargs.values()))
        self._shared = isinstance(main, Tensor) and len(main) == self._rows > 0
        if not self._shared:
            return args, kwargs
        axes = min(main.dim(), _LEAST_AXES)

        def first(values: Tensor) -> Tensor:
            whole = values.dim() >= axes and len(values) == self._rows
            return values[: self.distinct] if whole else values

        return _each(first, args), _each(first, kwargs)

    def repeat(self, _module: nn.Module, _args: Any, output: Any) -> Any:
        """Repeat the rows of every output."""
        if not self._shared:
            return output
        self._shared = False
        times = self._rows // self.distinct

        def wide(values: Tensor) -> Tensor:
            if len(values) != self.distinct:
                return values
            return values.repeat(times, *[1] * (values.dim() - 1))

        return _each(wide, output)


def _leading(model: nn.Module) -> list[nn.Module]:
    """Return the modules that all runs share: the embeddings, then layers in order."""
    if not isinstance(model, transformers.PreTrainedModel):
        return []
    layers = attention.layers(model)
    names = {module: name for name, module in model.named_modules()}
    words = names.get(model.get_input_embeddings()) if layers else None
    if words is None:
        return []
    first = model.get_submodule(words.rpartition(".")[0])
    if any(module is layers[0] for module in first.modules()):
        first = model.get_submodule(words)  # no module adds positions and segments to the words
    leading: list[nn.Module] = []
    for module in (first, *layers):
        if any(map(_differs, module.modules())):
            break
        leading.append(module)
    return leading


def _differs(module: nn.Module) -> bool:
    """Whether a module may differ between runs in evaluation."""
    own = isinstance(module, Stacked) and not isinstance(module, StackedDropout)
    return own or any(parameter.requires_grad for parameter in module.parameters(recurse=False))


def _each(change: Callable[[Tensor], Tensor], part: Any) -> Any:
    """Change every tensor in arguments or in an output."""
    match part:
        case Tensor():
            return change(part) if part.dim() else part
        case tuple() | list():
            return type(part)(_each(change, inner) for inner in part)
        case dict():
            return {name: _each(change, inner) for name, inner in part.items()}
    return part
