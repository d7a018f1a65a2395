"""A task's official rows: generated, from local files or from the hub, and checked on the way.

The content of a row depends on the kind of task: `bench.tasks.kinds` reads columns with these
functions.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.config.task import Task
from gapbench.bench.config.task_sources import BuiltinSource, HubSource, OwnSource
from gapbench.bench.core.errors import DataError
from gapbench.bench.data import readers
from gapbench.bench.data.digests import cache_folder
from gapbench.bench.data.hub_access import explained
from gapbench.bench.data.sources import Sources, only_files
from gapbench.bench.synthetic import generators

Table = Mapping[str, Sequence[Any]]
TRUTH = "truth"
"""Column of generated tables: the true probabilities of a row's classes, or its true mean."""


@dataclass(frozen=True)
class Rows:
    """Examples of one split: their content, targets and, where known, the truth.

    Attributes:
        columns: columns that the kind of task encodes, each of length n.
        targets: (n,), classes or values.
        truth: true probabilities (n, classes) or means (n, 1).
        row_numbers: (n,) row of each example in the official split; None if all rows in order.
        groups: (n,) group of each example, kept together in every cut; None if all differ.
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
        """Row number of each example in the official split, (n,)."""
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
    """Return the columns of one official split, named by its role.

    Raises:
        DataError: naming the file or repository that is not available.
    """
    source = task.source
    if isinstance(source, BuiltinSource):
        if split not in source.sizes:
            raise DataError(f"built-in tasks have no further test splits, got {split!r}; remove it")
        made = generators.generate(source.builtin, split, source.sizes[split], source.seed)
        truth = made.true_mean[:, None] if made.true_mean is not None else made.true_probabilities
        return made.table() if truth is None else made.table() | {TRUTH: truth.tolist()}
    table = _official(task, split, sources)
    if not any(len(values) for values in table.values()):
        raise DataError(f"{place(task, split)}: the split is empty; give at least one row")
    return table


def place(task: Task, split: str) -> str:
    """Return the name of a split in messages."""
    if isinstance(task.source, OwnSource):
        return f"task {task.name!r}, file {own_file(task.source, split)}"
    return f"task {task.name!r}, split {task.files[split]!r}"


def own_file(source: OwnSource, split: str) -> Path:
    """Return the file with a split; a test split may be part of the train file."""
    path = source.test if split == "test" and source.test else source.train
    assert path is not None  # noqa: S101 - a task without training rows has no split but test
    return Path(path)


def _official(task: Task, split: str, sources: Sources) -> Table:
    if isinstance(task.source, OwnSource):
        path = own_file(task.source, split)
    elif sources.data_folder is not None:
        path = sources.split_file(task, task.files[split])
    elif isinstance(task.source, HubSource):
        made = hub_split(task, task.source, task.files[split])
        return {name: made[name] for name in made.column_names}
    else:
        raise only_files(task)
    try:
        names = () if task.group is None else (task.group,)  # 01 and 1 are two groups
        return read_classes(path, task, task.label, (*task.text_columns, *names))
    except DataError as error:
        raise DataError(f"task {task.name!r}: {error}") from None


def read_classes(path: Path, task: Task, name: str, texts: Sequence[str] = ()) -> Table:
    """Return the columns of a file; class names that look like numbers stay text.

    CSV and TSV files do not distinguish "01" from 1.

    Args:
        path: path of the file.
        task: task with the classes.
        name: name of the column of classes, if the task has named classes.
        texts: columns that hold text.

    Raises:
        DataError: if the file cannot be read.
    """
    plain = readers.read(path, texts)
    if readers.is_typed(path) or name in texts or name not in plain or not are_named(task):
        return plain
    if any(isinstance(value, bool) for value in plain[name]):
        return plain
    cells = readers.read(path, (*texts, name))[name]
    return {**plain, name: cells} if _name_any(cells, task.labels) else plain


def hub_split(task: Task, source: HubSource, split: str) -> Any:
    """Return one official split of a task from the hub, or from the local cache of it.

    Raises:
        DataError: if neither has it.
    """
    import datasets  # imported here: it loads slowly and most tasks need no hub

    cache = str(cache_folder() / "datasets")
    datasets.disable_progress_bars()  # they would overwrite the progress bar of the runs
    try:
        return datasets.load_dataset(
            source.hub, source.config, revision=source.revision, split=split, cache_dir=cache
        )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"task {task.name!r}: the hub's {source.hub} ({split}) is not available: "
            + explained(error, "; without a network give --data DIR")
        ) from None


def column(place: str, table: Table, name: str) -> list[Any]:
    """Return a column; ``a.b`` is the field b of a column of mappings.

    Raises:
        DataError: if there is none.
    """
    values = find_column(table, name)
    if values is None:
        raise DataError(
            f"{place}: no column {name!r}; columns present: {', '.join(table)}; rename one, or "
            "name it in the task's fields 'text' and 'label'"
        )
    return values


def find_column(table: Table, name: str) -> list[Any] | None:
    """Return what `column` does, None if there is no such column."""
    head, _, field = name.partition(".")
    if name in table:
        return list(table[name][:])
    if field and head in table:
        values = table[head][:]
        if all(isinstance(value, Mapping) and field in value for value in values):
            return [value[field] for value in values]
    return None


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
    """Return a list of texts, or of lists of texts, as one text.

    Anything else is unchanged, as is a list with mappings in it, such as messages of a dialogue.

    Items are joined by `` | ``, the parts of an item by `` : ``, as in LoRA's own data sets
    (Hu et al. 2021, WebNLG and DART). Parts may be a list, or a text with `` | `` between them.
    """
    if not isinstance(value, list | tuple) or any(isinstance(item, Mapping) for item in value):
        return value
    parts = [
        " : ".join(map(str, item))
        if isinstance(item, list | tuple)
        else str(item).replace(" | ", " : ")
        for item in value
    ]
    return " | ".join(parts)


def numbered(values: Sequence[Hashable]) -> NDArray[np.int64]:
    """Number the values in order of appearance; equal values share a number."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)


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


