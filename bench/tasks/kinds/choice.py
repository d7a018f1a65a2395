"""Multiple choice: a language model scores each choice by the likelihood of its tokens.

Training is on the tokens of the right choice, as in supervised fine-tuning. A choice's score is the
sum of its tokens' log-probabilities; `accuracy_norm` divides it by the choice's characters.
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapbench.bench.adaptation.method import AnyMethod, TrainState
from gapbench.bench.config import task as task_config
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import DataError
from gapbench.bench.data.encoded import Arrays, ChoiceSplit, EncodedSplit, Texts
from gapbench.bench.data.rows import Rows, Table, choice_column, list_column, text_column
from gapbench.bench.metrics import calibration, classification
from gapbench.bench.models.backbone import Reader
from gapbench.bench.store.record import Calibration, SplitScores, Truth
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.kinds.base import Outputs, TaskKind
from gapbench.bench.tasks.kinds.causal import encode_pairs, token_outputs
from gapbench.bench.tasks.kinds.labels import calibrated, truth_of_classes

_ABSENT = -1e9  # log-likelihood of a choice that a question does not have; finite, for differences


class Choice(TaskKind):
    """Each unit is a question; each of its choices is a sequence."""

    def read(self, task: Task, place: str, table: Mapping[str, Sequence[Any]]) -> Rows:
        """Return prompt and continuation of every choice, and the right ones."""
        assert task.choice is not None  # noqa: S101 - the task's own check
        columns = [text_column(place, table, name) for name in task.text]
        prompts = [task.fill(texts) for texts in zip(*columns, strict=True)]
        pairs = [
            _pairs(place, row, _cleaned(prompt, task.choice), texts, task.choice.blank)
            for row, (prompt, texts) in enumerate(
                zip(prompts, _options(task.choice, place, table), strict=True)
            )
        ]
        targets = choice_column(task, place, table, [len(each) for each in pairs])
        return Rows({"pairs": pairs}, targets)

    def inputs(self, rows: Rows) -> Sequence[Hashable]:
        """Return prompts and continuations."""
        return [tuple(pairs) for pairs in rows.columns["pairs"]]

    def encode(self, task: Task, place: str, rows: Rows, reader: Reader) -> Arrays:
        """Tokenise every prompt with each choice."""
        questions = rows.columns["pairs"]
        encoded = encode_pairs(task, place, questions, rows.numbers, reader)
        return encoded | Texts.of([[target for _, target in pairs] for pairs in questions]).arrays()

    def load(self, arrays: Arrays, pad_id: int) -> EncodedSplit:
        """Return a split from its arrays."""
        plain = {name: values for name, values in arrays.items() if "." not in name}
        return ChoiceSplit(**plain, texts=Texts.from_arrays(arrays), pad_id=pad_id)

    def outputs(self, method: AnyMethod, state: TrainState, subset: EvalSubset) -> Outputs:
        """Return ``logits`` (runs, units, choices): log-likelihoods, very low where none is."""
        loss = token_outputs(method, state, subset)["loss"]
        counts = subset.split.decision_counts[subset.sequences]
        sums = np.add.reduceat(loss, np.cumsum(counts) - counts, axis=1)
        return {"logits": np.stack([_by_unit(subset, -each, _ABSENT) for each in sums])}

    def score(
        self, task: Task, outputs: Outputs, subset: EvalSubset, names: Sequence[str]
    ) -> SplitScores:
        """Return accuracies of the likeliest choices, and the loss of the softmax over choices."""
        logits, targets = outputs["logits"], subset.targets
        plain = [name for name in names if classification.get(name).kind == "labels"]
        scores = classification.score(plain, logits, targets)
        if "accuracy_norm" in names:
            split = subset.split
            assert isinstance(split, ChoiceSplit)  # noqa: S101 - of this kind
            sizes = _by_unit(subset, split.characters[subset.sequences].astype(np.float64), 1.0)
            scores["accuracy_norm"] = classification.accuracy_norm(logits, sizes, targets)
        chosen = calibration.log_softmax(logits)[np.arange(len(targets)), targets]
        return SplitScores(
            metrics={name: scores[name] for name in names},
            loss=0.0 - float(chosen.mean()),
            examples=len(targets),
        )

    def calibrate(
        self, validation: tuple[Outputs, EvalSubset], test: tuple[Outputs, EvalSubset]
    ) -> Calibration:
        """Return calibration of the softmax over each question's choices."""
        pairs = [(outputs["logits"], subset.targets) for outputs, subset in (validation, test)]
        return calibrated(*pairs)

    def best_possible(self, task: Task, test: EncodedSplit) -> Truth | None:
        """Return what the true probabilities of the choices score."""
        if test.truth is None:
            return None
        return truth_of_classes(test.truth, test.targets, "accuracy")

    def table(self, outputs: Outputs, subset: EvalSubset) -> pa.Table:
        """Return the right choice and the log-likelihood of each, null where there is none."""
        logits = np.where(outputs["logits"] == _ABSENT, np.nan, outputs["logits"])
        columns: dict[str, Any] = {
            "example_id": subset.split.example_ids[subset.units],
            "label": subset.targets,
        }
        columns |= {
            f"logit_{k}": pa.array(logits[:, k], from_pandas=True) for k in range(logits.shape[1])
        }
        return pa.table(columns)


def _options(choice: task_config.Choice, place: str, table: Table) -> list[list[str]]:
    """Return the choices of every question."""
    if isinstance(choice.options, str):
        options = list_column(place, table, choice.options)
    else:
        listed = [text_column(place, table, name) for name in choice.options]
        options = [list(texts) for texts in zip(*listed, strict=True)]
    return [[_cleaned(text, choice) for text in texts] for texts in options]


def _cleaned(text: str, choice: task_config.Choice) -> str:
    """Return a text with the task's replacements, without blanks around it."""
    for pattern, new in choice.replace:
        text = re.sub(pattern, new, text)
    return text.strip()


def _pairs(
    place: str, row: int, prompt: str, options: Sequence[str], blank: str | None
) -> list[tuple[str, str]]:
    """Return what is given and what is scored of each choice."""
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
            f"{prompt[:60]!r}; mend the row, or the task's field 'choice.blank'"
        )
    return [(before + option, after.strip()) for option in options]


def _by_unit(subset: EvalSubset, values: NDArray[np.float64], absent: float) -> NDArray[np.float64]:
    """Lay one number a sequence out as (units, most choices)."""
    split = subset.split
    assert isinstance(split, ChoiceSplit)  # noqa: S101 - of this kind
    counts = np.diff(split.units)[subset.units]
    most = int(np.diff(split.units).max())
    present = np.arange(most) < counts[:, None]
    out = np.full(present.shape, absent)
    out[present] = values
    return out
