"""Text before a prompt: an introduction, and solved examples (shots) from another split.

The parts are joined as by lm-evaluation-harness: an example is its prompt, a space and its answer;
blank lines follow it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from gapbench.bench.config.task_sources import BuiltinSource, OwnSource
from gapbench.bench.core.errors import DataError
from gapbench.bench.core.schema import FrozenModel, Name
from gapbench.bench.data.rows import Rows, Table, column, text_column
from gapbench.bench.tasks.kinds.prompts import PromptedTask, require_plain

_END = "\n\n"


class Shots(FrozenModel):
    """Solved examples that precede every prompt, in the order of their split."""

    split: Name = Field(description="official split of the examples")
    number: int = Field(ge=0, le=100, description="examples before a prompt; 0: none")
    by: str | None = Field(
        default=None,
        description="column of both splits; examples have the value of the row there. None: every "
        "row has the first examples of the split",
    )


class ShotsTask(PromptedTask):
    """A task whose prompts may follow an introduction and solved examples."""

    introduction: str | None = Field(
        default=None,
        description="text before the examples and the prompt, where a {column} stands for the "
        "row's value with blanks for underscores; it ends as it is to be joined",
    )
    shots: Shots | None = Field(
        default=None, description="solved examples between introduction and prompt"
    )

    @model_validator(mode="after")
    def _check_shots(self) -> Self:
        require_plain("introduction", self.introduction or "", None)
        if self.shots is None:
            return self
        own = isinstance(self.source, BuiltinSource | OwnSource)
        if own:
            raise ValueError("field 'shots' needs rows from the hub or of 'files: parquet'")
        if self.shots.split in self.splits.official.values():
            raise ValueError(
                f"field 'shots.split' is {self.shots.split!r}, whose rows are trained on or "
                "scored; name another, or set 'splits.train' to null to take examples from it"
            )
        return self

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns that hold text: inputs, and what prompts or the choice of examples name."""
        named = require_plain("introduction", self.introduction or "", None)
        by = None if self.shots is None else self.shots.by
        return (*self.text, *named, *filter(None, [by]))

    @property
    def files(self) -> dict[str, str]:
        """Official splits that are read, by their role."""
        return super().files | ({} if self.shots is None else {"shots": self.shots.split})

    def before(
        self, place: str, table: Table, numbers: Sequence[int], examples: Examples | None
    ) -> list[str]:
        """Return the text before the prompt of some rows.

        Args:
            place: name of their split in messages.
            table: their split.
            numbers: their numbers in it.
            examples: solved examples; None if no example is wanted.

        Raises:
            DataError: naming the first row with too few examples, or a column that is missing.
        """
        names = require_plain("introduction", self.introduction or "", None)
        columns = {name: text_column(place, table, name) for name in names}
        by = self.shots.by if self.shots and examples else None
        values = None if by is None else column(place, table, by)
        made = []
        for row in numbers:
            given = {name: texts[row].replace("_", " ") for name, texts in columns.items()}
            text = (self.introduction or "").format(**given)
            if examples is not None:
                text += examples.of(place, row, "" if values is None else values[row])
            made.append(text)
        return made


class ShotsKind(ABC):
    """A kind of `ShotsTask`."""

    @abstractmethod
    def solved(self, rows: Rows) -> list[str]:
        """Return the prompt of each example with its answer."""

    @abstractmethod
    def preceded(self, rows: Rows, texts: Sequence[str]) -> Rows:
        """Return examples with a text before the prompt of each."""


class Examples:
    """Solved examples of a task, by the value of the column that assigns them to rows."""

    def __init__(self, task: ShotsTask, place: str, table: Table, solved: Sequence[str]) -> None:
        """Keep the first examples for every value.

        Args:
            task: task with the field ``shots``.
            place: name of their split in messages.
            table: their split.
            solved: prompt and answer of every row.
        """
        assert task.shots is not None  # noqa: S101 - callers have examples only for these
        self._shots, self._place = task.shots, place
        by = task.shots.by
        values = [""] * len(solved) if by is None else column(place, table, by)
        self._texts: dict[Any, list[str]] = {}
        for value, text in zip(values, solved, strict=True):
            self._texts.setdefault(value, []).append(text)

    def of(self, place: str, row: int, value: Any) -> str:
        """Return the examples for a row, as one text."""
        texts, number = self._texts.get(value, []), self._shots.number
        if len(texts) < number:
            where = "" if self._shots.by is None else f" with {self._shots.by} {value!r}"
            raise DataError(
                f"{place}, row {row}: field 'shots.number' is {number}, but {self._place} has "
                f"{len(texts)} rows{where}; ask for fewer examples, or add rows"
            )
        return "".join(text + _END for text in texts[:number])