def part_column(task: Task, name: str | None, place_: str, table: Table) -> list[str] | None:
    """Return the part that each row belongs to, "" for none; None if the split has no parts.

    Only test rows need the column ``name``: published training rows often lack it.
    """
    if name is None or (name not in table and place_ != place(task, "test")):
        return None
    return ["" if value is None else str(value) for value in column(place_, table, name)]


def class_column(task: Task, place: str, table: Table) -> NDArray[np.int64]:
    """Return class numbers, (n,).

    Raises:
        DataError: naming the first row without a legal label.
    """
    classes = ", ".join(map(str, task.labels))
    counted = f"whole numbers 0 to {len(task.labels) - 1} ({classes})"
    named = _name_any(column(place, table, task.label), task.labels)
    allowed = counted if are_named(task) and not named else classes
    return _class_numbers(task, place, table, [len(task.labels)], lambda _: allowed)


def choice_numbers(task: Task, place: str, table: Table, sizes: Sequence[int]) -> NDArray[np.int64]:
    """Return the number of each row's choice, (n,), among ``sizes`` choices.

    Raises:
        DataError: naming the first row without one of its choices.
    """
    names = ", ".join(map(str, task.labels))
    named = _name_any(column(place, table, task.label), task.labels)

    def allowed(size: int) -> str:
        counted = f"the number of a choice, 0 to {size - 1}"
        return names if named else f"{counted}, or one of {names}" if names else counted

    return _class_numbers(task, place, table, sizes, allowed)


def _class_numbers(
    task: Task, place: str, table: Table, sizes: Sequence[int], allowed: Callable[[int], str]
) -> NDArray[np.int64]:
    values = column(place, table, task.label)
    numbers = _numbers(values, task.labels)
    for row, (number, size) in enumerate(
        zip(numbers, np.broadcast_to(sizes, len(values)).tolist(), strict=True)
    ):
        if number is None or not 0 <= number < size:
            raise illegal(place, row, task.label, values[row], allowed(size))
    return np.asarray(numbers, dtype=np.int64)


def _numbers(values: Sequence[Any], labels: Sequence[str | int]) -> list[int | None]:
    """Return the class number that each value names or counts, None if it does neither.

    If any number is a class name, all numbers are names; otherwise they count classes. Bools are
    names as spelled, never numbers.
    """
    known: dict[Any, int] = {name: number for number, name in enumerate(labels)}
    spelt = {str(name).lower(): number for name, number in known.items()}
    counts = all(isinstance(name, str) for name in labels) and not _name_any(values, labels)

    def number(value: Any) -> int | None:
        if isinstance(value, bool):
            return spelt.get(str(value).lower())
        if counts and isinstance(value, int | float):
            return int(value) if _is_whole(value) else None
        if isinstance(value, str | int | float) and value in known:
            return known[value]
        return known.get(class_name(value))

    return [number(value) for value in values]


def _name_any(values: Sequence[Any], labels: Sequence[str | int]) -> bool:
    """Whether any value that is text, or looks like a number, names a class."""
    return not {class_name(value) for value in values}.isdisjoint(labels)


def class_name(value: Any) -> str | None:
    """Return a value as a possible name: stripped text, or a number."""
    if isinstance(value, str):
        return value.strip()
    return str(int(value)) if _is_whole(value) else None


def _is_whole(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def are_named(task: Task) -> bool:
    """Whether a task's classes have names, so that other numbers count the classes."""
    return bool(task.labels) and all(isinstance(label, str) for label in task.labels)


def illegal(place: str, row: int, name: str, value: Any, allowed: str) -> DataError:
    """Return the error for a label that is not allowed."""
    # Placeholders in data sets that keep labels private.
    private = value in (None, -1, "", "-1")
    why = "; a test split without public labels cannot be scored" if private else ""
    return DataError(
        f"{place}, row {row}: column {name!r} holds {value!r}, allowed: {allowed}{why}"
    )
