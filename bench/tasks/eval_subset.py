"""A fixed part of a split, and the model's logits on it, batch by batch."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.data.batching import Batch, collate, evaluation_batches
from gapbench.bench.data.encoded import EncodedSplit, Indices
from gapbench.bench.models.first_token import first_token_only, reads_first_only
from gapbench.bench.models.run_axis import RunAxis
from gapbench.bench.models.shared_prefix import sharing

CURVE_SIZE = 128
"""Sequences of train and of test, about, that are scored during training, for the curves alone."""

# Padded tokens of one evaluation batch, over all runs. The activations of more leave the cache of a
# CPU: with 16,384 the built-in encoder takes a third longer.
_CPU_TOKENS, _GPU_TOKENS = 4096, 16384
MAX_LOGITS = 2**25  # logits that one evaluation batch of a language model may produce


def most_tokens(axis: RunAxis) -> int:
    """Return the padded tokens of one run in an evaluation batch."""
    return max(1, (_CPU_TOKENS if axis.device.type == "cpu" else _GPU_TOKENS) // axis.size)


@dataclass(frozen=True)
class EvalSubset:
    """Evenly spaced examples of a split, few enough to be scored many times."""

    split: EncodedSplit
    examples: Indices

    @classmethod
    def of(cls, split: EncodedSplit, size: int | None = None) -> "EvalSubset":
        """Take examples with at most about ``size`` sequences; the whole split if None."""
        sequences = len(split.lengths)
        share = 1.0 if size is None else min(1.0, size / sequences)
        count = max(1, round(share * len(split)))
        return cls(split, np.arange(count, dtype=np.int64) * len(split) // count)

    def thinned(self, size: int) -> "EvalSubset":
        """Take evenly spaced ones of these examples, with at most about ``size`` sequences."""
        n = len(self.examples)
        count = max(1, round(min(1.0, size / len(self.sequences)) * n))
        return EvalSubset(self.split, self.examples[np.arange(count, dtype=np.int64) * n // count])

    @cached_property
    def sequences(self) -> Indices:
        """Sequences of the chosen examples, in the order of the examples."""
        return self.split.sequences(self.examples)

    @property
    def targets(self) -> NDArray[np.generic]:
        """Targets of the chosen examples."""
        chosen: NDArray[np.generic] = self.split.targets[self.examples]
        return chosen


def forward(
    method: AnyMethod, state: TrainState, subset: EvalSubset
) -> Iterator[tuple[Indices, Batch, Tensor]]:
    """Yield the logits of every active run on all sequences of a subset, in evaluation mode.

    Args:
        method: method that predicts.
        state: stack that predicts.
        subset: sequences to predict; the engine chooses their order.

    Yields:
        Indices of the sequences in ``subset.sequences``, (batch,); the batch; its logits,
        (runs, batch, ...).
    """
    state.model.eval()
    runs = state.axis.size
    lengths = subset.split.lengths[subset.sequences]
    with torch.inference_mode(), _last_layer(method, state, subset), sharing(state.model) as prefix:
        for places in evaluation_batches(lengths, most_tokens(state.axis)):
            prefix.distinct = len(places)
            indices = np.broadcast_to(subset.sequences[places], (runs, len(places)))
            batch = collate(subset.split, indices, state.axis.device)
            logits = method.predict(state, batch)
            yield places, batch, logits.view(runs, len(places), *logits.shape[1:])


def note_what_is_read(method: AnyMethod, state: TrainState, subset: EvalSubset) -> None:
    """Find out, once, whether predictions read the first token alone.

    A method that fits its predictions must not have done so: those may not stand the missing values
    that this is found out with.
    """
    if state.reads_first_only is not None:
        return
    longest = subset.sequences[np.argmax(subset.split.lengths[subset.sequences])]
    indices = np.full((state.axis.size, 1), longest)

    def predict() -> Tensor:
        batch = collate(subset.split, indices, state.axis.device)
        return method.predict(state, batch)

    classifies = state.task.head == SEQUENCE_CLASSIFICATION
    with torch.inference_mode():
        state.reads_first_only = classifies and reads_first_only(state.model, predict)


def _last_layer(
    method: AnyMethod, state: TrainState, subset: EvalSubset
) -> AbstractContextManager[None]:
    """Leave out the parts of the last layer that no prediction reads, inside the block."""
    note_what_is_read(method, state, subset)
    return first_token_only(state.model) if state.reads_first_only else nullcontext()
