"""Self-check of an adapted model: before the first step, its logits equal the backbone's.

The plain model has the same heads and the library's own attention, so the check
finds an adapter with wrong initial values, an update in the wrong place, and a replaced attention
that differs from the model's. It also finds adapters that nothing reaches the logits from, which
would be the head alone under another name. Two examples of a stack pass once through both models
with full weights, and once forward and backward in the precision of training.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.core.errors import StartError
from gapbench.bench.data.batching import Batch, collate
from gapbench.bench.data.encoded import EncodedSplit
from gapbench.bench.models.bf16 import InFull
from gapbench.bench.models.run_axis import Stacked, StackedDropout

TOLERANCE = 1e-3  # share of the largest logit; models in float32 differ by about 1e-6
_SHOWN = -1e6  # lower logits rule a token out


def check(method: AnyMethod, state: TrainState, plain: Any, split: EncodedSplit) -> None:
    """Compare an adapted model with the plain one, on a padded batch.

    Args:
        method: its method; logits of one that does not start at the backbone are not compared.
        state: stack before the first step.
        plain: the same model and heads before adaptation, in evaluation mode.
        split: examples to compare on.

    Raises:
        StartError: if their logits differ, if a part that was added is never called, if nothing
            that was added can change the logits, or if the backbone's dropout cannot act.
    """
    if not method.trains:
        return
    batch = _padded(split, state).replicated(state.axis.size, method.members)
    state.model.eval()
    adapted = _adapted(state.model, plain)
    with torch.inference_mode(), InFull():
        expected = plain(**batch.inputs).logits
    with torch.no_grad(), InFull(), _calls(state.model) as called:
        actual = state.model(**batch.inputs).logits
    unused = _unused(state.model, adapted, called)
    selects_layers = "targets" in type(method.configs[0]).model_fields
    if unused:
        way = "leave it out of 'targets'" if selects_layers else "use another backbone"
        raise StartError(
            f"method {method.full_name!r}: the model takes the numbers of {unused[0]} without "
            f"calling it, so that nothing that is added there has an effect; {way}"
        )
    off = _apart(expected, actual) if method.starts_at_backbone else 0.0
    if off > TOLERANCE:
        raise StartError(
            f"method {method.full_name!r}: before the first step its logits differ from those of "
            f"the backbone by {off:.2g} of the largest, which would spoil every comparison. Fix "
            "its 'adapt', or define 'starts_at_backbone' if it starts elsewhere by design"
        )
    with _probes(adapted.values()) as probes:
        effective = _effective(state.model(**batch.inputs).logits, probes)
    if not effective:
        way = ", other 'targets'" if selects_layers else ""
        raise StartError(
            f"method {method.full_name!r}: no adapted layer, such as {next(iter(adapted))}, has an "
            "effect on the logits of this backbone, so that only the head would train; use the "
            f"method 'head'{way} or another backbone"
        )
    _check_dropout(method, state, split)


def _check_dropout(method: AnyMethod, state: TrainState, split: EncodedSplit) -> None:
    """Make one pass of training, and see whether the backbone's dropout drops hidden states.

    Raises:
        StartError: if it drops none, or what it gets is not in rows of texts.
    """
    layers = [module for module in state.model.modules() if isinstance(module, StackedDropout)]
    if not layers:
        return
    batch = _padded(split, state).replicated(state.axis.size, method.members)
    if len(set(batch.inputs["input_ids"].shape)) == 1:  # rows could not be told from tokens
        batch = _padded(split, state, 3).replicated(state.axis.size, method.members)
    rows, tokens = batch.inputs["input_ids"].shape
    drops = False

    def refused(why: str) -> StartError:
        return StartError(
            f"method {method.full_name!r}: 'backbone_dropout' cannot act on this backbone, since "
            f"{why}; set it to 0"
        )

    def look(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal drops
        if given[0].shape[:2] == (tokens, rows):
            raise refused("its rows are not texts")
        drops = drops or given[0].dim() <= StackedDropout.AXES

    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    state.model.train()
    try:
        with torch.no_grad():
            state.model(**batch.inputs)
    finally:
        state.model.eval()
        for hook in hooks:
            hook.remove()
    if not drops:
        raise refused("no hidden state goes through it")


@contextmanager
def _calls(model: nn.Module) -> Iterator[set[nn.Module]]:
    """Collect the modules that are called inside the block."""
    called: set[nn.Module] = set()
    hooks = [
        module.register_forward_hook(lambda module, *_: called.add(module))
        for module in model.modules()
    ]
    try:
        yield called
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _probes(layers: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Add zeros to what layers give inside the block; their gradients tell what it is used for."""
    probes: list[Tensor] = []

    def add(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        probes.append(torch.zeros_like(output, requires_grad=True))
        return output + probes[-1]

    hooks = [layer.register_forward_hook(add) for layer in layers]
    try:
        with torch.enable_grad():
            yield probes
    finally:
        for hook in hooks:
            hook.remove()


def _effective(logits: Tensor, probes: list[Tensor]) -> bool:
    """Return whether any of the probes, if there are some, can change the logits."""
    if not probes:
        return True
    shown = logits.isfinite() & (logits > _SHOWN)
    total = logits.masked_fill(~shown, 0.0).square().sum()
    if not total.requires_grad:
        return False
    found = torch.autograd.grad(total, probes, allow_unused=True)
    return any(gradient is not None and bool(gradient.any()) for gradient in found)


def _adapted(model: nn.Module, plain: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of the plain model that hold numbers of each run here, and not there."""
    layers = dict(plain.named_modules())
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Stacked)
        and next(module.parameters(recurse=False), None) is not None
        and not isinstance(layers.get(name, module), Stacked)
    }


def _unused(
    model: nn.Module, adapted: Mapping[str, nn.Module], called: set[nn.Module]
) -> list[str]:
    """Return the adapted layers that were not called although the module around them was."""
    return [
        name
        for name, module in adapted.items()
        if module not in called and model.get_submodule(name.rpartition(".")[0]) in called
    ]


def _padded(split: EncodedSplit, state: TrainState, count: int = 2) -> Batch:
    """Return the shortest example and some of median length, the same for every run."""
    order = split.trained[np.argsort(split.lengths[split.trained], kind="stable")]
    chosen = order[[0] + [len(order) // 2] * (count - 1)]
    return collate(split, np.tile(chosen, (state.axis.size, 1)), state.axis.device)


def _apart(expected: Tensor, actual: Tensor) -> float:
    """Return the largest difference, as a share of the largest logit.

    Overflow is ignored here: such a run ends as diverged.
    """
    shown = expected.isfinite() & actual.isfinite() & (expected > _SHOWN)
    if not shown.any():
        return 0.0
    expected, actual = expected[shown], actual[shown]
    largest = expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
    return float((expected - actual).abs().max() / largest)
