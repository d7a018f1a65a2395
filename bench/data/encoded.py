"""Encoded splits: token sequences as flat arrays, with their targets.

An *example* is the unit that a task counts: a sentence, a question, a record. It has
one sequence or several adjacent ones: one for each reference, choice or window. A *target* is one
softmax (or one value) that a sequence is trained on. `bench.tasks.kinds` makes the arrays.
"""

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.core.errors import BenchError, DataError, SealedError

IGNORED = -100
"""Target that does not count."""

Indices = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class EncodedSplit:
    """Sequences, concatenated; sequence i is ``input_ids[offsets[i]:offsets[i + 1]]``.

    This base class is for tasks whose examples are single sequences with one target each.

    Attributes:
        input_ids: (all tokens,) int32.
        token_type_ids: (all tokens,) int8, or None where the backbone has no segments.
        offsets: (sequences + 1,) int64.
        targets: (examples,) int64 class indices, or float32 values for regression.
        example_ids: (examples,) row number in the official split.
        truth: true probabilities (examples, classes) or true means (examples, 1) of built-in tasks.
        cut: (examples,) whether some of the input was dropped to fit; None if that never happens.
        escaped: (examples,) whether words in its texts are special tokens of the backbone, here
            read as plain text; None if not checked.
        pad_id: token id used for padding.
    """

    input_ids: NDArray[np.int32]
    token_type_ids: NDArray[np.int8] | None = None
    offsets: Indices
    targets: NDArray[Any]
    example_ids: Indices
    truth: NDArray[np.float64] | None = None
    cut: NDArray[np.bool_] | None = None
    escaped: NDArray[np.bool_] | None = None
    pad_id: int

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.targets)

    @property
    def lengths(self) -> Indices:
        """Number of tokens of every sequence."""
        return np.diff(self.offsets)

    @property
    def target_counts(self) -> Indices:
        """Number of targets of every sequence."""
        return np.ones(len(self.lengths), dtype=np.int64)

    @property
    def learned(self) -> NDArray[Any]:
        """Targets as models learn them, (examples,)."""
        return self.targets

    @property
    def trained(self) -> Indices:
        """Indices of the sequences that training draws from."""
        return np.arange(len(self.lengths))

    def sequences(self, examples: Indices) -> Indices:
        """Return the sequences of examples, example after example."""
        return examples

    def inputs_and_targets(self, sequences: Indices) -> tuple[Arrays, NDArray[Any]]:
        """Return extra model inputs, and the targets: (sequences, ...), padded with `IGNORED`.

        Args:
            sequences: indices of the sequences, (sequences,).
        """
        return {}, self.learned[sequences]


@dataclass(frozen=True, kw_only=True)
class ScaledSplit(EncodedSplit):
    """Values that models learn from a centre, in units of a size.

    Attributes:
        scale: (2,) centre and size; None where they learn the values as they are.
    """

    scale: NDArray[np.float64] | None = None

    @property
    def learned(self) -> NDArray[Any]:
        """Values less the centre, in units of the size, (examples,) float32."""
        if self.scale is None:
            return self.targets
        centre, size = self.scale
        scaled: NDArray[Any] = (self.targets - centre) / size
        return scaled.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class GroupedSplit(EncodedSplit):
    """Examples of several sequences each.

    Attributes:
        sequence_offsets: (examples + 1,) first sequence of each example.
        texts: references of each example, for scoring.
    """

    sequence_offsets: Indices
    texts: "Texts"

    def sequences(self, examples: Indices) -> Indices:
        """Return the sequences of examples, example after example."""
        starts, stops = self.sequence_offsets[examples], self.sequence_offsets[examples + 1]
        sizes = stops - starts
        before = np.cumsum(sizes) - sizes
        numbers: Indices = np.arange(int(sizes.sum())) + np.repeat(starts - before, sizes)
        return numbers


@dataclass(frozen=True, kw_only=True)
class CausalSplit(GroupedSplit):
    """Texts that continue prompts; every token after the prompt is a target.

    Attributes:
        prompts: (sequences,) number of prompt tokens in each sequence.
        characters: (sequences,) length of the target text.
        asked, asked_offsets: tokens that a text is written after, of every example: its prompt, cut
            for want of room but never for the length of a target; None if no texts are written.
    """

    prompts: Indices
    characters: Indices
    asked: NDArray[np.int32] | None = None
    asked_offsets: Indices | None = None

    def asked_of(self, examples: Indices) -> list[NDArray[np.int32]]:
        """Return the tokens that texts are written after, of each of some examples."""
        assert self.asked is not None  # noqa: S101 - kinds that write texts store it
        assert self.asked_offsets is not None  # noqa: S101 - likewise
        starts, stops = self.asked_offsets[examples], self.asked_offsets[examples + 1]
        return [self.asked[start:stop] for start, stop in zip(starts, stops, strict=True)]

    @property
    def target_counts(self) -> Indices:
        """Number of tokens after the prompt, of every sequence."""
        return self.lengths - self.prompts

    def target_places(self, sequences: Indices) -> tuple[Indices, NDArray[np.bool_]]:
        """Return the place of each target in its sequence, and where there is one.

        Both are (sequences, most targets).
        """
        prompts = self.prompts[sequences]
        counts = self.offsets[sequences + 1] - self.offsets[sequences] - prompts
        number = np.arange(counts.max())
        return prompts[:, None] + number, number < counts[:, None]

    def inputs_and_targets(self, sequences: Indices) -> tuple[Arrays, NDArray[Any]]:
        """Return ``positions`` (sequences, most), of the token before each target, and targets."""
        places, present = self.target_places(sequences)
        where = np.where(present, self.offsets[sequences, None] + places, 0)
        targets = np.where(present, self.input_ids[where], IGNORED)
        return {"positions": np.where(present, places - 1, 0)}, targets.astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class TurnsSplit(CausalSplit):
    """Dialogues; the tokens of every answer in them are targets.

    Attributes:
        places: (all targets,) place of each target in its sequence.
        place_offsets: (sequences + 1,) first target of each sequence.
    """

    places: Indices
    place_offsets: Indices

    @property
    def target_counts(self) -> Indices:
        """Number of tokens of all answers, of every sequence."""
        return np.diff(self.place_offsets)

    def target_places(self, sequences: Indices) -> tuple[Indices, NDArray[np.bool_]]:
        """Return the place of each target in its sequence, and where there is one."""
        counts = self.place_offsets[sequences + 1] - self.place_offsets[sequences]
        number = np.arange(counts.max())
        present = number < counts[:, None]
        return self.places[
            np.where(present, self.place_offsets[sequences, None] + number, 0)
        ], present


