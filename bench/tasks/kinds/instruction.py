"""Instruction tuning: the answers in dialogues, or to single instructions, are learned.

A sequence is a dialogue as the backbone's chat template writes it, else in Alpaca's format (see
`dialogues`). Its targets are the tokens of every answer with the token that ends it; headers and
all other messages are read only. The loss is that of the targets, each counted alike.

A sequence that is too long is cut at its end, as in Alpaca's training script. If that would cut the
first answer, what precedes the answer is first cut at its beginning, to half of the length.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from gapbench.bench.config.decoding import Decoding
from gapbench.bench.core.errors import BackboneError, DataError
from gapbench.bench.core.schema import FrozenModel
from gapbench.bench.data.encoded import Arrays, EncodedSplit, Texts, TurnsSplit, asked_arrays
from gapbench.bench.data.rows import Rows, Table, column, text_column
from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.tasks.kinds.dialogues import ASSISTANT, USER, Message, Writer, dialogue
from gapbench.bench.tasks.kinds.prompts import (
    Limits,
    PromptedTask,
    boundary,
    tokenised_alone,
)
from gapbench.bench.tasks.kinds.target_tokens import WrittenTexts

if TYPE_CHECKING:
    from gapbench.bench.models.backbone import Reader


class Instructions(FrozenModel):
    """How the rows hold instructions and answers, and whether answers are also written."""

    messages: bool = Field(
        default=False,
        description="the text column holds dialogues, lists of {role, content}; all messages of "
        "the role assistant are learned. False: 'text' names the column of the instruction and, "
        "optionally, that of its input; 'label' holds the answer",
    )
    decoding: Decoding | None = Field(
        default=None,
        description="how answers to the first messages are written, for metrics of texts; None: "
        "none are",
    )


class InstructionTask(PromptedTask):
    """Instructions with answers, or dialogues."""

    measures: ClassVar[tuple[str, ...]] = ("texts", "tokens")
    templated: ClassVar[bool] = True

    kind: Literal["instruction"]
    instruction: Instructions = Instructions()

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        most = 1 if self.instruction.messages else 2
        if self.prompt is None and len(self.text) > most:
            raise ValueError(
                "field 'text' may name one column of messages, or the columns of the instruction "
                "and its input; join others by the field 'prompt'"
            )
        if self.prompt is not None and self.instruction.messages:
            raise ValueError("field 'prompt' does not go with 'instruction.messages'")
        if self.decoding is None:
            for name in self.metrics:
                if get_metric(name).measures == "texts":
                    raise ValueError(
                        f"field 'metrics': {name!r} needs written answers; give "
                        "'instruction.decoding', or use perplexity and token_accuracy"
                    )
        return self

    @property
    def decoding(self) -> Decoding | None:
        """How answers are written; None if none are."""
        return self.instruction.decoding

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns that hold text."""
        return () if self.instruction.messages else (*self.text, self.label)


class Instruction(WrittenTexts[InstructionTask]):
    """Each example is a dialogue, which is one sequence."""

    Task = InstructionTask
    Split: ClassVar[type[EncodedSplit]] = TurnsSplit

    def read(self, task: InstructionTask, place: str, table: Table) -> Rows:
        """Return the dialogue of every row, and the first answer in it."""
        if task.instruction.messages:
            values = column(place, table, task.text[0])
            made = [dialogue(f"{place}, row {row}", value) for row, value in enumerate(values)]
        else:
            made = _single(task, place, table)
        answers = [[_first_answer(messages)[1]] for messages in made]
        columns: dict[str, Sequence[Any]] = {"messages": made, "references": answers}
        return Rows(columns, np.zeros(len(made), np.int64))

    def inputs(self, rows: Rows) -> Sequence[Hashable]:
        """Return the messages before the first answer."""
        return [messages[: _first_answer(messages)[0]] for messages in rows.columns["messages"]]

    def questions(self, rows: Rows) -> list[str]:
        """Return the messages before the first answer; roles are named where there are several."""
        made = []
        for whole in rows.columns["messages"]:
            messages = whole[: _first_answer(whole)[0]]
            texts = ["\n\n".join(filter(None, (each.content, each.input))) for each in messages]
            named = zip(messages, texts, strict=True)
            several = [f"{message.role}: {text}" for message, text in named]
            made.append("\n\n".join(texts if len(texts) == 1 else several))
        return made

    def encode(self, task: InstructionTask, place: str, rows: Rows, reader: Reader) -> Arrays:
        """Tokenise every dialogue, and find the tokens of its answers."""
        limits = Limits.of(task, reader)
        if limits.apart and hasattr(reader.tokenizer, "spm_target"):
            raise BackboneError(
                f"backbone {reader.tokenizer.name_or_path!r}: what it reads and what it writes "
                "have words of their own, but a dialogue is one text; give another"
            )
        found = list(_encoded(place, rows, reader, limits))
        counts = [len(each.places) for each in found]
        held = [{"references": texts, "part": ""} for texts in rows.columns["references"]]
        arrays: Arrays = {
            "input_ids": np.concatenate([each.tokens for each in found]).astype(np.int32),
            "offsets": np.cumsum([0, *(len(each.tokens) for each in found)], dtype=np.int64),
            "sequence_offsets": np.arange(len(found) + 1, dtype=np.int64),
            "prompts": np.array([each.places[0] for each in found], dtype=np.int64),
            "characters": np.array([len(texts[0]) for texts in rows.columns["references"]]),
            "cut": np.array([each.cut for each in found]),
            "places": np.concatenate([each.places for each in found]).astype(np.int64),
            "place_offsets": np.cumsum([0, *counts], dtype=np.int64),
        }
        if task.written is not None:
            arrays |= asked_arrays([each.asked for each in found])
        return arrays | Texts.of(held).arrays()


