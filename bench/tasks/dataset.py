"""Tokenised train, validation and test splits of a task, made once and memory-mapped.

Validation is always cut from the official train split (stratified, keyed by the task alone, or one
fold of a run's block), and the official test split is only ever scored, never used to choose. Under
the protocol `paper` the test split serves as validation, as the papers do.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file
from safetensors.torch import load_file

from gapbench.bench.config.run import Cell, Folds, NestedFolds, Run
from gapbench.bench.config.task import Task
from gapbench.bench.config.task_sources import BuiltinSource, OwnSource
from gapbench.bench.core.errors import DataError
from gapbench.bench.core.files import replacing
from gapbench.bench.core.schema import content_hash
from gapbench.bench.core.seeding import seed_of
from gapbench.bench.data.digests import cache_folder
from gapbench.bench.data.encoded import AbsentSplit, Arrays, TaskData
from gapbench.bench.data.rows import TRUTH, Rows, Table, column, numbered, place, read_table
from gapbench.bench.data.sources import Sources
from gapbench.bench.models.backbone import Reader
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.kinds.base import AnyKind
from gapbench.bench.tasks.kinds.input_tokens import require_known
from gapbench.bench.tasks.kinds.shots import Examples, ShotsKind, ShotsTask
from gapbench.bench.tasks.split_rows import cut_splits, divide

FORMAT_VERSION = 12  # version of the cached arrays; raised when their meaning changes
_TOKENIZERS = (version("transformers"), version("tokenizers"))  # the libraries that make the arrays
_open: dict[str, TaskData] = {}  # the latest data sets, by key, the oldest first
_MOST_OPEN = 8  # data sets: those of a task and of its second tests
_TRAIN_SHARE = "train_share"
_TRAIN_OVERLAP = "train_overlap."  # prefix of the counts among the cached arrays


def prepare(cell: Cell, sources: Sources, reader: Reader, seed: int = 0) -> TaskData:
    """Return the encoded splits of a cell's task, from the cache if possible.

    The latest are kept open, since stacks are ordered by task and backbone.

    Args:
        cell: cell with the task and the size of its training set.
        sources: places of the task's rows.
        reader: tokeniser and window of the backbone.
        seed: seed of a run; it matters only if it decides which rows the run trains on.

    Raises:
        DataError: if rows are missing, contradict the task, or cannot be read by the backbone.
    """
    task = cell.task
    run = Run(cell, seed)
    key = content_hash(
        [
            FORMAT_VERSION,
            *_TOKENIZERS,
            task.identity(),
            cell.data.digest,
            cell.backbone.digest,
            cell.protocol,
            cell.budget.train_size,
            *([] if run.sample is None else [run.sample]),
            *([cell.resample.model_dump()] if isinstance(cell.resample, Folds) else []),
        ]
    )
    if key in _open:
        _open[key] = _open.pop(key)
    else:
        path = cache_folder() / "tokens" / f"{task.name}-{key[:16]}.safetensors"
        arrays = _load(path)
        if arrays is None:
            arrays = _encode_splits(run, sources, reader)
            _save(path, arrays)
        _open[key] = _task_data(task, arrays, reader)
        while len(_open) > _MOST_OPEN:
            del _open[next(iter(_open))]
    return _open[key]


def _task_data(task: Task, arrays: Arrays, reader: Reader) -> TaskData:
    kind = kinds.get(task.kind)
    pad_id = int(reader.tokenizer.pad_token_id)
    trained = () if task.tests_only else ("train", "validation")
    held = {name.partition(".")[0] for name in arrays}
    more = [name for name in task.splits.more or () if name in held]  # nested folds have none
    found = {
        name: kind.load(_part(arrays, f"{name}."), pad_id) for name in (*trained, "test", *more)
    }
    splits = {name: found.get(name, AbsentSplit()) for name in ("train", "validation", "test")}
    counts = {name: int(count[0]) for name, count in _part(arrays, _TRAIN_OVERLAP).items()}
    share = float(arrays[_TRAIN_SHARE][0]) if _TRAIN_SHARE in arrays else None
    further = {name: found[name] for name in more}
    return TaskData(**splits, more=further, train_overlap=counts, train_share=share)


def read_rows(task: Task, sources: Sources) -> dict[str, Rows]:
    """Return the rows of train, if there are any, and of every test split, checked.

    Raises:
        DataError: naming split, column, row and value at fault.
    """
    if isinstance(task.source, OwnSource) and task.source.test_share is not None:
        rows = _read(task, "train", sources)
        size = max(1, round(len(rows) * task.source.test_share))
        seed = seed_of("test", task.name, task.version)
        train, test = divide(task, rows, size, seed, "source.test_share")
        found = {"train": train, "test": test}
    else:
        found = {split: _read(task, split, sources) for split in task.splits.official}
    if task.test_size is None:
        return found
    return {
        split: rows if split == "train" else _spaced(task, split, rows, task.test_size)
        for split, rows in found.items()
    }


def _spaced(task: Task, split: str, rows: Rows, size: int) -> Rows:
    """Return so many rows of a test split: the first ones of a document, else spaced ones."""
    most = len(rows)
    if size > most:
        raise DataError(
            f"{place(task, split)}: field 'test_size' is {size}, but there are {most} rows; "
            "give at most as many, or leave it out to score all"
        )
    numbers = np.arange(size)
    return rows.take(numbers if task.joined else numbers * most // size)


def _read(task: Task, split: str, sources: Sources) -> Rows:
    kind, table, where = kinds.get(task.kind), read_table(task, split, sources), place(task, split)
    rows = kind.read(task, where, table)
    if isinstance(task, ShotsTask) and (task.introduction or task.shots):
        assert isinstance(kind, ShotsKind)  # noqa: S101 - it is the kind of such a task
        before = task.before(where, table, rows.numbers.tolist(), _examples(task, kind, sources))
        rows = kind.preceded(rows, before)
    return replace(rows, **_extras(task, where, table, rows))


def _examples(task: ShotsTask, kind: AnyKind, sources: Sources) -> Examples | None:
    """Return the solved examples of a task, None if it wants none."""
    if task.shots is None or task.shots.number == 0:
        return None
    where, table = place(task, "shots"), read_table(task, "shots", sources)
    rows = kind.read(task, where, table)
    assert isinstance(kind, ShotsKind)  # noqa: S101 - likewise
    return Examples(task, where, _at(table, rows.numbers), kind.solved(rows))


def _at(table: Table, numbers: NDArray[np.int64]) -> Table:
    return {name: [values[row] for row in numbers] for name, values in table.items()}


def _extras(task: Task, place: str, table: Table, rows: Rows) -> dict[str, Any]:
    """Return the optional columns of all kinds: groups and the truth."""
    extras: dict[str, Any] = {}
    if task.group is not None:
        values = column(place, table, task.group)
        names = [str(values[row]) for row in rows.numbers]
        extras["groups"] = np.unique(names, return_inverse=True)[1]
    elif isinstance(task.source, OwnSource):  # published data keep their original cut
        extras["groups"] = numbered(kinds.get(task.kind).inputs(rows))
    if isinstance(task.source, BuiltinSource) and TRUTH in table:
        extras["truth"] = np.asarray(table[TRUTH], dtype=np.float64)[rows.numbers]
    return extras


def _encode_splits(run: Run, sources: Sources, reader: Reader) -> Arrays:
    task = run.cell.task
    rows = read_rows(task, sources)
    parts, share = cut_splits(run, rows)
    arrays: Arrays = {} if share is None else {_TRAIN_SHARE: np.array([share])}
    cut_from = "test" if run.cell.protocol == "paper" else "train"
    official = () if isinstance(run.cell.resample, NestedFolds) else rows
    for split, part in parts.items():
        where = place(task, split if split in official else cut_from)
        made = kinds.get(task.kind).encode(task, where, part, reader)
        require_known(where, made, reader)
        # Where rows are not the examples, the kind says what is.
        encoded = {"targets": part.targets, "example_ids": part.numbers.astype(np.int64)} | made
        if part.truth is not None:
            encoded["truth"] = part.truth
        arrays |= {f"{split}.{name}": array for name, array in encoded.items()}
    counts = count_overlap(task, parts)
    return arrays | {f"{_TRAIN_OVERLAP}{name}": np.array([count]) for name, count in counts.items()}


def count_overlap(task: Task, parts: Mapping[str, Rows]) -> dict[str, int]:
    """Count the examples of each split except train whose input occurs in train.

    Where rows are joined, they are not the examples, and nothing is counted.
    """
    if task.tests_only or task.joined:
        return {}
    inputs = kinds.get(task.kind).inputs
    known = set(inputs(parts["train"]))
    return {
        split: sum(each in known for each in inputs(rows))
        for split, rows in parts.items()
        if split != "train"
    }


def _part(arrays: Mapping[str, NDArray[Any]], prefix: str) -> Arrays:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _load(path: Path) -> dict[str, NDArray[Any]] | None:
    try:
        # The torch reader maps the file into memory; the numpy reader would read all of it.
        return {name: tensor.numpy() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError):
        return None  # missing, or truncated by a crash: made again


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with suppress(OSError, SafetensorError):  # the cache only saves time
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as own:
            save_file(arrays, own)
