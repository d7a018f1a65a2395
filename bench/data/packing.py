"""Packing of sequences for scoring, so that their shared prefix is read only once.

A row holds the shared prefix of several sequences of an example, then the rest of each. A mask
keeps the rests from seeing each other, and their positions continue from the end of the prefix. A
question's prompt is thus read once for all choices, and a record once for several references.

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

_ROOM = 256  # tokens of a row after the prefix; attention costs the square of its length
_PADDING = -1


@dataclass(frozen=True)
class Row:
    """One row, and the targets to predict from it.

    Attributes:
        tokens: (width,) shared prefix first.
        positions: (width,) position of each token in its own sequence.
        owners: (width,) 0 for shared tokens, else the number of the sequence in the row.
        wanted: (targets,) which tokens of the row to predict from.
        targets: (targets,) the tokens that follow.
        numbers: (targets,) index of each among the targets of all rows.
    """

    tokens: NDArray[np.int32]
    positions: Indices
    owners: Indices
    wanted: Indices
    targets: NDArray[np.int32]
    numbers: Indices


def pack(split: CausalSplit, examples: Indices, *, together: bool = True) -> list[Row]:
    """Return rows with every sequence of some examples; their targets are numbered in order.

    Args:
        split: split with the sequences.
        examples: some of its examples.
        together: whether sequences of an example share rows; otherwise each has its own.
    """
    rows: list[Row] = []
    number = 0
    for example in examples:
        members = np.arange(split.sequence_offsets[example], split.sequence_offsets[example + 1])
        if not together:
            for member in members:
                rows.append(_row(split, np.array([member]), int(split.lengths[member]), number))
                number += len(rows[-1].numbers)
            continue
        shared = _shared(split, members)
        rests = np.cumsum(split.lengths[members] - shared)
        for part in np.split(members, np.flatnonzero(np.diff(rests // _ROOM)) + 1):
            rows.append(_row(split, part, shared, number))
            number += len(rows[-1].numbers)
    return rows


def batch(rows: Sequence[Row], runs: int, pad_id: int, device: torch.device) -> Batch:
    """Return rows as a batch shared by all runs; run-major, without targets."""
    owners = _padded([row.owners for row in rows], _PADDING)
    inputs: dict[str, NDArray[Any]] = {
        "input_ids": _padded([row.tokens for row in rows], pad_id),
        "positions": _padded([row.wanted for row in rows], 0),
    }
    if owners.max() > 0:
        inputs["attention_mask"] = _seen(owners)
        inputs["position_ids"] = _padded([row.positions for row in rows], 0)
    else:  # the model needs no extra inputs for these sequences
        inputs["attention_mask"] = (owners != _PADDING).astype(np.int64)
    tensors = {name: torch.from_numpy(values).to(device) for name, values in inputs.items()}
    return Batch.of_prompts(
        {name: each.repeat(runs, *[1] * (each.dim() - 1)) for name, each in tensors.items()}
    )


def _seen(owners: Indices) -> NDArray[np.bool_]:
    """Return which tokens see which, (rows, 1, tokens, tokens), from the owners of the tokens."""
    places = np.arange(owners.shape[1])
    seen = (owners[:, None] == 0) | (owners[:, None] == owners[:, :, None])
    seen &= (owners[:, None] != _PADDING) & (places <= places[:, None])
    seen |= places == places[:, None]  # padding sees itself: seeing nothing would give NaN
    return np.asarray(seen[:, None])


def _shared(split: CausalSplit, members: Indices) -> int:
    """Return the length of the prompt prefix that all sequences share."""
    most = int(split.prompts[members].min())
    begins = split.input_ids[split.offsets[members][:, None] + np.arange(most)]
    differs = (begins != begins[0]).any(axis=0)
    return int(differs.argmax()) if differs.any() else most


def _row(split: CausalSplit, members: Indices, shared: int, number: int) -> Row:
    sequences = [split.input_ids[split.offsets[s] : split.offsets[s + 1]] for s in members]
    wanted, targets, width = [], [], shared
    for sequence, member in zip(sequences, members, strict=True):
        (places,), _ = split.target_places(np.array([member]))
        before = places - 1
        wanted.append(np.where(before < shared, before, before - shared + width))
        targets.append(sequence[places])
        width += len(sequence) - shared
    rests = [len(sequence) - shared for sequence in sequences]
    return Row(
        np.concatenate([sequences[0][:shared], *(each[shared:] for each in sequences)]),
        np.concatenate([np.arange(shared), *(shared + np.arange(rest) for rest in rests)]),
        np.repeat(np.arange(len(members) + 1), [shared, *rests]),
        np.concatenate(wanted),
        np.concatenate(targets),
        number + np.arange(sum(map(len, targets))),
    )


def _padded(values: Sequence[NDArray[np.integer]], filling: int) -> Indices:
    """Pad arrays to (rows, longest)."""
    out = np.full((len(values), max(map(len, values))), filling, dtype=np.int64)
    for row, each in zip(out, values, strict=True):
        row[: len(each)] = each
    return out
