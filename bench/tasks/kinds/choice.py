"""Multiple choice: a language model scores each choice by the likelihood of its tokens.

Training is on the tokens of the right choice, as in supervised fine-tuning. A choice's score is the
sum of its tokens' log-probabilities; `accuracy_norm` divides it by the choice's characters.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, field_validator

from gapbench.bench.core.errors import DataError
from gapbench.bench.core.schema import FrozenModel
from gapbench.bench.data.encoded import Arrays, CausalSplit, EncodedSplit, Indices, Texts
from gapbench.bench.data.rows import (
    Rows,
    Table,
    choice_numbers,
    column,
    illegal,
    list_column,
    text_column,
)
from gapbench.bench.metrics import calibration, classification
from gapbench.bench.metrics.base import Inputs
from gapbench.bench.store.record import Calibration, Scores, Truth
from gapbench.bench.tasks.kinds.base import Outputs, TaskKind
from gapbench.bench.tasks.kinds.classification import calibrated, truth_of_classes
from gapbench.bench.tasks.kinds.labels import label_columns
from gapbench.bench.tasks.kinds.prompts import PromptedTask, encode_pairs

if TYPE_CHECKING:
    from gapbench.bench.adaptation.method import AnyMethod, TrainState
    from gapbench.bench.models.backbone import Reader
    from gapbench.bench.tasks.eval_subset import EvalSubset
    from gapbench.bench.tasks.predictions import Predictions

_ABSENT = -1e9  # log-likelihood of a missing choice; finite, so that differences are too


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


class ChoiceTask(PromptedTask):
    """A question with choices, one of which is right."""

    measures: ClassVar[tuple[str, ...]] = ("labels", "choices")

    kind: Literal["choice"]
    choice: Choices

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns that hold text: the question's, and those of choices stored one per column."""
        options = self.choice.options
        return self.text if isinstance(options, str) else (*self.text, *options)


@dataclass(frozen=True, kw_only=True)
class ChoiceSplit(CausalSplit):
    """Each example is a question with one sequence per choice; ``targets`` are the right ones."""

    @property
    def trained(self) -> Indices:
        """Return the sequences of the right choices."""
        right: Indices = self.sequence_offsets[:-1] + self.targets
        return right


class Choice(TaskKind[ChoiceTask]):
    """Each example is a question; each of its choices is a sequence."""

    Task = ChoiceTask
    Split: ClassVar[type[EncodedSplit]] = ChoiceSplit
    not_in_files: ClassVar[Mapping[str, str]] = {
        "choices": "it needs the log-likelihood of each choice: columns logit_0, logit_1, ..."
    }

    def read(self, task: ChoiceTask, place: str, table: Table) -> Rows:
        """Return prompt and continuation of every choice, and the right ones."""
        choice = task.choice
        pairs = [
            _pairs(place, row, choice.cleaned(prompt), texts, choice.blank)
            for row, (prompt, texts) in enumerate(
                zip(task.prompts(place, table), _options(choice, place, table), strict=True)
            )
        ]
        return Rows({"pairs": pairs}, _right(task, place, table, [len(each) for each in pairs]))

    def inputs(self, rows: Rows) -> Sequence[Hashable]:
        """Return prompts and continuations."""
        return [tuple(pairs) for pairs in rows.columns["pairs"]]

    def encode(self, task: ChoiceTask, place: str, rows: Rows, reader: Reader) -> Arrays:
        """Tokenise every prompt with each choice."""
        questions = rows.columns["pairs"]
        encoded = encode_pairs(task, place, questions, rows.numbers, reader)
        return encoded | Texts.of([[target for _, target in pairs] for pairs in questions]).arrays()

    def outputs(self, method: AnyMethod, state: TrainState, subset: EvalSubset) -> Outputs:
        """Return ``logits`` (runs, examples, choices): log-likelihoods, very low if missing."""
        from gapbench.bench.tasks.token_outputs import token_outputs

        loss = token_outputs(method, state, subset)["loss"]
        counts = subset.split.target_counts[subset.sequences]
        sums = np.add.reduceat(loss, np.cumsum(counts) - counts, axis=1)
        return {"logits": np.stack([_by_example(subset, -each, _ABSENT) for each in sums])}

    def metric_inputs(self, task: ChoiceTask, outputs: Outputs, subset: EvalSubset) -> Inputs:
        """Return the likeliest choices, their likelihoods and lengths, and the right ones."""
        logits, targets = outputs["logits"], subset.targets
        characters = _split(subset).characters[subset.sequences].astype(np.float64)
        sizes = _by_example(subset, characters, 1.0)
        return {**classification.inputs(logits, targets), "choices": (logits, sizes, targets)}

    def loss(self, task: ChoiceTask, outputs: Outputs, subset: EvalSubset) -> float:
        """Return the mean loss of the softmax over choices."""
        targets = subset.targets
        log_probabilities = calibration.log_softmax(outputs["logits"])
        return 0.0 - float(log_probabilities[np.arange(len(targets)), targets].mean())

    def read_outputs(
        self, task: ChoiceTask, given: Predictions, table: Table, rows: Rows
    ) -> tuple[Inputs, Scores]:
        """Return the choices of a file and, with likelihoods, the scores of these."""
        lengths = [[len(text) for _, text in pairs] for pairs in rows.columns["pairs"]]
        found = given.choices(task, np.array([len(each) for each in lengths]))
        inputs: dict[str, tuple[Any, ...] | None] = {"labels": (found.predicted, rows.targets)}
        if found.logits is not None:
            most = found.logits.shape[1]
            characters = np.array([each + [1] * (most - len(each)) for each in lengths])
            inputs["choices"] = (found.logits, characters, rows.targets)
        return inputs, found.calibration(rows.targets)

    def calibrate(
        self, validation: tuple[Outputs, EvalSubset] | None, test: tuple[Outputs, EvalSubset]
    ) -> Calibration:
        """Return calibration of the softmax over each question's choices."""
        return calibrated(validation, test)

    def best_possible(self, task: ChoiceTask, test: EncodedSplit) -> Truth | None:
        """Return the scores of the true probabilities of the choices."""
        return truth_of_classes(test, "accuracy")

    def table(self, outputs: Outputs, subset: EvalSubset) -> pa.Table:
        """Return the right choice and the log-likelihood of each choice, null if missing."""
        logits = np.where(outputs["logits"] == _ABSENT, np.nan, outputs["logits"])
        return pa.table(label_columns({"logits": logits}, subset))


