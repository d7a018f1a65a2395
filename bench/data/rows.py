"""A task's official rows: generated, from local files or from the hub, and checked on the way.

What a row must hold depends on the kind of task: `bench.tasks.kinds` reads columns by the functions
here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.config.task import Task
from gapbench.bench.config.task_sources import BuiltinSource, HubSource, OwnSource
from gapbench.bench.core.errors import DataError
from gapbench.bench.data import readers
from gapbench.bench.data.sources import Sources, cache_folder
from gapbench.bench.synthetic import generators

Table = Mapping[str, Sequence[Any]]
TRUTH = "truth"
"""Column of generated tables: the true probabilities of a row's classes, or its true mean."""


@dataclass(frozen=True)
class Rows:
    """Units of one split: what they are made of, targets and, where known, the truth.

    Attributes:
        columns: what the kind of task encodes, each of length n.
        targets: (n,), classes or values.
        truth: true probabilities (n, classes) or means (n, 1).
        row_numbers: (n,) of each example in the official split; None if they are its rows in order.
        groups: (n,) group that an example stays with in every cut; None if all differ.
    """

    columns: Mapping[str, Sequence[Any]]
    targets: NDArray[Any]
    truth: NDArray[np.float64] | None = None
    row_numbers: NDArray[np.int64] | None = None
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Number of each example's row in the official split, (n,)."""
        return np.arange(len(self)) if self.row_numbers is None else self.row_numbers

    def take(self, indices: NDArray[np.int64]) -> "Rows":
        """Return the examples at ``indices``."""
        return Rows(
            {name: [values[i] for i in indices] for name, values in self.columns.items()},
            self.targets[indices],
            None if self.truth is None else self.truth[indices],
            self.numbers[indices],
            None if self.groups is None else self.groups[indices],
        )


def read_table(task: Task, split: str, sources: Sources) -> Table:
    """Return the columns of one official split, named by what it serves for.

    Raises:
        DataError: naming the file or repository that cannot be had.
    """
    source = task.source
    if isinstance(source, BuiltinSource):
        if split not in source.sizes:
            raise DataError(
                f"built-in tasks have no further test splits, got {split!r}; take it out"
            )
        made = generators.generate(source.builtin, split, source.sizes[split], source.seed)
        truth = made.true_mean[:, None] if made.true_mean is not None else made.true_probabilities
        return made.table() if truth is None else made.table() | {TRUTH: truth.tolist()}
    table = _official(task, split, sources)
    if not any(len(values) for values in table.values()):
        raise DataError(f"{place(task, split)}: the split is empty; give at least one row")
    return table


def place(task: Task, split: str) -> str:
    """Return how messages name a split."""
    if isinstance(task.source, OwnSource):
        return f"task {task.name!r}, file {own_file(task.source, split)}"
    return f"task {task.name!r}, split {task.splits.official[split]!r}"


def own_file(source: OwnSource, split: str) -> Path:
    """Return the file that a split is in; a test split may be part of the train file."""
    return Path(source.test if split == "test" and source.test else source.train)


def _official(task: Task, split: str, sources: Sources) -> Table:
    if isinstance(task.source, OwnSource):
        path = own_file(task.source, split)
    elif sources.data_folder is not None:
        path = sources.split_file(task, task.splits.official[split])
    elif isinstance(task.source, HubSource):
        made = hub_split(task, task.source, task.splits.official[split])
        return {name: made[name] for name in made.column_names}
    else:
        raise DataError(f"task {task.name!r} exists only as files; give --data DIR")
    try:
        return read_classes(path, task, task.label, task.text_columns)
    except DataError as error:
        raise DataError(f"task {task.name!r}: {error}") from None


def read_classes(path: Path, task: Task, name: str, texts: Sequence[str] = ()) -> Table:
    """Return the columns of a file, with what looks like a number as text where it names a class.

    Files of CSV and TSV do not tell "01" from 1. If no row holds a name, numbers count the classes.

    Args:
        path: the file.
        task: whose classes they are.
        name: the column of classes, if the task has named ones.
        texts: columns that hold text.

    Raises:
        DataError: if the file cannot be read.
    """
    plain = readers.read(path, texts)
    if path.suffix not in readers.UNTYPED or not task.labels or not _are_names(task.labels):
        return plain
    if name in texts or any(isinstance(value, bool) for value in plain.get(name, [True])):
        return plain
    cells = readers.read(path, (*texts, name))[name]
    return {**plain, name: cells} if {*cells} & {*task.labels} else plain


