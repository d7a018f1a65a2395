"""Packing of sequences for scoring, so that what they begin with in common is read only once.

Sequences of a row continue what the one before them began with: the choices of a question their
prompt, references their record, and questions the solved examples before them. A mask keeps a
token from seeing any but those of its own sequence, and positions count in that sequence too. The
last token of a sequence is left out, since nothing is predicted from it.

Models that ignore such masks get one row per sequence instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gapbench.bench.data.batching import Batch
from gapbench.bench.data.encoded import CausalSplit, Indices

# Attention costs the square of a row's length: beside its first sequence a row has room for as many
# tokens again, up to a batch of them, and always for these.
ROOM = 256
_BATCH = 4096


@dataclass(frozen=True)
class Stretch:
    """Tokens of a row that continue the first ``shared`` tokens of the sequence before them."""

    shared: int
    tokens: NDArray[np.int32]


@dataclass(frozen=True)
class PackedRow:
    """One row, and the targets to predict from it.

    Attributes:
        stretches: its tokens; a sequence that adds none has no stretch.
        wanted: (targets,) which tokens of the row to predict from.
        targets: (targets,) the tokens that follow.
        numbers: (targets,) index of each among the targets of all rows.
    """

    stretches: Sequence[Stretch]
    wanted: Indices
    targets: NDArray[np.int32]
    numbers: Indices

    @property
    def width(self) -> int:
        """Number of its tokens."""
        return sum(len(each.tokens) for each in self.stretches)

    @property
    def tokens(self) -> NDArray[np.int32]:
        """All tokens, (width,)."""
        return np.concatenate([each.tokens for each in self.stretches])

    @property
    def positions(self) -> Indices:
        """Position of each token in its own sequence, (width,)."""
        starts = [each.shared for each in self.stretches]
        sizes = [len(each.tokens) for each in self.stretches]
        return np.concatenate([s + np.arange(size) for s, size in zip(starts, sizes, strict=True)])

    def seen(self) -> NDArray[np.bool_]:
        """Return which tokens see which, (width, width): those before them in their sequence."""
        positions = self.positions
        seen = np.zeros((len(positions), len(positions)), dtype=bool)
        sequence = np.arange(0)  # places of its tokens in the row
        start = 0
        for stretch in self.stretches:
            own = np.arange(start, start := start + len(stretch.tokens))
            sequence = np.append(sequence[: stretch.shared], own)
            seen[own[0] : start, sequence] = positions[sequence] <= positions[own, None]
        return seen


def widest(longest: int) -> int:
    """Return the most tokens of a row whose sequences have up to ``longest``."""
    return longest + max(longest, ROOM)


def pack(
    split: CausalSplit,
    examples: Indices,
    *,
    together: bool = True,
    most_tokens: int = _BATCH,
    most_targets: int = _BATCH,
) -> list[PackedRow]:
    """Return rows with every sequence of some examples; their targets are numbered in order.

    Args:
        split: split with the sequences.
        examples: some of its examples.
        together: whether sequences share rows; otherwise each has its own.
        most_tokens: tokens beyond which a row of long sequences does not grow.
        most_targets: targets of a row of several sequences.
    """
    rows: list[_OpenRow] = []
    number = 0
    for example in examples:
        first, stop = split.sequence_offsets[example], split.sequence_offsets[example + 1]
        for sequence in range(first, stop):
            tokens = split.input_ids[split.offsets[sequence] : split.offsets[sequence + 1]]
            (places,), _ = split.target_places(np.array([sequence]))
            begins = sequence == first
            if not (together and rows and rows[-1].takes(tokens, len(places), begins=begins)):
                rows.append(_OpenRow(len(tokens), most_tokens, most_targets))
            rows[-1].add(tokens, places, number)
            number += len(places)
    return [row.closed() for row in rows]


class _OpenRow:
    """A row that sequences are added to, the first one of ``tokens`` tokens."""

    def __init__(self, tokens: int, most_tokens: int, most_targets: int) -> None:
        self._width = 0
        self._room = tokens + max(min(tokens, most_tokens - tokens), ROOM)
        self._room_for_targets = most_targets
        self._stretches: list[Stretch] = []
        self._targets: list[tuple[Indices, NDArray[np.int32], Indices]] = []
        self._last = np.zeros(0, np.int32)  # the sequence before, and the place of each token
        self._places = np.arange(0)

    def takes(self, tokens: NDArray[np.int32], targets: int, *, begins: bool) -> bool:
        """Whether the row has room for a sequence, and it belongs there.

        It shares most of its tokens, or is of the same example and adds few.
        """
        shared = _shared(self._last, tokens[:-1])
        own = len(tokens) - 1 - shared
        belongs = own < shared or (own <= ROOM and not begins)
        return (
            belongs
            and self._width + own <= self._room
            and sum(len(each) for each, *_ in self._targets) + targets <= self._room_for_targets
        )

    def add(self, tokens: NDArray[np.int32], places: Indices, number: int) -> None:
        """Add a sequence with targets at some places, numbered from ``number`` on."""
        read = tokens[:-1]
        shared = _shared(self._last, read)
        if shared < len(read):
            self._stretches.append(Stretch(shared, read[shared:]))
        own = self._width + np.arange(len(read) - shared)
        self._last, self._places = read, np.append(self._places[:shared], own)
        self._width += len(own)
        numbers = number + np.arange(len(places))
        self._targets.append((self._places[places - 1], tokens[places], numbers))

    def closed(self) -> PackedRow:
        """Return the row."""
        wanted, targets, numbers = map(np.concatenate, zip(*self._targets, strict=True))
        return PackedRow(self._stretches, wanted, targets, numbers)


def _shared(one: NDArray[np.int32], other: NDArray[np.int32]) -> int:
    """Return the number of tokens that two sequences begin with in common."""
    most = min(len(one), len(other))
    differs = one[:most] != other[:most]
    return int(differs.argmax()) if differs.any() else most


def batch(rows: Sequence[PackedRow], runs: int, pad_id: int, device: torch.device) -> Batch:
    """Return rows as a batch shared by all runs; run-major, without targets."""
    inputs: dict[str, NDArray[Any]] = {
        "input_ids": _padded([row.tokens for row in rows], pad_id),
        "positions": _padded([row.wanted for row in rows], 0),
    }
    if any(len(row.stretches) > 1 for row in rows):
        inputs["attention_mask"] = _mask(rows)
        inputs["position_ids"] = _padded([row.positions for row in rows], 0)
    else:  # the model needs no extra inputs for sequences alone
        inputs["attention_mask"] = _padded([np.ones_like(row.tokens) for row in rows], 0)
    tensors = {name: torch.from_numpy(values).to(device) for name, values in inputs.items()}
    return Batch.of_prompts(
        {name: each.repeat(runs, *[1] * (each.dim() - 1)) for name, each in tensors.items()}
    )


def _mask(rows: Sequence[PackedRow]) -> NDArray[np.bool_]:
    """Return which tokens see which, (rows, 1, tokens, tokens).

    Padding sees itself: seeing nothing would give NaN.
    """
    width = max(row.width for row in rows)
    seen = np.repeat(np.eye(width, dtype=bool)[None], len(rows), axis=0)
    for mask, row in zip(seen, rows, strict=True):
        mask[: row.width, : row.width] = row.seen()
    return seen[:, None]


def _padded(values: Sequence[NDArray[np.integer]], filling: int) -> Indices:
    """Pad arrays to (rows, longest)."""
    out = np.full((len(values), max(map(len, values))), filling, dtype=np.int64)
    for row, each in zip(out, values, strict=True):
        row[: len(each)] = each
    return out
