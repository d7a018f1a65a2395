"""Language modelling: how likely a text is, token by token.

A document is read in windows of the backbone's length. Each window begins with the last token of
the one before, so that every token but the document's first is predicted once. A tokenizer that
begins texts with a token begins each document with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from gapbench.bench.config.head import LANGUAGE_MODEL, HeadType
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import DataError
from gapbench.bench.data.encoded import Arrays, Texts
from gapbench.bench.data.rows import Rows, Table, text_column
from gapbench.bench.metrics.base import Inputs
from gapbench.bench.store.record import Scores
from gapbench.bench.tasks.kinds.input_tokens import tokenised
from gapbench.bench.tasks.kinds.prompts import first_token
from gapbench.bench.tasks.kinds.target_tokens import TargetTokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gapbench.bench.models.backbone import Reader
    from gapbench.bench.tasks.predictions import Predictions


class LanguageModellingTask(Task):
    """Texts of which every token is predicted from those before it."""

    head: ClassVar[HeadType] = LANGUAGE_MODEL
    measures: ClassVar[tuple[str, ...]] = ("tokens",)

    kind: Literal["language_modelling"]
    join: str | None = Field(
        default=None,
        description="text between rows that are read as one document, whose windows are then the "
        "examples; None: each row that is not blank is a document and an example",
    )

    @property
    def joined(self) -> bool:
        """Whether the rows of a split are one document, so that cuts take neighbours."""
        return self.join is not None


class LanguageModelling(TargetTokens[LanguageModellingTask]):
    """Each example is a document, or a window of one; each window is a sequence."""

    Task = LanguageModellingTask
    not_in_files: ClassVar[Mapping[str, str]] = {
        "tokens": "it needs the model's probabilities of the texts' tokens"
    }

    def read(self, task: LanguageModellingTask, place: str, table: Table) -> Rows:
        """Return the texts; blank rows count only where rows are joined."""
        columns = [text_column(place, table, name) for name in task.text]
        texts = ["\n".join(parts) for parts in zip(*columns, strict=True)]
        kept = [row for row, text in enumerate(texts) if text.strip() or task.join is not None]
        if not any(texts[row].strip() for row in kept):
            raise DataError(f"{place}: all rows are blank; give at least one text")
        return Rows(
            {"text": [texts[row] for row in kept]},
            np.zeros(len(kept), np.int64),
            row_numbers=np.array(kept, dtype=np.int64),
        )

    def encode(self, task: LanguageModellingTask, place: str, rows: Rows, reader: Reader) -> Arrays:
        """Tokenise each document and cut it into windows."""
        texts, numbers = list(rows.columns["text"]), rows.numbers
        if task.join is not None:
            texts, numbers = [task.join.join(texts)], numbers[:1]
        made = tokenised(
            place, numbers, [texts], reader.tokenizer, add_special_tokens=False, verbose=False
        )
        documents = [ids for _, _, part in made for ids in part["input_ids"]]
        begun = first_token(reader.tokenizer)
        size = min(task.max_length, reader.window)
        windows = [_windows([*begun, *ids], size) for ids in documents]
        for number, own in zip(numbers, windows, strict=True):
            if not own:
                raise DataError(
                    f"{place}, row {number}: the text has no token that follows another, so "
                    "nothing is predicted; remove the row, or join rows by the field 'join'"
                )
        flat = [window for own in windows for window in own]
        counts = [len(own) for own in windows] if task.join is None else [1] * len(flat)
        arrays: Arrays = {
            "input_ids": np.concatenate([np.array(each, dtype=np.int32) for each in flat]),
            "offsets": np.cumsum([0, *map(len, flat)], dtype=np.int64),
            "sequence_offsets": np.cumsum([0, *counts], dtype=np.int64),
            "prompts": np.ones(len(flat), dtype=np.int64),
            "characters": np.zeros(len(flat), dtype=np.int64),
        }
        if task.join is not None:
            numbered = np.arange(len(flat), dtype=np.int64)
            arrays |= {"targets": np.zeros_like(numbered), "example_ids": numbered}
        return arrays | Texts.of([]).arrays()

    def read_outputs(
        self, task: LanguageModellingTask, given: Predictions, table: Table, rows: Rows
    ) -> tuple[Inputs, Scores]:
        """Return nothing: no file holds what is scored."""
        return {}, {}


def _windows(tokens: Sequence[int], size: int) -> list[Sequence[int]]:
    """Return the windows of a document; each begins with the last token of the one before."""
    return [tokens[start : start + size] for start in range(0, len(tokens) - 1, size - 1)]
