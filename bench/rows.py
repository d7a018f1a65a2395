"""A task's official rows: generated, from local files or from the hub, and checked on the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import datasets
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench import synthetic
from bench.errors import DataError
from bench.sources import Sources, cache_folder
from bench.tasks import BuiltinSource, HubSource, Task

_OFFICIAL: tuple[Literal["train", "test"], ...] = ("train", "test")


@dataclass(frozen=True)
class Rows:
    """The official rows of one split: texts, targets and, where known, the truth."""

    texts: Sequence[Sequence[str]]
    targets: NDArray[Any]
    truth: NDArray[np.float64] | None

    def take(self, indices: NDArray[np.int64]) -> "Rows":
        """Return the rows at ``indices``."""
        texts = [[column[i] for i in indices] for column in self.texts]
        truth = None if self.truth is None else self.truth[indices]
        return Rows(texts, self.targets[indices], truth)


def read_rows(task: Task, sources: Sources) -> Mapping[str, Rows]:
    """Return the official train and test rows, checked against the task.

    Raises:
        DataError: naming split, column and value at fault.
    """
    source = task.source
    if isinstance(source, BuiltinSource):
        return {name: _generated(task, source, name) for name in _OFFICIAL}
    wanted = {"train": task.splits.train, "test": task.splits.test}
    return {
        split: _checked(task, name, _table(task, name, sources)) for split, name in wanted.items()
    }


def _generated(task: Task, source: BuiltinSource, split: Literal["train", "test"]) -> Rows:
    made = synthetic.generate(source.builtin, split, source.sizes[split], source.seed)
    truth = made.true_mean[:, None] if made.true_mean is not None else made.true_probabilities
    return Rows([made.columns[name] for name in task.text], made.labels, truth)


def _table(task: Task, split: str, sources: Sources) -> datasets.Dataset:
    cache = str(cache_folder() / "datasets")
    datasets.disable_progress_bars()  # they would run across the bar of the runs
    if sources.data_folder is not None:
        path = sources.split_file(task, split)
        try:
            known = pq.read_metadata(path)
            if known.num_rows == 0:  # the library fails on a file without rows
                return datasets.Dataset.from_dict({name: [] for name in known.schema.names})
            return datasets.Dataset.from_parquet(str(path), cache_dir=cache)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise DataError(
                f"task {task.name!r}: {path} is not a readable parquet file: {error}"
            ) from None
    source = task.source
    if not isinstance(source, HubSource):
        raise DataError(f"task {task.name!r} exists only as files; give --data DIR")
    try:
        return datasets.load_dataset(
            source.hub, source.config, revision=source.revision, split=split, cache_dir=cache
        )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"task {task.name!r}: the hub's {source.hub} ({split}) cannot be had: {error}; "
            "without a network give --data DIR"
        ) from None


def _checked(task: Task, split: str, table: datasets.Dataset) -> Rows:
    place = f"task {task.name!r}, split {split!r}"
    missing = [name for name in (*task.text, task.label) if name not in table.column_names]
    if missing:
        raise DataError(
            f"{place}: no column {missing[0]!r}; columns present: {', '.join(table.column_names)}; "
            "rename one, or name it in the task's fields 'text' and 'label'"
        )
    if len(table) == 0:
        raise DataError(f"{place}: the split is empty; give at least one row")
    texts = [table[name][:] for name in task.text]
    for name, column in zip(task.text, texts, strict=True):
        wrong = next((i for i, text in enumerate(column) if not isinstance(text, str)), None)
        if wrong is not None:
            raise DataError(
                f"{place}, row {wrong}: column {name!r} holds {column[wrong]!r}, expected text"
            )
    return Rows(texts, _targets(task, place, table[task.label][:]), None)


def _targets(task: Task, place: str, values: Sequence[Any]) -> NDArray[Any]:
    classes = task.kind == "classification"
    low, high = (0, len(task.labels) - 1) if classes else task.label_range or (0, 0)
    for row, value in enumerate(values):
        legal = isinstance(value, int | float) and low <= value <= high
        if not legal or (classes and value != int(value)):
            allowed = (
                f"whole numbers {low} to {high} ({', '.join(task.labels)})"
                if classes
                else f"numbers from {low} to {high}"
            )
            raise DataError(
                f"{place}, row {row}: column {task.label!r} holds {value!r}, allowed: {allowed}; a "
                "test split without public labels cannot be scored"
            )
    return np.asarray(values, dtype=np.int64 if classes else np.float32)
