"""From encoded examples to batches: the training order of a run, and padding to tensors.

Batches hold examples of similar length, so that little is padding. Which length bucket comes at
which step is the same for all seeds of a task, so that the runs of a stack pad alike; which
examples fill the bucket, and in which order, depends on the seed alone, never on the method.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gapbench.bench.core.seeding import permutation, seed_of
from gapbench.bench.data.encoded import EncodedSplit, Indices

# A bucket holds enough batches to mix examples well, and so few that their lengths stay close.
# Small training sets have fewer in each, so that they have several buckets at all.
_MOST_BATCHES, _FEWEST_BATCHES, _BUCKETS = 8, 3, 12


@dataclass(frozen=True)
class Batch:
    """A padded, run-major batch on its device.

    Attributes:
        inputs: keyword arguments of the backbone, each (runs * batch, ...), or not a tensor.
        targets: (runs * batch, ...), one for each target (see `bench.data.encoded`).
        tokens: for each run, how many of its tokens are not padding; (runs,).
    """

    inputs: dict[str, Any]
    targets: Tensor
    tokens: NDArray[np.int64]

    def replicated(self, runs: int, copies: int) -> "Batch":
        """Return each run's examples ``copies`` times over: (runs * copies * batch, ...)."""

        def wide(values: Any) -> Any:
            if not isinstance(values, Tensor):
                return values
            each = values.view(runs, 1, -1, *values.shape[1:])
            return each.expand(-1, copies, *each.shape[2:]).reshape(-1, *values.shape[1:])

        inputs = {name: wide(values) for name, values in self.inputs.items()}
        return Batch(inputs, wide(self.targets), self.tokens)

    def part(self, runs: int, first: int, stop: int) -> "Batch":
        """Return the examples from ``first`` to before ``stop`` of each run."""

        def narrow(values: Any) -> Any:
            if not isinstance(values, Tensor):
                return values
            each = values.view(runs, -1, *values.shape[1:])
            return each[:, first:stop].flatten(0, 1)

        inputs = {name: narrow(values) for name, values in self.inputs.items()}
        return Batch(inputs, narrow(self.targets), self.tokens)

    @classmethod
    def of_prompts(cls, inputs: Mapping[str, Any]) -> "Batch":
        """Return a batch of texts that are to be continued, which has no targets."""
        ids: Tensor = inputs["input_ids"]
        return cls(dict(inputs), ids.new_zeros(len(ids)), np.zeros(0, np.int64))


def epoch_order(
    lengths: Indices, batch_size: int, task: str, seed: int, epoch: int
) -> list[Indices]:
    """Return the batches of one epoch as arrays of positions into ``lengths``.

    The last batch by length may be partial; every example occurs once.
    """
    n = len(lengths)
    shuffled = permutation(n, seed_of("data order", task, seed, epoch))
    buckets = _bucket_of(lengths, batch_size, seed_of("bucket edges", task, epoch))
    by_length = shuffled[np.argsort(buckets[shuffled], kind="stable")]
    batches = [by_length[start : start + batch_size] for start in range(0, n, batch_size)]
    return [batches[i] for i in permutation(len(batches), seed_of("bucket order", task, epoch))]


def training_batches(
    lengths: Indices, batch_size: int, task: str, seed: int, before: int = 0
) -> Iterator[Indices]:
    """Yield the batches of one run for ever, epoch after epoch, without the first ``before``."""
    epoch, first = divmod(before, -(-len(lengths) // batch_size))
    while True:
        yield from epoch_order(lengths, batch_size, task, seed, epoch)[first:]
        epoch, first = epoch + 1, 0


def evaluation_batches(lengths: Indices, max_tokens: int) -> Iterator[Indices]:
    """Yield all positions, longest first, in batches of at most ``max_tokens`` padded tokens."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, max_tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


def collate(split: EncodedSplit, indices: Indices, device: torch.device) -> Batch:
    """Pad the examples at ``indices`` (runs, batch) of a split into one run-major batch.

    Padding is on the right, to the longest example of the stack.
    """
    flat = indices.reshape(-1)
    starts, lengths = split.offsets[flat], split.lengths[flat]
    width = np.arange(int(lengths.max()))
    present = width < lengths[:, None]
    where = np.where(present, starts[:, None] + width, 0)
    inputs = {
        "input_ids": np.where(present, split.input_ids[where], split.pad_id),
        "attention_mask": present,
    }
    if split.token_type_ids is not None:
        inputs["token_type_ids"] = np.where(present, split.token_type_ids[where], 0)
    extra, targets = split.inputs_and_targets(flat)
    return Batch(
        inputs={
            name: _on(device, np.ascontiguousarray(value, dtype=np.int64))
            for name, value in (inputs | extra).items()
        },
        targets=_on(device, targets),
        tokens=lengths.reshape(indices.shape).sum(axis=1),
    )


def _on(device: torch.device, values: NDArray[Any]) -> Tensor:
    """Copy values to a device; to a GPU while that is still at work on what came before."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _bucket_of(lengths: Indices, batch_size: int, seed: int) -> Indices:
    """Return each example's bucket: equal parts of the examples in order of length.

    Their edges move with ``seed``, so that over the epochs examples meet those of both sides.
    """
    ranks = np.empty_like(lengths)
    ranks[np.argsort(lengths, kind="stable")] = np.arange(len(lengths))
    batches = -(-len(lengths) // batch_size)
    size = min(max(batches // _BUCKETS, _FEWEST_BATCHES), _MOST_BATCHES)
    return (ranks + batch_size * (seed % size)) // (batch_size * size)