def asked_arrays(prompts: Sequence[Sequence[int]]) -> Arrays:
    """Return the prompts of all examples as the arrays of `CausalSplit`."""
    return {
        "asked": np.concatenate([np.array(each, dtype=np.int32) for each in prompts]),
        "asked_offsets": np.cumsum([0, *map(len, prompts)], dtype=np.int64),
    }


class ClosedSplit(EncodedSplit):
    """A split that must not be read: every access is refused."""

    def __init__(self) -> None:
        """Store nothing, so that the seal cannot be opened."""

    def __len__(self) -> int:
        """Refuse.

        Raises:
            BenchError: always, as every other use does.
        """
        raise type(self).refusal("its length")

    def __getattribute__(self, name: str) -> Any:
        """Refuse, except for the class."""
        if name == "__class__":
            return type(self)
        raise type(self).refusal(f"{name!r}")

    @staticmethod
    @abstractmethod
    def refusal(wanted: str) -> BenchError:
        """Return the error for a use of the split."""


class SealedSplit(ClosedSplit):
    """A test split while settings are chosen."""

    @staticmethod
    def refusal(wanted: str) -> BenchError:
        """Return the error for a use of the split."""
        return SealedError(
            f"the test split is sealed while settings are tuned, but {wanted} was asked for; a "
            "choice may rest on train and validation only"
        )


class AbsentSplit(ClosedSplit):
    """The train or validation split of a task without training rows."""

    @staticmethod
    def refusal(wanted: str) -> BenchError:
        """Return the error for a use of the split."""
        return DataError(f"the task has no training rows, but {wanted} of them was asked for")


@dataclass(frozen=True)
class TaskData:
    """The splits of a task as one backbone reads them.

    Attributes:
        train, validation, test: splits for training, checkpoint choice and the score; the first two
            are absent where the task has no training rows.
        more: further test splits by name.
        train_overlap: number of examples in each split except train whose input is in train too.
        train_share: share of the rows that training rows are drawn from; None if all seeds train on
            the same rows.
    """

    train: EncodedSplit
    validation: EncodedSplit
    test: EncodedSplit
    more: Mapping[str, EncodedSplit] = field(default_factory=dict)
    train_overlap: Mapping[str, int] = field(default_factory=dict)
    train_share: float | None = None

    @property
    def sealed(self) -> bool:
        """Whether the test splits are sealed, because settings are being chosen."""
        return isinstance(self.test, SealedSplit)

    @property
    def tests_only(self) -> bool:
        """Whether there are no training rows."""
        return isinstance(self.train, AbsentSplit)

    @property
    def eval_split(self) -> str:
        """The split that gaps are measured on: test, or validation if test is sealed."""
        return "validation" if self.sealed else "test"

    @property
    def open(self) -> dict[str, EncodedSplit]:
        """Return every split that may be read, by name."""
        splits = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
            **self.more,
        }
        return {n: split for n, split in splits.items() if not isinstance(split, ClosedSplit)}

    @property
    def scored_first(self) -> EncodedSplit:
        """The split that a run scores first: validation, or test without training rows."""
        return self.test if self.tests_only else self.validation

    @property
    def read_first(self) -> EncodedSplit:
        """The split that a run reads first: train, or test of a task without training rows."""
        return next(iter(self.open.values()))

    def seal(self) -> "TaskData":
        """Return the same data with sealed test splits."""
        overlap = {name: n for name, n in self.train_overlap.items() if name == "validation"}
        return replace(self, test=SealedSplit(), more={}, train_overlap=overlap)


@dataclass(frozen=True)
class Texts:
    """One JSON value per example, as bytes, so that a file of them can be mapped into memory."""

    content: NDArray[np.uint8]
    ends: Indices

    @classmethod
    def of(cls, values: Sequence[Any]) -> "Texts":
        """Store plain values."""
        lines = [json.dumps(value, ensure_ascii=False).encode() for value in values]
        ends = np.cumsum([len(line) for line in lines], dtype=np.int64)
        return cls(np.frombuffer(b"".join(lines), dtype=np.uint8), ends)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Texts":
        """Read the result of `arrays`."""
        return cls(arrays["texts.content"], arrays["texts.ends"])

    def arrays(self) -> Arrays:
        """Return the stored arrays by name."""
        return {"texts.content": self.content, "texts.ends": self.ends}

    def __getitem__(self, example: int) -> Any:
        """Return the value of an example."""
        start = int(self.ends[example - 1]) if example else 0
        return json.loads(self.content[start : int(self.ends[example])].tobytes())
