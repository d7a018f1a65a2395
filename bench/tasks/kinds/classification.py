"""Classification: one class for each text or pair of texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import model_validator

from gapbench.bench.core.errors import DataError
from gapbench.bench.data.encoded import EncodedSplit
from gapbench.bench.data.rows import Rows, Table, class_column, text_column
from gapbench.bench.metrics import calibration, classification
from gapbench.bench.metrics.base import Inputs
from gapbench.bench.store.record import Calibration, Scores, Truth
from gapbench.bench.tasks.kinds.base import InitKind, Outputs
from gapbench.bench.tasks.kinds.labels import LabelledTask, Labels, are_values, numbers_of

if TYPE_CHECKING:
    from gapbench.bench.tasks.eval_subset import EvalSubset
    from gapbench.bench.tasks.predictions import Predictions


class ClassificationTask(LabelledTask):
    """A text or a pair of texts with one class."""

    measures: ClassVar[tuple[str, ...]] = ("labels",)

    kind: Literal["classification"]

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        if len(self.labels) < 2:
            raise ValueError("field 'labels' must name at least two classes")
        for field, names in (("metrics", self.metrics), ("checkpoint_metric", (self.selection,))):
            if "f1" in names and len(self.labels) > 2:
                raise ValueError(
                    f"field {field!r}: 'f1' is that of the second of two classes, but 'labels' has "
                    f"{len(self.labels)}; use accuracy or matthews_correlation"
                )
        return self

    @property
    def n_outputs(self) -> int:
        """Number of classes."""
        return len(self.labels)


class Classification(Labels[ClassificationTask], InitKind):
    """One class for each text or pair of texts."""

    Task = ClassificationTask
    init_option = "label"

    def infers(self, labels: Sequence[Any]) -> bool:
        """Whether labels can be classes: not regression values."""
        return not are_values(labels)

    def from_labels(self, column: str, labels: Sequence[Any]) -> dict[str, Any]:
        """Return the classes in order: names, or whole numbers."""
        metrics = ["accuracy", "matthews_correlation"]
        return {"labels": _classes(column, labels), "metrics": metrics}

    def absent_classes(self, task: ClassificationTask, split: EncodedSplit | Rows) -> list[str]:
        """Return the names of the classes without an example in a split."""
        present = {*split.targets.tolist()}
        return [str(name) for number, name in enumerate(task.labels) if number not in present]

    def read(self, task: ClassificationTask, place: str, table: Table) -> Rows:
        """Return texts by column, and classes."""
        texts = {name: text_column(place, table, name) for name in task.text}
        return Rows(texts, class_column(task, place, table))

    def read_outputs(
        self, task: ClassificationTask, given: Predictions, table: Table, rows: Rows
    ) -> tuple[Inputs, Scores]:
        """Return the classes of a file, and calibration if it also holds likelihoods."""
        found = given.classes(task)
        return {"labels": (found.predicted, rows.targets)}, found.calibration(rows.targets)

    def calibrate(
        self, validation: tuple[Outputs, EvalSubset] | None, test: tuple[Outputs, EvalSubset]
    ) -> Calibration:
        """Fit the temperature on validation and measure test calibration."""
        return calibrated(validation, test)

    def best_possible(self, task: ClassificationTask, test: EncodedSplit) -> Truth | None:
        """Return the scores of the true probabilities."""
        return truth_of_classes(test, task.metrics[0])


def _classes(column: str, labels: Sequence[Any]) -> list[str] | list[int]:
    if all(isinstance(label, bool) for label in labels):
        return ["false", "true"]
    named = all(isinstance(label, str) for label in labels)
    whole = [number for number in numbers_of(labels) if float(number).is_integer()]
    if not named and len(whole) < len(labels):
        some = ", ".join(map(repr, list(dict.fromkeys(map(str, labels)))[:4]))
        raise DataError(
            f"column {column!r} holds {some}; classes must be all text or all whole numbers; "
            "correct it"
        )
    known = {label.strip() if named else label for label in labels}
    classes = sorted(known, key=_natural if named else None)
    if len(classes) < 2:
        raise DataError(f"column {column!r} holds only {classes[0]!r}; give at least two classes")
    if len(classes) > len(labels) // 2:
        raise DataError(
            f"column {column!r} holds {len(classes)} different values in {len(labels)} rows, such "
            f"as {classes[0]!r}; these are not classes; give another column by --label, --target "
            "for text to generate, or --kind regression for numbers"
        )
    return classes if named else [int(number) for number in classes]


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that compares numbers in names: "class 2" before "class 10"."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part) if part.isdecimal() else -1, part) for part in parts]


def calibrated(
    validation: tuple[Outputs, EvalSubset] | None, test: tuple[Outputs, EvalSubset]
) -> Calibration:
    """Fit the temperature on validation, if any; measure calibration on test, also with it."""
    temperature = None
    if validation is not None:
        made, subset = validation
        temperature = calibration.fit_temperature(made["logits"], subset.targets)
    report = calibration.calibration_report(test[0]["logits"], test[1].targets, temperature)
    return Calibration(temperature=temperature, **report)


def truth_of_classes(test: EncodedSplit, metric: str) -> Truth | None:
    """Return the scores of a predictor that knows the true probabilities; None if unknown."""
    if test.truth is None:
        return None
    logits: Any = np.log(np.clip(test.truth, 1e-12, None))
    report = calibration.calibration_report(logits, test.targets, None)
    return Truth(
        score=classification.score([metric], logits, test.targets)[metric],
        ece=report["ece"],
        brier=report["brier"],
        nll=report["nll"],
    )
