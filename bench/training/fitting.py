"""After training: a method's fit at the chosen checkpoint, and the passes of fit and prediction.

Passes are counted where the model is called, so that no method declares what it costs.
"""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from gapbench.bench.core import signals
from gapbench.bench.data.batching import Batch, collate, evaluation_batches
from gapbench.bench.models import recomputation
from gapbench.bench.tasks.eval_subset import EvalSubset, most_tokens, note_what_is_read
from gapbench.bench.training.flops_and_time import count_operations
from gapbench.bench.training.trainer import Trainer

_COUNTED = 2  # sequences of the prediction whose passes are counted


@dataclass
class Passes:
    """Rows of batches that went through a model."""

    forward: int = 0
    backward: int = 0


@contextmanager
def passes(model: nn.Module) -> Iterator[Passes]:
    """Count the rows that go through ``model`` inside the block, by the rows of its logits."""
    found = Passes()

    def seen(_module: nn.Module, _inputs: Any, output: Any) -> None:
        rows = len(output.logits)
        found.forward += rows

        def came_back(_gradient: torch.Tensor) -> None:
            found.backward += rows

        if output.logits.requires_grad:
            output.logits.register_hook(came_back)

    handle = model.register_forward_hook(seen)
    try:
        yield found
    finally:
        handle.remove()


def fit(trainer: Trainer) -> None:
    """Let the method fit what its predictions need, and charge the active runs for it.

    The parameters in place are those of the chosen checkpoints. Passes are charged in batches of
    the runs' size, as in training.
    """
    method, state = trainer.method, trainer.state
    axis, read = state.axis, Counter[str]()

    def batches(name: str) -> Iterator[Batch]:
        if name not in method.fits_on:
            raise ValueError(f"method {method.name!r} fits on {method.fits_on}, not on {name!r}")
        split = trainer.data.open[name]
        sequences = split.sequences(np.arange(len(split)))
        for places in evaluation_batches(split.lengths[sequences], most_tokens(axis)):
            signals.check_deadline()
            read[name] += len(places)
            indices = np.broadcast_to(sequences[places], (axis.size, len(places)))
            yield collate(split, indices, axis.device)

    if not (method.fits_on and axis.size):
        return
    state.model.eval()
    # A stack that resumes after its last step has scored nothing yet.
    note_what_is_read(method, state, EvalSubset.of(trainer.data.scored_first))
    measured = trainer.stopwatch.measure("fit", axis.active)
    once = recomputation.paused(state.model)
    with measured, once, count_operations() as operations, passes(state.model) as found:
        method.fit(state, batches)
    for index in axis.active:
        trace, size = trainer.traces[index], trainer.runs[index].cell.budget.batch_size
        trace.fit_forward = math.ceil(found.forward / axis.size / size)
        trace.fit_backward = math.ceil(found.backward / axis.size / size)
        trace.fit_flops = operations.get_total_flops() / axis.size
        trace.fit_examples = dict(read)


def inference_passes(trainer: Trainer) -> int:
    """Return the passes, forward and backward, in which the active runs predict one example."""
    state, split = trainer.state, trainer.data.scored_first
    first = split.sequences(np.arange(len(split)))[:_COUNTED]
    indices = np.broadcast_to(first, (state.axis.size, len(first)))
    state.model.eval()
    with torch.inference_mode(), passes(state.model) as found:
        trainer.method.predict(state, collate(split, indices, state.axis.device))
    return round((found.forward + found.backward) / indices.size)
