"""Multiple choice: a language model scores each choice by the likelihood of its tokens.

Training is on the tokens of the right choice, as in supervised fine-tuning. A choice's score is the
sum of its tokens' log-probabilities; `accuracy_norm` divides it by the choice's characters.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapbench.bench.core.errors import DataError
from gapbench.bench.data.encoded import Arrays, CausalSplit, EncodedSplit, Indices, Texts
from gapbench.bench.data.rows import (
    Rows,
    Table,
    choice_numbers,
    column,
    illegal,
    list_column,
    part_column,
)
from gapbench.bench.metrics import calibration, classification
from gapbench.bench.metrics.base import Inputs
from gapbench.bench.store.record import Calibration, Scores, Truth
from gapbench.bench.tasks.kinds.base import Outputs, TaskKind
from gapbench.bench.tasks.kinds.choice_task import LETTERS, Choices, ChoiceTask, given_options
from gapbench.bench.tasks.kinds.classification import calibrated, truth_of_classes
from gapbench.bench.tasks.kinds.labels import label_columns
from gapbench.bench.tasks.kinds.prompts import encode_pairs
from gapbench.bench.tasks.kinds.shots import ShotsKind

if TYPE_CHECKING:
    from gapbench.bench.adaptation.method import AnyMethod
    from gapbench.bench.adaptation.train_state import TrainState
    from gapbench.bench.models.backbone import Reader
    from gapbench.bench.tasks.eval_subset import EvalSubset
    from gapbench.bench.tasks.predictions import Predictions

_ABSENT = -1e9  # log-likelihood of a missing choice; finite, so that differences are too


@dataclass(frozen=True, kw_only=True)
class ChoiceSplit(CausalSplit):
    """Each example is a question with one sequence per choice; ``targets`` are the right ones."""

    @property
    def trained(self) -> Indices:
        """Return the sequences of the right choices."""
        right: Indices = self.sequence_offsets[:-1] + self.targets
        return right


class Choice(TaskKind[ChoiceTask], ShotsKind):
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
            _pairs(place, row, choice.cleaned(prompt), texts, choice)
            for row, (prompt, texts) in enumerate(
                zip(task.prompts(place, table), _options(choice, place, table), strict=True)
            )
        ]
        columns: dict[str, Sequence[Any]] = {
            "pairs": pairs,
            "part": _parts(task, place, table, len(pairs)),
        }
        return Rows(columns, _right(task, place, table, [len(each) for each in pairs]))

    def solved(self, rows: Rows) -> list[str]:
        """Return each prompt with the right choice."""
        pairs = zip(rows.columns["pairs"], rows.targets, strict=True)
        return [" ".join(options[right]) for options, right in pairs]

    def preceded(self, rows: Rows, texts: Sequence[str]) -> Rows:
        """Return examples with a text before each prompt."""
        pairs = [
            [(text + prompt, option) for prompt, option in options]
            for text, options in zip(texts, rows.columns["pairs"], strict=True)
        ]
        return replace(rows, columns={**rows.columns, "pairs": pairs})

    def inputs(self, rows: Rows) -> Sequence[Hashable]:
        """Return prompts and continuations."""
        return [tuple(pairs) for pairs in rows.columns["pairs"]]

    def encode(self, task: ChoiceTask, place: str, rows: Rows, reader: Reader) -> Arrays:
        """Tokenise every prompt with each choice."""
        questions = rows.columns["pairs"]
        encoded = encode_pairs(task, place, questions, rows.numbers, reader)
        held = [
            {"choices": [target for _, target in pairs], "part": part}
            for pairs, part in zip(questions, rows.columns["part"], strict=True)
        ]
        return encoded | Texts.of(held).arrays()

    def part_names(self, subset: EvalSubset) -> Sequence[str]:
        """Return the part that each question belongs to."""
        texts = _split(subset).texts
        return [texts[example]["part"] for example in subset.examples]

    def parts(self, task: ChoiceTask, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the part of each question, and the group of that part."""
        groups = {part: group for group, own in _groups(task).items() for part in own}
        return [tuple(filter(None, (name, groups.get(name)))) for name in names]

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
        inputs = {**classification.inputs(logits, targets), "choices": (logits, sizes, targets)}
        return inputs | _with_parts(inputs["labels"], self.part_names(subset))

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
        inputs |= _with_parts(inputs["labels"], rows.columns["part"])
        return inputs, found.calibration(rows.targets)

    def calibrate(
        self, validation: tuple[Outputs, EvalSubset] | None, test: tuple[Outputs, EvalSubset]
    ) -> Calibration:
        """Return calibration of the softmax over each question's choices."""
        return calibrated(validation, test)

    def calibration_of_part(self, inputs: Inputs) -> Scores:
        """Return that of the softmax over each question's choices."""
        if (known := inputs.get("choices")) is None:
            return {}
        logits, _, targets = known
        found = calibration.errors(calibration.softmax(logits), targets)
        return {name: found[name] for name in ("ece", "ece_floor")}

    def best_possible(self, task: ChoiceTask, test: EncodedSplit) -> Truth | None:
        """Return the scores of the true probabilities of the choices."""
        return truth_of_classes(test, "accuracy")

    def table(self, outputs: Outputs, subset: EvalSubset) -> pa.Table:
        """Return the right choice and the log-likelihood of each choice, null if missing."""
        logits = np.where(outputs["logits"] == _ABSENT, np.nan, outputs["logits"])
        return pa.table(label_columns({"logits": logits}, subset))


def _options(choice: Choices, place: str, table: Table) -> list[list[str]]:
    """Return the choices of every question."""
    given = given_options(choice, place, table)
    return [[choice.cleaned(text) for text in texts] for texts in given]


def _groups(task: ChoiceTask) -> Mapping[str, Sequence[str]]:
    return task.choice.part_groups or {}


def _parts(task: ChoiceTask, place: str, table: Table, size: int) -> list[str]:
    """Return the part of every question, "" for none.

    Raises:
        DataError: naming the first row whose part is in no group, if there are groups.
    """
    parts = part_column(task, task.choice.parts, place, table) or [""] * size
    known = {part for own in _groups(task).values() for part in own}
    for row, part in enumerate(parts):
        if known and part and part not in known:
            raise illegal(
                place, row, str(task.choice.parts), part, "the parts in 'choice.part_groups'"
            )
    return parts


def _with_parts(
    labels: tuple[Any, ...] | None, names: Sequence[str]
) -> dict[str, tuple[Any, ...] | None]:
    """Return the inputs of metrics over parts; None where no example has a part."""
    return {"parts": (*labels, np.array(names)) if labels is not None and any(names) else None}


def _right(task: ChoiceTask, place: str, table: Table, sizes: Sequence[int]) -> NDArray[np.int64]:
    """Return the number of the right choice of each question, (n,).

    Each question has as many choices as ``sizes`` says.

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
    place: str, row: int, prompt: str, options: Sequence[str], choice: Choices
) -> list[tuple[str, str]]:
    """Return the prompt and the scored text of each choice."""
    if len(options) < 2 or not all(option.strip() for option in options):
        raise DataError(
            f"{place}, row {row}: choices are {list(options)!r}; give at least two, none empty"
        )
    if choice.letters:
        if len(options) > len(LETTERS):
            raise DataError(
                f"{place}, row {row}: there are {len(options)} choices, more than letters; remove "
                "the row, or the task's field 'choice.letters'"
            )
        options = LETTERS[: len(options)]
    blank = choice.blank
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