@dataclass(frozen=True)
class _Encoded:
    """A sequence, the places of its targets, whether it is cut, and its prompt for writing."""

    tokens: list[int]
    places: list[int]
    cut: bool
    asked: list[int]


def _single(task: InstructionTask, place: str, table: Table) -> list[tuple[Message, ...]]:
    """Return one instruction and its answer for every row."""
    answers = text_column(place, table, task.label)
    inputs = [""] * len(answers)
    if task.prompt is not None:
        instructions = task.prompts(place, table)
    else:
        instructions = text_column(place, table, task.text[0])
        for name in task.text[1:]:  # many files hold null for no input
            filled = {
                name: ["" if value is None else value for value in column(place, table, name)]
            }
            inputs = text_column(place, filled, name)
    made: list[tuple[Message, ...]] = []
    for row, texts in enumerate(zip(instructions, inputs, answers, strict=True)):
        instruction, given, answer = (text.strip() for text in texts)
        for name, text in ((task.text[0], instruction), (task.label, answer)):
            if not text:
                raise DataError(
                    f"{place}, row {row}: column {name!r} is blank; write something there, or "
                    "remove the row"
                )
        made.append((Message(USER, instruction, given), Message(ASSISTANT, answer)))
    return made


def _first_answer(messages: Sequence[Message]) -> tuple[int, str]:
    """Return the number and the text of the first answer."""
    return next((n, m.content.strip()) for n, m in enumerate(messages) if m.role == ASSISTANT)


def _encoded(place: str, rows: Rows, reader: Reader, limits: Limits) -> Iterator[_Encoded]:
    tokenizer = reader.tokenizer
    writer = Writer(tokenizer)
    first = [] if writer.begins else limits.first
    places = [f"{place}, row {number}" for number in rows.numbers]
    written = [writer.write(*each) for each in zip(places, rows.columns["messages"], strict=True)]
    # Each text, then its beginnings up to every edge of an answer.
    texts = [[w.text, *(w.text[:edge] for span in w.answers for edge in span)] for w in written]
    ids = tokenised_alone([text for each in texts for text in each], tokenizer)
    for where, each in zip(places, texts, strict=True):
        whole, *begins = (next(ids) for _ in each)
        edges = [boundary(whole, begin, tokenizer) for begin in begins]
        whole[edges[0] : edges[0]] = limits.last
        made = _cut(whole, [edge + len(limits.last) for edge in edges], first, limits)
        if not made.places:
            raise DataError(
                f"{where}: its answers have no tokens that follow another: the tokenizer drops "
                "their characters, or puts nothing before them; remove the row, or give another "
                "backbone"
            )
        yield made


def _cut(whole: list[int], edges: Sequence[int], first: list[int], limits: Limits) -> _Encoded:
    """Return a sequence within its limits; see the module.

    Args:
        whole: tokens of the dialogue.
        edges: first token of each answer, and the one after it, in turn.
        first: tokens that begin every text.
        limits: limits of the sequence.
    """
    if limits.apart:
        skipped = max(0, edges[0] + len(first) - limits.given)
        most = limits.whole + len(first) + edges[0] - skipped
    else:
        fits = edges[1] <= limits.whole - len(first) and edges[0] <= limits.given - len(first)
        room = min(limits.whole // 2, limits.given) - len(first)
        skipped, most = 0 if fits else max(0, edges[0] - room), limits.whole
    before = len(first) - skipped
    tokens = (first + whole[skipped:])[:most]
    targets = [
        place + before
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
        for place in range(start, stop)
        if 0 < place + before < most
    ]
    asked = limits.end_of(whole[: edges[0]], first)
    return _Encoded(tokens, targets, len(tokens) < len(first) + len(whole), asked)
