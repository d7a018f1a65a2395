"""Fields of multiple-choice tasks, and their prompts."""

from __future__ import annotations

import re
import string
from collections import Counter
from itertools import chain
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from gapbench.bench.core.schema import FrozenModel
from gapbench.bench.data.rows import Table, list_column, text_column
from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.tasks.kinds.shots import ShotsTask

LETTERS = string.ascii_uppercase
_LISTED = "choices"  # stands for the listed choices in a prompt


class Choices(FrozenModel):
    """The columns and format of a question's choices."""

    options: str | tuple[str, ...] = Field(
        description="column with a list of texts, or one column per choice"
    )
    blank: str | None = Field(
        default=None,
        description="mark in the text that is replaced by a choice; the model then scores the text "
        "after the mark. None: the choice itself is scored, after the text",
    )
    names: str | None = Field(
        default=None,
        description="column with a list of the choices' names, one of which is in 'label'; None: "
        "'label' holds the number of the choice, or its name from 'labels'",
    )
    letters: bool | None = Field(
        default=None,
        description="true: '{choices}' in the prompt stands for the choices, one a line after A., "
        "B. and so on, and the letter is scored",
    )
    parts: str | None = Field(
        default=None,
        description="column of the test rows, such as a subject; each value is also scored "
        "separately as a part; blank means no part",
    )
    part_groups: dict[str, tuple[str, ...]] | None = Field(
        default=None, description="groups of parts, such as categories; each is a part too"
    )
    replace: tuple[tuple[str, str], ...] = Field(
        default=(),
        description="regular expressions and their replacements in prompt and choices, applied in "
        "this order",
    )

    @field_validator("replace")
    @classmethod
    def _compile(cls, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        for pattern, _ in pairs:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return pairs

    def cleaned(self, text: str) -> str:
        """Return a text with the replacements, stripped of surrounding blanks."""
        for pattern, new in self.replace:
            text = re.sub(pattern, new, text)
        return text.strip()


class ChoiceTask(ShotsTask):
    """A question with choices, one of which is right."""

    measures: ClassVar[tuple[str, ...]] = ("labels", "choices", "parts")

    kind: Literal["choice"]
    choice: Choices

    @model_validator(mode="after")
    def _check_choice(self) -> Self:
        choice = self.choice
        if choice.letters and (f"{{{_LISTED}}}" not in (self.prompt or "") or choice.blank):
            raise ValueError(
                "field 'choice.letters' needs a prompt with '{choices}', and no 'choice.blank'"
            )
        if choice.part_groups and choice.parts is None:
            raise ValueError("field 'choice.part_groups' needs 'choice.parts', their column")
        groups = choice.part_groups or {}
        larger = [group for group, own in groups.items() if own != (group,)]
        named = Counter(chain(larger, *groups.values()))
        if twice := [name for name, count in named.items() if count > 1]:
            raise ValueError(
                f"field 'choice.part_groups' names {twice[0]!r} twice, but its scores can be those "
                "of one part or group only; put a part into one group, under another name than its"
            )
        for name in self.metrics:
            if get_metric(name).measures == "parts" and choice.parts is None:
                raise ValueError(f"field 'metrics': {name!r} needs 'choice.parts', a column")
        return self

    @property
    def prompt_columns(self) -> tuple[str, ...]:
        """Names that the prompt may fill in: the text columns, and perhaps the choices."""
        return (*self.text, _LISTED) if self.choice.letters else self.text

    @property
    def part_groups(self) -> tuple[str, ...]:
        """Names of the groups of parts."""
        return tuple(self.choice.part_groups or ())

    def prompts(self, place: str, table: Table) -> list[str]:
        """Return the prompt of every row; texts before listed choices are stripped of blanks."""
        if not self.choice.letters or self.prompt is None:
            return super().prompts(place, table)
        columns = {name: text_column(place, table, name) for name in self.text}
        made = []
        for row, options in enumerate(given_options(self.choice, place, table)):
            texts = {name: texts[row].strip() for name, texts in columns.items()}
            listed = "\n".join(
                f"{mark}. {text}" for mark, text in zip(LETTERS, options, strict=False)
            )
            made.append(self.prompt.format(**texts, **{_LISTED: listed}))
        return made

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns that hold text: the question's, the parts', those of choices one per column."""
        options = () if isinstance(self.choice.options, str) else self.choice.options
        return (*super().text_columns, *options, *filter(None, [self.choice.parts]))


def given_options(choice: Choices, place: str, table: Table) -> list[list[str]]:
    """Return the choices of every question as they are stored."""
    if isinstance(choice.options, str):
        return list_column(place, table, choice.options)
    listed = [text_column(place, table, name) for name in choice.options]
    return [list(texts) for texts in zip(*listed, strict=True)]
