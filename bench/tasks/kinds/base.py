"""The interface of a kind of task: its rows, its sequences, and how its outputs are scored."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapbench.bench.adaptation.method import AnyMethod, TrainState
from gapbench.bench.config.task import Task
from gapbench.bench.data.encoded import Arrays, EncodedSplit
from gapbench.bench.data.rows import Rows
from gapbench.bench.models.backbone import Reader
from gapbench.bench.store.record import Calibration, SplitScores, Truth
from gapbench.bench.tasks.eval_subset import EvalSubset

Outputs = dict[str, NDArray[Any]]


class TaskKind(ABC):
    """What one kind of task means for data and scores; methods and the training loop know none.

    Attributes:
        final_train_size: training sequences scored at the end; the record says of how many units.
    """

    final_train_size: ClassVar[int] = 10_000

    @abstractmethod
    def read(self, task: Task, place: str, table: Mapping[str, Sequence[Any]]) -> Rows:
        """Return the rows of one official split, checked against the task.

        Raises:
            DataError: naming ``place``, column, row and value at fault.
        """

    def inputs(self, rows: Rows) -> Sequence[Hashable]:
        """Return what a model is given of each unit, to find units with equal inputs."""
        return list(zip(*rows.columns.values(), strict=True))

    @abstractmethod
    def encode(self, task: Task, place: str, rows: Rows, reader: Reader) -> Arrays:
        """Return the arrays of the split that `load` takes, without targets and row numbers.

        Raises:
            DataError: naming ``place`` and row, if what must not be cut does not fit the window.
        """

    @abstractmethod
    def load(self, arrays: Arrays, pad_id: int) -> EncodedSplit:
        """Return a split from its arrays."""

    @abstractmethod
    def outputs(self, method: AnyMethod, state: TrainState, subset: EvalSubset) -> Outputs:
        """Return what scores need of every active run; each array is (runs, ...)."""

    def finish(
        self,
        method: AnyMethod,
        state: TrainState,
        subset: EvalSubset,
        tokenizer: Any,
    ) -> Outputs:
        """Return what only the final scores need, such as decoded texts; each array (runs, ...)."""
        return {}

    @abstractmethod
    def score(
        self, task: Task, outputs: Outputs, subset: EvalSubset, names: Sequence[str]
    ) -> SplitScores:
        """Return the named metrics and the mean loss of one run's outputs."""

    def final_metrics(self, task: Task, split: str) -> Sequence[str]:
        """Return the metrics that are computed on a split at the end."""
        return tuple(dict.fromkeys((*task.metrics, task.selection)))

    def calibrate(
        self,
        validation: tuple[Outputs, EvalSubset],
        test: tuple[Outputs, EvalSubset],
    ) -> Calibration | None:
        """Return test calibration of one run, with a temperature from validation; None if none."""
        return None

    def best_possible(self, task: Task, test: EncodedSplit) -> Truth | None:
        """Return what the truth scores on a test split, where it is known."""
        return None

    @abstractmethod
    def table(self, outputs: Outputs, subset: EvalSubset) -> pa.Table:
        """Return one run's predictions, one row a unit."""


def finite(outputs: Outputs, position: int) -> bool:
    """Whether all numbers that a run puts out are finite."""
    return all(
        bool(np.isfinite(values[position]).all())
        for values in outputs.values()
        if values.dtype.kind == "f"
    )


def of_run(outputs: Outputs, position: int) -> Outputs:
    """Return the outputs of one run."""
    return {name: values[position] for name, values in outputs.items()}
