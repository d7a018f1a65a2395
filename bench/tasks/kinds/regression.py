"""Regression: one value for each text or pair of texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from gapbench.bench.config.task import Loss
from gapbench.bench.core.errors import DataError
from gapbench.bench.data.encoded import EncodedSplit
from gapbench.bench.data.rows import Rows, Table, column, illegal, text_column
from gapbench.bench.metrics import classification
from gapbench.bench.metrics.base import Inputs
from gapbench.bench.store.record import Scores, Truth
from gapbench.bench.tasks.kinds.base import InitKind
from gapbench.bench.tasks.kinds.labels import LabelledTask, Labels, are_values, numbers_of

if TYPE_CHECKING:
    from gapbench.bench.tasks.predictions import Predictions


class RegressionTask(LabelledTask):
    """A text or a pair of texts with one value."""

    loss: ClassVar[Loss] = "squared_error"
    measures: ClassVar[tuple[str, ...]] = ("values",)

    kind: Literal["regression"]

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.label_range is None:
            raise ValueError("field 'label_range' must give the lowest and highest target")
        return self


class Regression(Labels[RegressionTask], InitKind):
    """One value for each text or pair of texts."""

    Task = RegressionTask
    init_option = "label"

    def infers(self, labels: Sequence[Any]) -> bool:
        """Whether labels are numbers that cannot be classes."""
        return are_values(labels)

    def from_labels(self, column: str, labels: Sequence[Any]) -> dict[str, Any]:
        """Return a range around the values."""
        numbers = numbers_of(labels)
        if len(numbers) < len(labels) or len({*numbers}) < 2:
            odd = next((value for value in labels if value not in numbers), labels[0])
            raise DataError(
                f"column {column!r} holds {odd!r}; a regression needs finite numbers that differ"
            )
        ends = [math.floor(min(numbers)), math.ceil(max(numbers))]
        return {"label_range": ends, "metrics": ["pearson", "spearman", "mse"]}

    def read(self, task: RegressionTask, place: str, table: Table) -> Rows:
        """Return texts by column, and values."""
        texts = {name: text_column(place, table, name) for name in task.text}
        return Rows(texts, _values(task, place, table))

    def read_outputs(
        self, task: RegressionTask, given: Predictions, table: Table, rows: Rows
    ) -> tuple[Inputs, Scores]:
        """Return the values of a file."""
        return {"values": (given.values(), rows.targets)}, {}

    def best_possible(self, task: RegressionTask, test: EncodedSplit) -> Truth | None:
        """Return the scores of the true means."""
        if test.truth is None:
            return None
        main = task.metrics[0]
        return Truth(score=classification.score([main], test.truth, test.targets)[main])


def _values(task: RegressionTask, place: str, table: Table) -> NDArray[Any]:
    """Return targets, (n,) float32."""
    values = column(place, table, task.label)
    low, high = task.label_range or (0, 0)
    for row, value in enumerate(values):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and low <= value <= high):
            raise illegal(place, row, task.label, value, f"numbers from {low} to {high}")
    return np.asarray(values, dtype=np.float32)
