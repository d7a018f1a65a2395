"""The task that a file of a user's own rows is: its kind, its classes or range, its cuts."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from gapbench.bench.config.task import Task
from gapbench.bench.config.task_files import parse
from gapbench.bench.config.task_sources import OwnSource
from gapbench.bench.core.errors import ConfigError, DataError
from gapbench.bench.core.schema import suggest
from gapbench.bench.data import readers
from gapbench.bench.data.rows import Rows, class_name, find_column
from gapbench.bench.data.sources import Sources
from gapbench.bench.experiment import first_look
from gapbench.bench.tasks import dataset, kinds
from gapbench.bench.tasks.kinds.base import InitKind
from gapbench.bench.tasks.kinds.labels import are_values, numbers_of

FEWEST_ROWS = 20
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Columns:
    """The roles of the columns in the user's file.

    Attributes:
        text: input of the model, one column or a pair.
        label: class, value or, for generation, the text to generate.
        option: option that named ``label``, which narrows the kind of task.
        kind: kind of the task; None infers it from the labels.
        group: column whose equal values stay in the same split; None keeps equal inputs together.
    """

    text: tuple[str, ...]
    label: str
    option: Literal["label", "target"] = "label"
    kind: str | None = None
    group: str | None = None

    @property
    def names(self) -> list[str]:
        """All columns that are named."""
        return [*self.text, self.label, *([self.group] if self.group else [])]

    @property
    def writes(self) -> bool:
        """Whether ``label`` is the text to generate."""
        return self.option == "target"

    @classmethod
    def of(
        cls,
        text: tuple[str, ...],
        label: str | None,
        target: str | None,
        kind: str | None,
        group: str | None,
    ) -> "Columns":
        """Return the roles that the options of a command give to columns.

        Raises:
            ConfigError: unless exactly one of ``label`` and ``target`` is given.
        """
        found = label if target is None else target
        if found is None or (label is not None and target is not None):
            raise ConfigError(
                "give one of --label and --target: the column to predict or to generate"
            )
        return cls(text, found, "label" if target is None else "target", kind, group)


@dataclass(frozen=True)
class Inferred:
    """A task that was inferred from rows.

    Attributes:
        fields: fields of its file.
        task: the task; its paths do not depend on the place of the file.
        sizes: examples of each split, before validation is cut from train.
        look: what a first look at the files found, as text of several lines.
    """

    fields: Mapping[str, Any]
    task: Task
    sizes: Mapping[str, int]
    look: str


def infer(task_file: Path, train: Path, test: Path | None, columns: Columns) -> Inferred:
    """Return the task that a file of rows is, with what its rows say.

    Args:
        task_file: place of the task's file, which need not exist; its stem is the task's name.
        train: rows to train on.
        test: rows to score on; None sets aside a part of ``train``.
        columns: the roles of the columns.

    Raises:
        DataError: if the rows do not fit ``columns``.
    """
    files = [path for path in (train, test) if path]
    tables = _tables(files, columns)
    labels = [label for table in tables for label in table[columns.label]]
    kind, found = _found(files, labels, columns)
    if test is not None and "labels" in found:
        _check_spellings(files, tables, columns.label)
    fields = {
        "name": task_file.stem,
        "version": 1,
        "kind": kind,
        "description": f"Made by gapbench init from {train.name}.",
        "source": _source(task_file.parent, train, test),
        "text": list(columns.text),
        "label": columns.label,
        **found,
        "group": columns.group,
        "validation_size": 1,
        "max_length": 512,
    }
    task, rows = _read(fields, task_file)
    fields["validation_size"] = size = _validation_size(len(rows["train"]))
    looks = [
        first_look.lines(path, table, columns.text, columns.label, values=kind == "regression")
        for path, table in zip(files, tables, strict=True)
    ]
    return Inferred(
        fields,
        task.model_copy(update={"validation_size": size}),
        {split: len(part) for split, part in rows.items()},
        "\n".join(looks),
    )


def _tables(files: Sequence[Path], columns: Columns) -> list[readers.Columns]:
    """Return the columns of every file; labels are names in all, or in none."""
    texts = (*columns.text, columns.label) if columns.writes else columns.text
    tables = [_with_fields(readers.read(path, texts), columns) for path in files]
    for path, table in zip(files, tables, strict=True):
        _check(path, table, columns)
    labels = [label for table in tables for label in table[columns.label]]
    plain = {*map(type, labels)}
    numbers = plain <= {int, float} and len(numbers_of(labels)) == len(labels)
    if plain <= {bool} or (numbers and (columns.kind == "regression" or are_values(labels))):
        return tables
    named = [
        table if readers.is_typed(path) else readers.read(path, (*texts, columns.label))
        for path, table in zip(files, tables, strict=True)
    ]
    if numbers and _spelt_alike(tables, named, columns.label):
        return tables
    return named if columns.writes else _with_names(named, columns.label)


def _spelt_alike(
    tables: Sequence[readers.Columns], named: Sequence[readers.Columns], label: str
) -> bool:
    """Whether numbers are spelt as numbers are, and not as names that look like them (2 and 02).

    One file may write 1.0 for the 1 of another, as programs do in a column with gaps.
    """
    values = [{*table[label]} for table in tables]
    cells = [{*map(str, table[label])} for table in named]
    each = all(len(own) == len(spelt) for own, spelt in zip(values, cells, strict=True))
    return each and len({*chain(*values)}) == len({c.removesuffix(".0") for c in chain(*cells)})


def _with_names(tables: list[readers.Columns], label: str) -> list[readers.Columns]:
    """Return files with numbers as names, where these are texts in another file."""
    types = [{*map(type, table[label])} for table in tables]
    if {str} not in types or not any(own <= {int, float} for own in types):
        return tables
    return [t | {label: [class_name(value) or value for value in t[label]]} for t in tables]


def _with_fields(table: readers.Columns, columns: Columns) -> readers.Columns:
    """Return columns with those that are a field of another one, such as ``label.name``."""
    found = {name: find_column(table, name) for name in columns.names}
    return table | {name: values for name, values in found.items() if values is not None}


def _check(path: Path, table: readers.Columns, columns: Columns) -> None:
    """Refuse a file without the columns, or with a row without a label."""
    for name in columns.names:
        if name not in table:
            _check_field(path, table, name)
            raise DataError(
                f"{path}: no column {name!r}; columns present: {', '.join(table)}; name one of "
                "these with --text, --label, --target or --group, or give the file a first line "
                "with names"
            )
    if columns.label in columns.text:
        raise ConfigError(
            f"--text {columns.label}: is what the model has to predict, so every score would be "
            "perfect and mean nothing; leave it out"
        )
    if len({*columns.text}) < len(columns.text):
        raise ConfigError(f"--text {','.join(columns.text)}: names a column twice; name each once")
    if columns.group == columns.label:
        raise ConfigError(
            f"--group {columns.group}: is the label too, so no label would be in two splits; "
            "name another column, or leave it out"
        )
    for name in columns.names:
        _check_plain(path, name, table[name], listed=name != columns.label or columns.writes)
    for row, value in enumerate(table[columns.label]):
        if value is None or value != value or not str(value).strip():
            raise DataError(
                f"{path}, row {row}: column {columns.label!r} is empty; fill it in, or remove the "
                "row"
            )


def _check_field(path: Path, table: readers.Columns, name: str) -> None:
    """Refuse a field, such as ``label.name``, that some object of a column lacks.

    Raises:
        DataError: naming the first such row.
    """
    head, _, field = name.partition(".")
    for row, value in enumerate(table.get(head, ())):
        if not (isinstance(value, Mapping) and field in value):
            raise DataError(
                f"{path}, row {row}: column {head!r} holds {str(value)[:60]!r}, which has no field "
                f"{field!r}; add it, or remove the row"
            )


def _check_plain(path: Path, name: str, values: Sequence[Any], *, listed: bool) -> None:
    """Refuse a column of objects, and one of lists where these have no meaning.

    Raises:
        DataError: naming the first such row and the way out.
    """
    for row, value in enumerate(values):
        if not isinstance(value, Mapping | list):
            continue
        place = f"{path}, row {row}: column {name!r} holds"
        if isinstance(value, Mapping):
            fields = ", ".join(f"{name}.{field}" for field in value) or "none"
            raise DataError(f"{place} an object; name one of its fields instead: {fields}")
        if any(isinstance(item, Mapping) for item in value):
            raise DataError(
                f"{place} a list of objects; write out its texts as a column of text, or write a "
                "task of kind 'instruction' for dialogues"
            )
        if not listed:
            raise DataError(
                f"{place} a list, but each row has one label; write it as a text or a number, or "
                "give the column by --target if it holds texts to generate"
            )


def _check_spellings(files: Sequence[Path], tables: Sequence[readers.Columns], label: str) -> None:
    """Refuse classes that two files spell in different ways, and files without one in common.

    Raises:
        DataError: naming both files and spellings.
    """
    names, others = (
        {class_name(value) or str(value) for value in table[label]} for table in tables
    )
    found, why = first_look.other_spelling(names, others), "which would be two classes"
    if found is None and names and others and names.isdisjoint(others):  # empty ones are told later
        found, why = (min(names), min(others)), "and the files have no class in common"
    if found is not None:
        raise DataError(
            f"column {label!r} holds {found[0]!r} in {files[0]} and {found[1]!r} in {files[1]}, "
            f"{why}; spell them alike in both files"
        )


def _found(
    files: Sequence[Path], labels: Sequence[Any], columns: Columns
) -> tuple[str, dict[str, Any]]:
    """Return the kind of the task, and the fields that follow from its labels."""
    path = " and ".join(map(str, files))
    if len(labels) < FEWEST_ROWS:
        raise DataError(f"{path}: {len(labels)} rows in total; give at least {FEWEST_ROWS}")
    known = {n: kind for n, kind in kinds.discover().items() if isinstance(kind, InitKind)}
    fitting = {n: kind for n, kind in known.items() if kind.init_option == columns.option}
    if columns.kind is not None and columns.kind not in fitting:
        raise ConfigError(
            f"--kind {columns.kind} with --{columns.option}: {suggest(columns.kind, [*fitting])}"
        )
    wanted = columns.kind or next(name for name, kind in fitting.items() if kind.infers(labels))
    try:
        return wanted, fitting[wanted].from_labels(columns.label, labels)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _source(folder: Path, train: Path, test: Path | None) -> dict[str, Any]:
    def shown(path: Path) -> str:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()

    rest = {"test_share": TEST_SHARE} if test is None else {"test": shown(test)}
    return {"train": shown(train), **rest}


def _read(fields: Mapping[str, Any], task_file: Path) -> tuple[Task, dict[str, Rows]]:
    """Return the task of a file with these fields, and its rows."""
    task = parse(fields, str(task_file))
    assert isinstance(task.source, OwnSource)  # noqa: S101 - it was just written like this
    task = task.model_copy(update={"source": task.source.beside(task_file.parent)})
    return task, dataset.read_rows(task, Sources())


def _validation_size(train: int) -> int:
    """Return 15 % of the training examples, at least 10 and at most 1000."""
    return min(max(round(0.15 * train), 10), train // 2, 1000)
