"""Self-check of an adapted model: before the first step, its logits equal the backbone's.

The plain model has the same heads and the library's own attention, so the check
finds an adapter with wrong initial values, an update in the wrong place, and a replaced attention
that differs from the model's. Two examples of a stack pass once through both models, in less time
than a training step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gapbench.bench.adaptation.method import AnyMethod, TrainState
from gapbench.bench.core.errors import StartError
from gapbench.bench.data.batching import Batch, collate
from gapbench.bench.data.encoded import EncodedSplit
from gapbench.bench.models.bf16 import exactly
from gapbench.bench.models.run_axis import Stacked

TOLERANCE = 1e-3  # share of the largest logit; models in float32 differ by about 1e-6
_SHOWN = -1e6  # lower logits rule a token out


def check(method: AnyMethod, state: TrainState, plain: Any, split: EncodedSplit) -> None:
    """Compare an adapted model with the plain one, on a padded batch.

    Args:
        method: its method; one that does not start at the backbone is not checked.
        state: stack before the first step.
        plain: the same model and heads before adaptation, in evaluation mode.
        split: examples to compare on.

    Raises:
        StartError: if their logits differ, or a part that was added is never called.
    """
    if not (method.trains and method.starts_at_backbone):
        return
    batch = _padded(split, state).replicated(state.axis.size, method.members)
    state.model.eval()
    with torch.inference_mode(), exactly(state.model):
        expected = plain(**batch.inputs).logits
        with _calls(state.model) as called:
            actual = state.model(**batch.inputs).logits
    unused = _unused(state.model, {name for name, _ in plain.named_modules()}, called)
    if unused:
        raise StartError(
            f"method {method.full_name!r}: the model takes the numbers of {unused[0]} without "
            "calling it, so that nothing that is added there has an effect; leave it out of "
            "'targets'"
        )
    off = _apart(expected, actual)
    if off > TOLERANCE:
        raise StartError(
            f"method {method.full_name!r}: before the first step its logits differ from those of "
            f"the backbone by {off:.2g} of the largest, which would spoil every comparison. Fix "
            "its 'adapt', or define 'starts_at_backbone' if it starts elsewhere by design"
        )


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


def _unused(model: nn.Module, layers: set[str], called: set[nn.Module]) -> list[str]:
    """Return the adapted layers that were not called although the module around them was."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, Stacked)
        and name in layers
        and module not in called
        and model.get_submodule(name.rpartition(".")[0]) in called
    ]


def _padded(split: EncodedSplit, state: TrainState) -> Batch:
    """Return the shortest example and one of median length, the same for every run."""
    order = split.trained[np.argsort(split.lengths[split.trained], kind="stable")]
    chosen = order[[0, len(order) // 2]]
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
