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
from transformers.pytorch_utils import Conv1D

from gapbench.bench.models import attention
from gapbench.bench.models.run_axis import Stacked, StackedDropout

_LEAST_AXES = 3
"""Axes of what goes from layer to layer; tables of relative positions have two.

Positions and masks have two as well, and are told by their types; languages have one.
"""


@contextmanager
def sharing(model: nn.Module) -> Iterator["SharedPrefix"]:
    """Share the prefix of a model in evaluation; set ``distinct`` before each pass."""
    prefix = SharedPrefix()
    handles = [model.register_forward_pre_hook(prefix.count, with_kwargs=True)]
    leading = _leading(model)
    for module in leading:
        handles.append(module.register_forward_pre_hook(prefix.take_first, with_kwargs=True))
        handles.append(module.register_forward_hook(prefix.repeat))
    for module in _entrances(model, leading):
        handles.append(module.register_forward_pre_hook(prefix.take_entering))
        handles.append(module.register_forward_hook(prefix.repeat_entering))
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
    _tokens = 0
    _shared = False  # whether the module in the current call sees only the distinct rows
    _entering: Tensor | None = None  # what the last shared module gave, with repeated rows

    def count(self, _model: nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
        """Note the rows of the batch."""
        rows, self._tokens = kwargs["input_ids"].shape
        # In a square batch, rows could not be told from tokens.
        self._rows = rows if rows > self.distinct > 0 and rows != self._tokens else 0

    def take_first(
        self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Keep the first block of rows of every input that has all of them."""
        main = args[0] if args else next(iter(kwargs.values()))
        of_texts = isinstance(main, Tensor) and main.shape[:2] == (self._rows, self._tokens)
        self._shared = of_texts and self._rows > 0
        if not self._shared:
            return args, kwargs
        axes = min(main.dim(), _LEAST_AXES)

        def first(values: Tensor) -> Tensor:
            table = 1 < values.dim() < axes and values.is_floating_point()
            whole = len(values) == self._rows and not table
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

        repeated = _each(wide, output)
        self._entering = repeated if isinstance(repeated, Tensor) else None
        return repeated

    def take_entering(self, _module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Keep the first block of rows of the very tensor that the last shared module gave."""
        self._shared = len(args) == 1 and args[0] is self._entering
        return (args[0][: self.distinct],) if self._shared else None

    def repeat_entering(self, _module: nn.Module, _args: Any, output: Tensor) -> Tensor | None:
        """Repeat the rows."""
        if not self._shared:
            return None
        self._shared = False
        return output.repeat(self._rows // self.distinct, *[1] * (output.dim() - 1))


def _entrances(model: Any, leading: list[nn.Module]) -> list[nn.Module]:
    """Return the frozen linear layers of the first layer that differs between runs."""
    if not leading:
        return []
    differing = [layer for layer in attention.layers(model) if layer not in leading]
    return [
        module
        for module in (differing[0].modules() if differing else ())
        if isinstance(module, nn.Linear | Conv1D) and not _differs(module)
    ]


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
