"""From a task's rows to tokenised train, validation and test splits, made once and memory-mapped.

Validation is always cut from the official train split (stratified, keyed by the task alone), and
the official test split is only ever scored, never used to choose. Under the protocol `paper` the
test split serves as validation, as the papers do.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file
from safetensors.torch import load_file

from bench.config import Cell
from bench.errors import DataError
from bench.rows import Rows, read_rows
from bench.schema import content_hash
from bench.seed import permutation, seed_of
from bench.sources import Sources, cache_folder
from bench.tasks import Task

FORMAT_VERSION = 1  # of the cached arrays; raised when their meaning changes
_REGRESSION_STRATA = 10


@dataclass(frozen=True)
class EncodedSplit:
    """Tokenised examples, concatenated; example i is ``input_ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        input_ids: (all tokens,) int32.
        token_type_ids: (all tokens,) int8, or None where the backbone has no segments.
        offsets: (examples + 1,) int64.
        targets: (examples,) int64 class indices, or float32 values for regression.
        example_ids: (examples,) row number in the official split.
        truth: true probabilities (examples, classes) or true means (examples, 1) of built-in tasks.
        pad_id: token id used for padding.
    """

    input_ids: NDArray[np.int32]
    token_type_ids: NDArray[np.int8] | None
    offsets: NDArray[np.int64]
    targets: NDArray[Any]
    example_ids: NDArray[np.int64]
    truth: NDArray[np.float64] | None
    pad_id: int

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of every example."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class TaskData:
    """The three splits of a task as one backbone reads them."""

    train: EncodedSplit
    validation: EncodedSplit
    test: EncodedSplit


def prepare(cell: Cell, sources: Sources, tokenizer: Any) -> TaskData:
    """Return the encoded splits of a cell's task, from the cache where they were made before.

    Raises:
        DataError: if rows are missing, or contradict the task.
    """
    task, budget = cell.task, cell.budget
    key = content_hash(
        [
            FORMAT_VERSION,
            task.identity(),
            cell.data.digest,
            cell.backbone.digest,
            cell.protocol,
            budget.train_size,
        ]
    )
    path = cache_folder() / "tokens" / f"{task.name}-{key[:16]}.safetensors"
    arrays = _load(path)
    if arrays is None:
        arrays = _encode_splits(cell, sources, tokenizer)
        _save(path, arrays)
    pad_id = int(tokenizer.pad_token_id)
    splits = {name: _split(arrays, name, pad_id) for name in ("train", "validation", "test")}
    return TaskData(**splits)


def cut(targets: NDArray[Any], size: int, seed: int, *, classes: bool) -> NDArray[np.bool_]:
    """Choose ``size`` examples so that every class (or tenth of the range) keeps its share.

    Returns:
        (examples,) True for the chosen ones; the same on every machine.
    """
    ranks = targets if classes else np.argsort(np.argsort(targets, kind="stable"), kind="stable")
    strata = ranks if classes else ranks * _REGRESSION_STRATA // len(targets)
    shuffled = permutation(len(targets), seed)
    ordered = shuffled[np.argsort(strata[shuffled], kind="stable")]
    chosen = np.zeros(len(targets), dtype=bool)
    # Evenly spaced places in an order grouped by class take the same share of each class.
    places = ((np.arange(size) + 0.5) * len(targets) / size).astype(np.int64)
    chosen[ordered[places]] = True
    return chosen


def _encode_splits(cell: Cell, sources: Sources, tokenizer: Any) -> dict[str, NDArray[Any]]:
    task = cell.task
    rows = read_rows(task, sources)
    train_ids = np.arange(len(rows["train"].targets))
    parts = {
        "train": (rows["train"], train_ids),
        "test": (rows["test"], np.arange(len(rows["test"].targets))),
    }
    if cell.protocol == "paper":
        parts["validation"] = parts["test"]
    else:
        parts["train"], parts["validation"] = _cut_validation(task, rows["train"])
    kept = cell.budget.train_size
    available = len(parts["train"][1])
    if kept is not None and kept > available:
        raise DataError(
            f"task {task.name!r}: field 'train_size' is {kept}, but only {available} training "
            "examples are left beside validation; make it smaller or leave it out"
        )
    if kept is not None:
        train, ids = parts["train"]
        chosen = np.flatnonzero(
            cut(
                train.targets,
                kept,
                seed_of("subset", task.name),
                classes=task.kind == "classification",
            )
        )
        parts["train"] = (train.take(chosen), ids[chosen])
    return {
        f"{split}.{name}": array
        for split, (part, ids) in parts.items()
        for name, array in _encode(task, part, ids, tokenizer).items()
    }


def _cut_validation(
    task: Task, train: Rows
) -> tuple[tuple[Rows, NDArray[np.int64]], tuple[Rows, NDArray[np.int64]]]:
    n, size = len(train.targets), task.validation_size
    if size >= n:
        raise DataError(
            f"task {task.name!r}: field 'validation_size' is {size}, but the train split has only "
            f"{n} examples; make it smaller"
        )
    chosen = cut(
        train.targets,
        size,
        seed_of("validation", task.name, task.version),
        classes=task.kind == "classification",
    )
    kept, held = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    return (train.take(kept), kept), (train.take(held), held)


def _encode(
    task: Task, rows: Rows, ids: NDArray[np.int64], tokenizer: Any
) -> dict[str, NDArray[Any]]:
    datasets.disable_progress_bars()
    table = datasets.Dataset.from_dict({f"text{i}": list(t) for i, t in enumerate(rows.texts)})
    limit = min(task.max_length, int(tokenizer.model_max_length))
    encoded = table.map(
        lambda batch: dict(tokenizer(*batch.values(), truncation=True, max_length=limit)),
        batched=True,
        remove_columns=table.column_names,
        keep_in_memory=True,
    )
    tokens = encoded.data["input_ids"].combine_chunks()
    lengths = np.asarray(tokens.value_lengths())
    arrays: dict[str, NDArray[Any]] = {
        "input_ids": np.asarray(tokens.flatten()).astype(np.int32),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "targets": rows.targets,
        "example_ids": ids.astype(np.int64),
    }
    if "token_type_ids" in encoded.column_names:
        types = encoded.data["token_type_ids"].combine_chunks().flatten()
        arrays["token_type_ids"] = np.asarray(types).astype(np.int8)
    if rows.truth is not None:
        arrays["truth"] = rows.truth
    return arrays


def _split(arrays: Mapping[str, NDArray[Any]], name: str, pad_id: int) -> EncodedSplit:
    part = {key.partition(".")[2]: array for key, array in arrays.items() if key.startswith(name)}
    return EncodedSplit(
        input_ids=part["input_ids"],
        token_type_ids=part.get("token_type_ids"),
        offsets=part["offsets"],
        targets=part["targets"],
        example_ids=part["example_ids"],
        truth=part.get("truth"),
        pad_id=pad_id,
    )


def _load(path: Path) -> dict[str, NDArray[Any]] | None:
    if not path.is_file():
        return None
    try:
        # The torch reader maps the file into memory; the numpy one would read it all.
        return {name: tensor.numpy() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError):
        return None  # cut off by a crash: made again


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    part = path.with_suffix(f".part-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, part)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)  # the cache only saves time