def _options(choice: Choices, place: str, table: Table) -> list[list[str]]:
    """Return the choices of every question."""
    if isinstance(choice.options, str):
        options = list_column(place, table, choice.options)
    else:
        listed = [text_column(place, table, name) for name in choice.options]
        options = [list(texts) for texts in zip(*listed, strict=True)]
    return [[choice.cleaned(text) for text in texts] for texts in options]


def _right(task: ChoiceTask, place: str, table: Table, sizes: Sequence[int]) -> NDArray[np.int64]:
    """Return the right choice of every question, (n,), among ``sizes`` choices.

    Raises:
        DataError: naming the first row that holds none of its choices.
    """
    if task.choice.names is None:
        return choice_numbers(task, place, table, sizes)
    values = column(place, table, task.label)
    names_of_rows = list_column(place, table, task.choice.names)
    for row, (value, known) in enumerate(zip(values, names_of_rows, strict=True)):
        if value not in known:
            raise illegal(place, row, task.label, value, f"one of {', '.join(known)}")
    places = [known.index(v) for v, known in zip(values, names_of_rows, strict=True)]
    return np.array(places, dtype=np.int64)


def _pairs(
    place: str, row: int, prompt: str, options: Sequence[str], blank: str | None
) -> list[tuple[str, str]]:
    """Return the prompt and the scored text of each choice."""
    if len(options) < 2 or not all(option.strip() for option in options):
        raise DataError(
            f"{place}, row {row}: choices are {list(options)!r}; give at least two, none empty"
        )
    if blank is None:
        return [(prompt, option) for option in options]
    before, mark, after = prompt.partition(blank)
    if not mark or not after.strip():
        raise DataError(
            f"{place}, row {row}: expected the mark {blank!r} in the text, and words after it; got "
            f"{prompt[:60]!r}; correct the row, or the task's field 'choice.blank'"
        )
    return [(before + option, after.strip()) for option in options]


def _by_example(
    subset: EvalSubset, values: NDArray[np.float64], absent: float
) -> NDArray[np.float64]:
    """Arrange one value per sequence as (examples, most choices)."""
    counts = np.diff(_split(subset).sequence_offsets)
    present = np.arange(int(counts.max())) < counts[subset.examples][:, None]
    out = np.full(present.shape, absent)
    out[present] = values
    return out


def _split(subset: EvalSubset) -> ChoiceSplit:
    assert isinstance(subset.split, ChoiceSplit)  # noqa: S101 - for the type
    return subset.split
