"""Windows: a long context is read in overlapping parts, each after its question.

Only the context is cut. Answer positions are kept by token for training, and by character so that
a predicted span can be cut out of the original context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.core.errors import DataError
from gapbench.bench.data.encoded import Arrays, Texts
from gapbench.bench.data.rows import Rows
from gapbench.bench.tasks.kinds.input_tokens import require_tokens, tokenised

if TYPE_CHECKING:
    from gapbench.bench.models.backbone import Reader
    from gapbench.bench.tasks.kinds.span import SpanTask

Answer = tuple[int, str]
"""Character of the context at which an accepted answer begins, and its text."""


@dataclass(frozen=True)
class _Window:
    """One sequence: its tokens, and the positions of context and answer in them."""

    ids: NDArray[np.int32]
    types: NDArray[np.int8]
    context: tuple[int, int]
    characters: NDArray[np.int32]
    span: tuple[int, int]


def encode_windows(task: SpanTask, place: str, rows: Rows, reader: Reader) -> Arrays:
    """Tokenise every question with each window of its context.

    Args:
        task: task that sets the length and overlap of windows.
        place: name of the split in messages.
        rows: ``question``, ``context`` and ``answers`` (lists of `Answer`) of every example; the
            first answer is trained on.
        reader: reader with a tokenizer that gives the characters of each token.

    Returns:
        The arrays of `bench.tasks.kinds.span.SpanSplit`, without targets and row numbers.

    Raises:
        DataError: if a question leaves no room for its context, or either has no tokens.
    """
    _check_room(task, place, rows, reader)
    settings = {
        "truncation": "only_second",
        "max_length": min(task.max_length, reader.window),
        "stride": task.span.stride,
        "return_overflowing_tokens": True,
        "return_offsets_mapping": True,
    }
    texts = [rows.columns["question"], rows.columns["context"]]
    made = tokenised(place, rows.numbers, texts, reader.tokenizer, **settings)
    examples = [
        example
        for part, _, encoded in made
        for example in _windows(place, rows.take(np.arange(part.start, part.stop)), encoded)
    ]
    # Otherwise the first token of the context would be the one that means no answer.
    before = [example[0].context[0] for example in examples]
    require_tokens(place, "questions", rows.numbers, before)
    windows, counts = [each for example in examples for each in example], list(map(len, examples))
    lengths = [len(window.ids) for window in windows]
    arrays: Arrays = {
        "input_ids": np.concatenate([window.ids for window in windows]),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "sequence_offsets": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        "context": np.array([window.context for window in windows], dtype=np.int64),
        "characters": np.concatenate([window.characters for window in windows]),
        "spans": np.array([window.span for window in windows], dtype=np.int64),
    }
    types = np.concatenate([window.types for window in windows])
    if len(types):  # otherwise the backbone has no segments
        arrays["token_type_ids"] = types
    stored = [
        {"context": context, "answers": [text for _, text in answers]}
        for context, answers in zip(rows.columns["context"], rows.columns["answers"], strict=True)
    ]
    return arrays | Texts.of(stored).arrays()


def _windows(place: str, rows: Rows, encoded: Any) -> list[list[_Window]]:
    """Return the windows of each example from the tokenizer's output."""
    owners: list[int] = encoded["overflow_to_sample_mapping"]
    types = encoded.get("token_type_ids")
    made: list[list[_Window]] = [[] for _ in range(len(rows))]
    for sequence, example in enumerate(owners):
        sides = encoded.sequence_ids(sequence)
        if 1 not in sides:
            raise DataError(
                f"{place}, row {rows.numbers[example]}: the context has no token that the backbone "
                "knows; remove the row"
            )
        first, stop = sides.index(1), len(sides) - sides[::-1].index(1)
        characters = np.array(encoded["offset_mapping"][sequence], dtype=np.int32)
        answers = rows.columns["answers"][example]
        ends = (not made[example], sequence + 1 == len(owners) or owners[sequence + 1] != example)
        made[example].append(
            _Window(
                ids=np.array(encoded["input_ids"][sequence], dtype=np.int32),
                types=np.array(types[sequence] if types else [], dtype=np.int8),
                context=(first, stop),
                characters=characters,
                span=_span(characters[first:stop], answers[0], first, ends) if answers else (0, 0),
            )
        )
    return made


def _check_room(task: SpanTask, place: str, rows: Rows, reader: Reader) -> None:
    """Refuse questions that leave no room for a window to advance."""
    limit = min(task.max_length, reader.window)
    special = reader.tokenizer.num_special_tokens_to_add(pair=True)
    made = tokenised(
        place,
        rows.numbers,
        [rows.columns["question"]],
        reader.tokenizer,
        add_special_tokens=False,
        verbose=False,
    )
    tokens = [ids for _, _, part in made for ids in part["input_ids"]]
    for number, question in zip(rows.numbers, tokens, strict=True):
        room = limit - special - len(question)
        if room <= task.span.stride:
            raise DataError(
                f"{place}, row {number}: the question has {len(question)} tokens, which leaves "
                f"{max(room, 0)} of {limit} to the context, but windows overlap by "
                f"{task.span.stride}; raise 'max_length' (the backbone's window is "
                f"{reader.window}), lower 'span.stride', or remove the row"
            )


def _span(
    characters: NDArray[np.int32], answer: Answer, first: int, ends: tuple[bool, bool]
) -> tuple[int, int]:
    """Return the first and last token of an answer; 0, 0 if the window does not hold all of it.

    Args:
        characters: start and end of each context token of the window, in characters, (tokens, 2).
        answer: start and text of the answer; surrounding blanks do not count.
        first: first token of the context.
        ends: whether the window includes the first, and the last, token of the whole context.
    """
    start, text = answer
    start, stop = start + len(text) - len(text.lstrip()), start + len(text.rstrip())
    starts, stops = characters.T
    # A tokenizer may drop characters, so those at an end of the context may belong to no token.
    whole = (ends[0] or starts[0] <= start) and (ends[1] or stop <= stops[-1])
    head = int(np.searchsorted(stops, start, side="right"))
    tail = int(np.searchsorted(starts, stop, side="left")) - 1
    return (first + head, first + tail) if whole and head <= tail else (0, 0)
