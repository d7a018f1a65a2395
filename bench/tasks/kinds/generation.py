"""Generation: compare a generated text with one or more references."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from gapbench.bench.config.decoding import Decoding
from gapbench.bench.core.errors import DataError
from gapbench.bench.core.schema import FrozenModel
from gapbench.bench.data.encoded import Arrays, Texts, asked_arrays
from gapbench.bench.data.rows import Rows, Table, list_column, numbered, part_column, text_column
from gapbench.bench.tasks.kinds.base import InitKind
from gapbench.bench.tasks.kinds.prompts import asked, encode_pairs
from gapbench.bench.tasks.kinds.shots import ShotsKind, ShotsTask
from gapbench.bench.tasks.kinds.target_tokens import WrittenTexts

if TYPE_CHECKING:
    from gapbench.bench.models.backbone import Reader

_REFERENCES = "references"  # column in a file of references


class Writing(FrozenModel):
    """How a text is generated from the input, and its references."""

    references: str | None = Field(
        default=None,
        description="column with a list of reference texts; None: rows with equal input "
        "belong together, and 'label' holds one reference each",
    )
    parts: str | None = Field(
        default=None,
        description="column of the test rows, such as a category; each value is also scored "
        "separately as a part; blank means no part",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of a target's probability spread evenly"
    )
    decoding: Decoding = Decoding()


class GenerationTask(ShotsTask):
    """An input with a text to generate."""

    measures: ClassVar[tuple[str, ...]] = ("texts", "tokens")

    kind: Literal["generation"]
    generation: Writing

    @property
    def decoding(self) -> Decoding:
        """How texts are decoded after a prompt."""
        return self.generation.decoding

    @property
    def label_smoothing(self) -> float:
        """Share of a token's probability that training spreads evenly over the vocabulary."""
        return self.generation.label_smoothing

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns that hold text: inputs, references and parts."""
        return (*super().text_columns, self.label, *filter(None, [self.generation.parts]))


class Generation(WrittenTexts[GenerationTask], ShotsKind, InitKind):
    """Each example is an input; each of its references is a sequence to train on."""

    Task = GenerationTask
    init_option = "target"

    def infers(self, labels: Sequence[Any]) -> bool:
        """Accept any column named as the text to generate."""
        return True

    def from_labels(self, column: str, labels: Sequence[Any]) -> dict[str, Any]:
        """Return how texts are decoded and scored; lists of texts are references."""
        listed = isinstance(labels[0], list)
        references = {"references": column} if listed else {}
        return {
            "generation": references | {"decoding": {"beams": 4, "max_new_tokens": 64}},
            "metrics": ["bleu", "rouge_l", "chrf"],
            "checkpoint_metric": "perplexity",
        }

    def read(self, task: GenerationTask, place: str, table: Table) -> Rows:
        """Return an example for each row of references, else for each distinct input."""
        prompts = task.prompts(place, table)
        if task.generation.references is None:
            references = [[text] for text in text_column(place, table, task.label)]
        else:
            references = list_column(place, table, task.generation.references)
        listed = task.generation.references is not None
        parts = part_column(task, task.generation.parts, place, table) or [""] * len(prompts)
        gathered: dict[str | int, list[str]] = {}
        first: dict[str | int, int] = {}
        for row, (prompt, texts) in enumerate(zip(prompts, references, strict=True)):
            if not any(text.strip() for text in texts):
                raise DataError(f"{place}, row {row}: no reference text; give at least one")
            example = row if listed else prompt
            gathered.setdefault(example, []).extend(text for text in texts if text.strip())
            first.setdefault(example, row)
        rows: dict[str, list[Any]] = {
            "prompt": [prompts[row] for row in first.values()],
            "references": [*gathered.values()],
            "part": [parts[row] for row in first.values()],
        }
        alike = numbered(rows["prompt"])  # which stay together in every cut
        return Rows(
            rows,
            np.zeros(len(gathered), np.int64),
            row_numbers=np.array([*first.values()]),
            groups=alike if len({*rows["prompt"]}) < len(alike) else None,
        )

    def read_references(self, task: GenerationTask, place: str, table: Table) -> Rows:
        """Return reference rows for scoring; references may be lists in a column."""
        if task.label not in table and _REFERENCES in table:
            listed = task.generation.model_copy(update={"references": _REFERENCES})
            task = task.model_copy(update={"generation": listed})
        return self.read(task, place, table)

    def solved(self, rows: Rows) -> list[str]:
        """Return each prompt with its first reference."""
        pairs = zip(rows.columns["prompt"], rows.columns["references"], strict=True)
        return [f"{prompt} {texts[0]}" for prompt, texts in pairs]

    def preceded(self, rows: Rows, texts: Sequence[str]) -> Rows:
        """Return examples with a text before each prompt."""
        prompts = [text + p for text, p in zip(texts, rows.columns["prompt"], strict=True)]
        return replace(rows, columns={**rows.columns, "prompt": prompts})

    def inputs(self, rows: Rows) -> Sequence[Hashable]:
        """Return the prompts."""
        return list(rows.columns["prompt"])

    def questions(self, rows: Rows) -> list[str]:
        """Return the prompts."""
        return list(rows.columns["prompt"])

    def encode(self, task: GenerationTask, place: str, rows: Rows, reader: Reader) -> Arrays:
        """Tokenise every input with each of its references."""
        prompts, references = rows.columns["prompt"], rows.columns["references"]
        pairs = [
            [(prompt, text) for text in texts]
            for prompt, texts in zip(prompts, references, strict=True)
        ]
        held = [
            {"references": texts, "part": part}
            for texts, part in zip(references, rows.columns["part"], strict=True)
        ]
        encoded = encode_pairs(task, place, pairs, rows.numbers, reader)
        encoded |= asked_arrays(asked(task, prompts, reader))
        return encoded | Texts.of(held).arrays()
