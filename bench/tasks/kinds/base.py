"""The interface of a kind of task: its fields, its sequences, and how its outputs are scored.

A new kind is one file here, with a class of tasks and a `TaskKind` that names it. Such files load
torch in the methods that use a model, not when they are imported.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapbench.bench.config import task as task_config
from gapbench.bench.data.encoded import Arrays, EncodedSplit, Texts
from gapbench.bench.data.rows import Rows, Table
from gapbench.bench.metrics.base import Inputs, Metric, compute
from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.store.items import ItemTable
from gapbench.bench.store.record import Calibration, Scores, SplitScores, Truth
from gapbench.bench.store.record_io import ITEM

if TYPE_CHECKING:
    from gapbench.bench.adaptation.method import AnyMethod
    from gapbench.bench.adaptation.train_state import TrainState
    from gapbench.bench.models.backbone import Reader
    from gapbench.bench.tasks.eval_subset import EvalSubset
    from gapbench.bench.tasks.predictions import Predictions

Outputs: TypeAlias = dict[str, NDArray[Any]]
_OF_NO_PART = {"tokens", "parts"}  # measured quantities without one value for each example
TaskT = TypeVar("TaskT", bound=task_config.Task)


class TaskKind(ABC, Generic[TaskT]):
    """One kind of task: its data and scores. Methods and the training loop know no kinds.

    Attributes:
        Task: class of the tasks of this kind; it also defines their head and loss.
        Split: class of the encoded splits of these tasks.
        final_train_size: training sequences scored at the end; the record holds the number of
            examples.
        not_in_files: quantities that metrics measure but no file of outputs holds, with the reason.
    """

    Task: ClassVar[type[task_config.Task]]
    Split: ClassVar[type[EncodedSplit]] = EncodedSplit
    final_train_size: ClassVar[int] = 10_000
    not_in_files: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def read(self, task: TaskT, place: str, table: Table) -> Rows:
        """Return the rows of one official split, checked against the task.

        Raises:
            DataError: naming ``place``, column, row and value at fault.
        """

    def absent_classes(self, task: TaskT, split: EncodedSplit | Rows) -> list[str]:
        """Return the names of the classes without an example in a split."""
        return []

    def read_references(self, task: TaskT, place: str, table: Table) -> Rows:
        """Return the rows of a reference file for scoring, like `read`."""
        return self.read(task, place, table)

    def inputs(self, rows: Rows) -> Sequence[Hashable]:
        """Return the model input of each example, to find examples with equal inputs."""
        return list(zip(*rows.columns.values(), strict=True))

    @abstractmethod
    def encode(self, task: TaskT, place: str, rows: Rows, reader: Reader) -> Arrays:
        """Return the arrays of the split that `load` takes, without targets and row numbers.

        Raises:
            DataError: naming ``place`` and row, if uncuttable text does not fit the window.
        """

    def load(self, arrays: Arrays, pad_id: int) -> EncodedSplit:
        """Return a split from its arrays, which may include those of `Texts`."""
        fields: dict[str, Any] = {n: values for n, values in arrays.items() if "." not in n}
        if len(fields) < len(arrays):
            fields["texts"] = Texts.from_arrays(arrays)
        return self.Split(**fields, pad_id=pad_id)

    @abstractmethod
    def outputs(self, method: AnyMethod, state: TrainState, subset: EvalSubset) -> Outputs:
        """Return the outputs of every active run that scores need; each array is (runs, ...)."""

    def finish(
        self, method: AnyMethod, state: TrainState, subset: EvalSubset, tokenizer: Any
    ) -> Outputs:
        """Return outputs for the final scores only, such as decoded texts; arrays (runs, ...)."""
        return {}

    def narrowed(self, outputs: Outputs, subset: EvalSubset, part: EvalSubset) -> Outputs:
        """Return one run's outputs for those examples of a subset that ``part`` holds.

        By default every array has one value per example.
        """
        places = np.searchsorted(subset.examples, part.examples)
        return {name: values[places] for name, values in outputs.items()}

    @abstractmethod
    def metric_inputs(self, task: TaskT, outputs: Outputs, subset: EvalSubset) -> Inputs:
        """Return the inputs of metrics from one run's outputs."""

    def loss(self, task: TaskT, outputs: Outputs, subset: EvalSubset) -> float:
        """Return the mean loss of one run's outputs."""
        return float(np.mean(outputs["loss"]))

    def score(
        self, task: TaskT, outputs: Outputs, subset: EvalSubset, names: Sequence[str]
    ) -> SplitScores:
        """Return the named metrics and the mean loss of one run's outputs.

        Metrics of something that each example has one of are also given by part, as is what
        `calibration_of_part` returns.
        """
        inputs = self.metric_inputs(task, outputs, subset)
        known = scored_by_part(inputs, names)
        parts = by_part(inputs, self.parts(task, self.part_names(subset)) if known else [])
        return SplitScores(
            metrics=compute(names, inputs),
            loss=self.loss(task, outputs, subset),
            examples=len(subset.examples),
            parts={
                part: compute(known, own) | self.calibration_of_part(own)
                for part, own in parts.items()
            },
        )

    def calibration_of_part(self, inputs: Inputs) -> Scores:
        """Return the calibration error of a part, and a calibrated model's; empty if undefined."""
        return {}

    def part_names(self, subset: EvalSubset) -> Sequence[str]:
        """Return the part that each example belongs to, "" for none; empty without parts."""
        return []

    def parts(self, task: TaskT, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Return all parts of each example, from its part's name."""
        return [(name,) if name else () for name in names]

    @abstractmethod
    def read_outputs(
        self, task: TaskT, given: Predictions, table: Table, rows: Rows
    ) -> tuple[Inputs, Scores]:
        """Return the inputs of metrics from a file of outputs, and scores that are not metrics.

        Args:
            task: task that defines the columns.
            given: file of outputs.
            table: references as stored.
            rows: references as `read` returns them.

        Raises:
            DataError: naming the file and its fault.
        """

    def final_metrics(self, task: TaskT, split: str) -> Sequence[str]:
        """Return the metrics that are computed on a split at the end."""
        return tuple(dict.fromkeys((*task.metrics, task.selection)))

    def calibrate(
        self, validation: tuple[Outputs, EvalSubset] | None, test: tuple[Outputs, EvalSubset]
    ) -> Calibration | None:
        """Return a run's calibration on test at the temperature of validation, None if undefined.

        Without a validation split there is no temperature.
        """
        return None

    @classmethod
    def calibrates(cls) -> bool:
        """Whether runs of the kind have a calibration error."""
        return cls.calibrate is not TaskKind.calibrate

    def best_possible(self, task: TaskT, test: EncodedSplit) -> Truth | None:
        """Return the scores of the truth on a test split, where it is known."""
        return None

    @abstractmethod
    def table(self, outputs: Outputs, subset: EvalSubset) -> pa.Table:
        """Return one run's outputs, one row per example: ``example_id`` and readable outputs.

        Labels or values are in ``label``, their outputs in ``logit_0``, ``logit_1``, ...
        """

    def predictions(
        self, task: TaskT, outputs: Outputs, subset: EvalSubset, names: Sequence[str]
    ) -> pa.Table:
        """Return the stored table of one run and split: `table` and example-wise score values.

        The latter are a column ``item_<metric>`` for each of the named metrics, except those that
        reports compute from the columns ``label`` and ``logit_0``, ``logit_1``, ... A kind that
        takes its labels from the logits in a way of its own has a column for these too.
        """
        table, inputs = self.table(outputs, subset), self.metric_inputs(task, outputs, subset)
        computed = ItemTable(table)
        for metric in map(get_metric, names):
            values = self.item_values(metric, inputs, subset)
            if values is not None and not _are_told(computed, metric, values):
                column = pa.array(values.astype(np.float32))
                table = table.append_column(f"{ITEM}{metric.name}", column)
        return table

    def item_values(
        self, metric: Metric, inputs: Inputs, subset: EvalSubset
    ) -> NDArray[np.float64] | None:
        """Return the contribution of each example to a score, (examples,), None if unknown.

        Args:
            metric: metric of the score.
            inputs: result of `metric_inputs`.
            subset: examples of the inputs.
        """
        arguments = inputs.get(metric.measures)
        return None if arguments is None else metric.pseudovalues(*arguments)


AnyKind: TypeAlias = TaskKind[Any]


class InitKind(ABC):
    """A kind whose tasks `gapbench init` makes from a column of labels.

    Attributes:
        init_option: option that names the column.
    """

    init_option: ClassVar[Literal["label", "target"]]

    @abstractmethod
    def infers(self, labels: Sequence[Any]) -> bool:
        """Whether `gapbench init` assigns labels to this kind, among the kinds of its option."""

    @abstractmethod
    def from_labels(self, column: str, labels: Sequence[Any]) -> dict[str, Any]:
        """Return the fields of a task that follow from its labels.

        Args:
            column: name of the column.
            labels: labels of all rows, none missing.

        Raises:
            DataError: if the labels do not fit this kind.
        """


def _are_told(computed: ItemTable, metric: Metric, values: NDArray[np.float64]) -> bool:
    """Whether reports compute these values from a table of labels and logits."""
    if metric.measures not in {"labels", "values"}:
        return False
    found = computed.values(metric.name)
    return found is not None and np.allclose(found, values, equal_nan=True)


def rows_of(counts: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of some examples, where example i has ``counts[i]`` adjacent rows."""
    ends = np.cumsum(counts)
    rows = [np.arange(ends[place] - counts[place], ends[place]) for place in places]
    return np.concatenate(rows)


def scored_by_part(inputs: Inputs, names: Sequence[str]) -> list[str]:
    """Return those of some metrics that each part has too; a mean over parts is none of them."""
    return [name for name in names if get_metric(name).measures in inputs.keys() - _OF_NO_PART]


def by_part(inputs: Inputs, parts: Sequence[Sequence[str]]) -> dict[str, Inputs]:
    """Split inputs with one value per example by part; an example may belong to several or none."""
    members: dict[str, list[int]] = {}
    for row, names in enumerate(parts):
        for name in names:
            members.setdefault(name, []).append(row)
    return {
        part: {
            measured: sides and tuple(_at(side, rows) for side in sides)
            for measured, sides in inputs.items()
            if measured not in _OF_NO_PART
        }
        for part, rows in sorted(members.items())
    }


def _at(values: Any, rows: list[int]) -> Any:
    return values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]


def finite(outputs: Outputs, position: int) -> bool:
    """Whether all numbers in a run's outputs are finite."""
    return all(
        bool(np.isfinite(values[position]).all())
        for values in outputs.values()
        if values.dtype.kind == "f"
    )


def of_run(outputs: Outputs, position: int) -> Outputs:
    """Return the outputs of one run."""
    return {name: values[position] for name, values in outputs.items()}
