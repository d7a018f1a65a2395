"""A fixed part of a split, and the model's logits on it, batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gapbench.bench.adaptation.method import AnyMethod, TrainState
from gapbench.bench.data.batching import Batch, collate, evaluation_batches
from gapbench.bench.data.encoded import EncodedSplit, Indices

PROBE_SIZE = 500  # sequences of a split that are scored during training
MAX_TOKENS = 16384  # padded tokens of one evaluation batch, over all runs
MAX_LOGITS = 2**25  # logits that one evaluation batch of a language model may produce


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
    with torch.inference_mode():
        for places in evaluation_batches(lengths, MAX_TOKENS // runs):
            indices = np.broadcast_to(subset.sequences[places], (runs, len(places)))
            batch = collate(subset.split, indices, state.axis.device)
            logits = method.predict(state, batch)
            yield places, batch, logits.view(runs, len(places), *logits.shape[1:])
