"""Regression: one value for each text or pair of texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gapbench.bench.config.task import Loss
from gapbench.bench.core.errors import DataError
from gapbench.bench.data.encoded import Arrays, EncodedSplit, ScaledSplit
from gapbench.bench.data.rows import Rows, Table, column, illegal, text_column
from gapbench.bench.metrics import classification
from gapbench.bench.metrics.base import Inputs
from gapbench.bench.store.record import Scores, Truth
from gapbench.bench.tasks.kinds.base import InitKind, Outputs
from gapbench.bench.tasks.kinds.labels import LabelledTask, Labels, are_values, numbers_of

if TYPE_CHECKING:
    from gapbench.bench.adaptation.method import AnyMethod
    from gapbench.bench.adaptation.train_state import TrainState
    from gapbench.bench.models.backbone import Reader
    from gapbench.bench.tasks.eval_subset import EvalSubset
    from gapbench.bench.tasks.predictions import Predictions

_LARGE, _SMALL = 10.0, 0.1  # mean or deviation, and deviation, of values that need a scale


class RegressionTask(LabelledTask):
    """A text or a pair of texts with one value."""

    loss: ClassVar[Loss] = "squared_error"
    measures: ClassVar[tuple[str, ...]] = ("values",)

    kind: Literal["regression"]
    scale: tuple[float, float] | None = Field(
        default=None,
        description="centre and size of the values: models learn (value - centre) / size, while "
        "scores, losses and predictions are of the values; None: models learn the values",
    )

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.label_range is None:
            raise ValueError("field 'label_range' must give the lowest and highest target")
        if self.scale is not None and self.scale[1] <= 0:
            raise ValueError(f"field 'scale' is {list(self.scale)}; the size must be above 0")
        return self


class Regression(Labels[RegressionTask], InitKind):
    """One value for each text or pair of texts."""

    Task = RegressionTask
    Split: ClassVar[type[EncodedSplit]] = ScaledSplit
    init_option = "label"

    def infers(self, labels: Sequence[Any]) -> bool:
        """Whether labels are numbers that cannot be classes."""
        return are_values(labels)

    def from_labels(self, column: str, labels: Sequence[Any]) -> dict[str, Any]:
        """Return a range around the values, and a scale if they are far from unit size."""
        numbers = numbers_of(labels)
        if len(numbers) < len(labels) or len({*numbers}) < 2:
            odd = next((value for value in labels if value not in numbers), labels[0])
            raise DataError(
                f"column {column!r} holds {odd!r}; a regression needs finite numbers that differ"
            )
        ends = [math.floor(min(numbers)), math.ceil(max(numbers))]
        far = scale_of(numbers)
        scale = {} if far is None else {"scale": list(far)}
        return {"label_range": ends, **scale, "metrics": ["pearson", "spearman", "mse"]}

    def read(self, task: RegressionTask, place: str, table: Table) -> Rows:
        """Return texts by column, and values."""
        texts = {name: text_column(place, table, name) for name in task.text}
        return Rows(texts, _values(task, place, table))

    def encode(self, task: RegressionTask, place: str, rows: Rows, reader: Reader) -> Arrays:
        """Tokenise as `Labels` does, and keep the scale of the values."""
        arrays = super().encode(task, place, rows, reader)
        return arrays if task.scale is None else arrays | {"scale": np.array(task.scale)}

    def outputs(self, method: AnyMethod, state: TrainState, subset: EvalSubset) -> Outputs:
        """Return ``logits`` (runs, examples, 1) in the unit of the values, float64."""
        made = super().outputs(method, state, subset)
        task = state.task  # that was trained, also where another one's rows are scored
        assert isinstance(task, RegressionTask)  # noqa: S101 - it has this head
        centre, size = task.scale or (0.0, 1.0)
        return {"logits": made["logits"] * size + centre}

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


def scale_of(values: Sequence[float]) -> tuple[float, float] | None:
    """Return centre and size of values that a new head is far from, with three digits.

    It begins at 0, and a step of training moves it by a small part of 1.
    """
    mean, deviation = float(np.mean(values)), float(np.std(values))
    if max(abs(mean), deviation) <= _LARGE and deviation >= _SMALL:
        return None
    return float(f"{mean:.3g}"), float(f"{deviation:.3g}")


def _values(task: RegressionTask, place: str, table: Table) -> NDArray[Any]:
    """Return targets, (n,) float32."""
    values = column(place, table, task.label)
    low, high = task.label_range or (0, 0)
    for row, value in enumerate(values):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and low <= value <= high):
            raise illegal(place, row, task.label, value, f"numbers from {low} to {high}")
    return np.asarray(values, dtype=np.float32)
