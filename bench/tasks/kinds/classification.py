"""Classification: one class for each text or pair of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import model_validator

from gapbench.bench.data.encoded import EncodedSplit
from gapbench.bench.data.rows import Rows, Table, class_column, text_column
from gapbench.bench.metrics import calibration, classification
from gapbench.bench.metrics.base import Inputs
from gapbench.bench.store.record import Calibration, Scores, Truth
from gapbench.bench.tasks.kinds.base import Outputs
from gapbench.bench.tasks.kinds.labels import LabelledTask, Labels

if TYPE_CHECKING:
    from gapbench.bench.tasks.eval_subset import EvalSubset
    from gapbench.bench.tasks.predictions import Predictions


class ClassificationTask(LabelledTask):
    """A text or a pair of texts with one of some classes."""

    measures: ClassVar[tuple[str, ...]] = ("labels",)

    kind: Literal["classification"]

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        if len(self.labels) < 2:
            raise ValueError("field 'labels' must name at least two classes")
        return self

    @property
    def n_outputs(self) -> int:
        """Number of classes."""
        return len(self.labels)


class Classification(Labels[ClassificationTask]):
    """One class for each text or pair of texts."""

    Task = ClassificationTask

    def read(self, task: ClassificationTask, place: str, table: Table) -> Rows:
        """Return texts by column, and classes."""
        texts = {name: text_column(place, table, name) for name in task.text}
        return Rows(texts, class_column(task, place, table))

    def read_outputs(
        self, task: ClassificationTask, given: Predictions, table: Table, rows: Rows
    ) -> tuple[Inputs, Scores]:
        """Return the classes of a file, and calibration if it holds more than these."""
        found = given.classes(task)
        return {"labels": (found.predicted, rows.targets)}, found.calibration(rows.targets)

    def calibrate(
        self, validation: tuple[Outputs, EvalSubset], test: tuple[Outputs, EvalSubset]
    ) -> Calibration:
        """Fit the temperature on validation and measure test calibration."""
        return calibrated(validation, test)

    def best_possible(self, task: ClassificationTask, test: EncodedSplit) -> Truth | None:
        """Return what the true probabilities score."""
        return truth_of_classes(test, task.metrics[0])


def calibrated(
    validation: tuple[Outputs, EvalSubset], test: tuple[Outputs, EvalSubset]
) -> Calibration:
    """Fit the temperature on logits and labels of validation; measure both on those of test."""
    fitted, tested = ((made["logits"], subset.targets) for made, subset in (validation, test))
    temperature = calibration.fit_temperature(*fitted)
    report = calibration.calibration_report(*tested, temperature)
    return Calibration(temperature=temperature, **report)


def truth_of_classes(test: EncodedSplit, metric: str) -> Truth | None:
    """Return the scores of the predictor that knows the probabilities, None if nobody does."""
    if test.truth is None:
        return None
    logits: Any = np.log(np.clip(test.truth, 1e-12, None))
    report = calibration.calibration_report(logits, test.targets, 1.0)
    return Truth(
        score=classification.score([metric], logits, test.targets)[metric],
        ece=report["ece"],
        brier=report["brier"],
        nll=report["nll"],
    )