def hub_split(task: Task, source: HubSource, split: str) -> Any:
    """Return one official split of a task from the hub, or from the local cache of it.

    Raises:
        DataError: if neither has it.
    """
    import datasets  # here, since it takes long to load and most tasks need no hub

    cache = str(cache_folder() / "datasets")
    datasets.disable_progress_bars()  # they would run across the bar of the runs
    try:
        return datasets.load_dataset(
            source.hub, source.config, revision=source.revision, split=split, cache_dir=cache
        )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"task {task.name!r}: the hub's {source.hub} ({split}) cannot be had: {error}; "
            "without a network give --data DIR"
        ) from None


def column(place: str, table: Table, name: str) -> list[Any]:
    """Return a column; ``a.b`` is the field b of a column of mappings.

    Raises:
        DataError: if there is none.
    """
    head, _, field = name.partition(".")
    if name in table:
        return list(table[name][:])
    if field and head in table:
        values = table[head][:]
        if all(isinstance(value, Mapping) and field in value for value in values):
            return [value[field] for value in values]
    raise DataError(
        f"{place}: no column {name!r}; columns present: {', '.join(table)}; rename one, or name it "
        "in the task's fields 'text' and 'label'"
    )


def text_column(place: str, table: Table, name: str) -> list[str]:
    """Return a column of texts; lists, such as triples, are written out by `linearised`.

    Raises:
        DataError: if it is missing, or holds anything else.
    """
    values = [linearised(value) for value in column(place, table, name)]
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise DataError(f"{place}, row {row}: column {name!r} holds {value!r}, expected text")
    return values


def linearised(value: Any) -> Any:
    """Return a list of texts, or of lists of texts, as one text; anything else as it is.

    Items are joined by `` | ``, the parts of an item by `` : ``, as in LoRA's own data sets
    (Hu et al. 2021, WebNLG and DART). Parts may be a list, or a text with `` | `` between them.
    """
    if not isinstance(value, list | tuple):
        return value
    parts = [
        " : ".join(map(str, item))
        if isinstance(item, list | tuple)
        else str(item).replace(" | ", " : ")
        for item in value
    ]
    return " | ".join(parts)


def list_column(place: str, table: Table, name: str) -> list[list[str]]:
    """Return a column of lists of texts.

    Raises:
        DataError: if it is missing, or holds anything else.
    """
    values = column(place, table, name)
    for row, value in enumerate(values):
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise DataError(
                f"{place}, row {row}: column {name!r} holds {value!r}, expected a list of texts"
            )
    return [list(value) for value in values]


def class_column(task: Task, place: str, table: Table) -> NDArray[np.int64]:
    """Return class numbers, (n,).

    Raises:
        DataError: naming the first row that holds no legal label.
    """
    classes = ", ".join(map(str, task.labels))
    counted = f"whole numbers 0 to {len(task.labels) - 1} ({classes})"
    allowed = counted if _are_names(task.labels) else classes
    return class_numbers(task, place, table, len(task.labels), allowed)


def class_numbers(
    task: Task, place: str, table: Table, sizes: int | Sequence[int], allowed: str
) -> NDArray[np.int64]:
    """Return the number of each row's class or choice, (n,), of as many as ``sizes`` says.

    Raises:
        DataError: naming the first row that holds none, and what is ``allowed``.
    """
    values = column(place, table, task.label)
    numbers = [_class(value, task.labels) for value in values]
    for row, (number, size) in enumerate(
        zip(numbers, np.broadcast_to(sizes, len(values)).tolist(), strict=True)
    ):
        legal = isinstance(number, int | float) and float(number).is_integer()
        if not (legal and 0 <= number < size):
            raise illegal(place, row, task.label, values[row], allowed)
    return np.asarray(numbers, dtype=np.int64)


def _class(value: Any, labels: Sequence[str | int]) -> Any:
    """Return the number of the class that a value names or counts; anything else if it does not."""
    if not _are_names(labels):
        known = isinstance(value, int | float) and value in labels
        return labels.index(value) if known else None
    if isinstance(value, bool) and labels:  # what readers of CSV make of `true` and `False`
        value = next((name for name in labels if str(name).lower() == str(value).lower()), None)
    return labels.index(value) if value in labels else value


def _are_names(labels: Sequence[str | int]) -> bool:
    """Whether a number in the label column counts the classes, and is none of them itself."""
    return all(isinstance(label, str) for label in labels)


def illegal(place: str, row: int, name: str, value: Any, allowed: str) -> DataError:
    """Return the error of a label that is not among those allowed."""
    # What data sets write where they keep labels to themselves.
    private = value in (None, -1, "", "-1")
    why = "; a test split without public labels cannot be scored" if private else ""
    return DataError(
        f"{place}, row {row}: column {name!r} holds {value!r}, allowed: {allowed}{why}"
    )
