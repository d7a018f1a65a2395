"""The splits of a run: official rows, cut as the fields of its task and suite ask."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.config.run import Folds, NestedFolds, Run
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import DataError
from gapbench.bench.core.seeding import seed_of
from gapbench.bench.data.rows import Rows, numbered
from gapbench.bench.tasks import cuts, kinds


def cut_splits(run: Run, rows: Mapping[str, Rows]) -> tuple[dict[str, Rows], float | None]:
    """Cut the official splits for a run.

    Args:
        run: run that trains on them.
        rows: result of `read_rows`.

    Returns:
        The rows by split, now with validation; and the share of those that training rows are drawn
        from, None if all seeds train on the same rows. Of nested folds, the rows that choose the
        checkpoint count for neither side.

    Raises:
        DataError: if there are too few rows for a cut.
    """
    task, resample, size = run.cell.task, run.cell.resample, run.cell.budget.train_size
    if task.tests_only:
        return dict(rows), None
    parts, drawn_from = dict(rows), len(rows["train"])
    if run.cell.protocol == "paper":
        parts["validation"] = parts["test"]
    elif isinstance(resample, Folds):
        rest, fold = _cut_block(task, rows["train"], resample, run.seed)
        if isinstance(resample, NestedFolds):
            train, validation = cut_validation(task, rest)
            parts = {"train": train, "validation": validation, "test": fold}
            drawn_from = len(train) + len(fold)  # Nadeau and Bengio compare these two
        else:
            parts |= {"train": rest, "validation": fold}
    else:
        parts["train"], parts["validation"] = cut_validation(task, rows["train"])
        drawn_from = len(parts["train"])
    if size is not None:
        parts["train"] = _subset(run, parts["train"], size)
    return parts, None if run.sample is None else len(parts["train"]) / drawn_from


def cut_validation(task: Task, train: Rows) -> tuple[Rows, Rows]:
    """Return the rows to train on, and those of validation.

    Raises:
        DataError: if there are too few rows.
    """
    n, size = len(train), task.validation_size
    if size >= n:
        raise DataError(
            f"task {task.name!r}: field 'validation_size' is {size}, but the train split has only "
            f"{n} examples; make it smaller"
        )
    seed = seed_of("validation", task.name, task.version)
    return divide(task, train, size, seed, "validation_size")


def divide(task: Task, rows: Rows, size: int, seed: int, field: str) -> tuple[Rows, Rows]:
    """Split rows in two: the rest, and a part of ``size`` rows, as a field of the task asks.

    Raises:
        DataError: naming the field, if there is no rest.
    """
    chosen = _cut(task, rows, size, seed, field)
    if chosen.all():
        raise DataError(
            f"task {task.name!r}: field {field!r} asks for {size} of {len(rows)} examples, but "
            f"those {_alike(task)} stay together, so none would be left to train on; make it "
            "smaller, or give rows that differ more"
        )
    return rows.take(np.flatnonzero(~chosen)), rows.take(np.flatnonzero(chosen))


def _cut_block(task: Task, rows: Rows, resample: Folds, seed: int) -> tuple[Rows, Rows]:
    """Return the rows outside of the fold of a seed's block, and those of the fold."""
    block = resample.block(seed)
    groups = kept_together(task, rows)
    distinct = len(np.unique(groups))
    if distinct < resample.folds and not task.joined:
        raise DataError(
            f"task {task.name!r}: field 'resample.folds' is {resample.folds}, but the {len(rows)} "
            f"rows to cut make only {distinct} groups, since those {_alike(task)} stay together; "
            f"give at most {distinct} folds, or rows that differ more"
        )
    key = seed_of("folds", task.name, task.version, resample.folds, block.repeat)
    fold_of = (
        cuts.folds_of_text(len(rows), resample.folds, key)
        if task.joined
        else cuts.folds(rows.targets, groups, resample.folds, key)
    )
    inside = fold_of == block.fold
    return rows.take(np.flatnonzero(~inside)), rows.take(np.flatnonzero(inside))


def kept_together(task: Task, rows: Rows) -> NDArray[np.int64]:
    """Return the group of each row that folds keep whole: that of the task, or of equal inputs."""
    return numbered(kinds.get(task.kind).inputs(rows)) if rows.groups is None else rows.groups


def _subset(run: Run, train: Rows, size: int) -> Rows:
    task = run.cell.task
    if size > len(train):
        raise DataError(
            f"task {task.name!r}: field 'train_size' is {size}, but only {len(train)} training "
            "examples are left after validation; make it smaller or leave it out"
        )
    seed = seed_of("subset", task.name, *([] if run.sample is None else [run.sample]))
    cut = cuts.cut if run.block is None else cuts.cut_nested
    return train.take(np.flatnonzero(_cut(task, train, size, seed, "train_size", cut)))


def _cut(
    task: Task,
    rows: Rows,
    size: int,
    seed: int,
    field: str,
    cut: Callable[..., NDArray[np.bool_]] = cuts.cut,
) -> NDArray[np.bool_]:
    """Choose about ``size`` rows, whole groups where there are any, as a field of the task asks.

    Raises:
        DataError: naming the field, if that gives less than half as many, or more than twice.
    """
    if task.joined:
        return cuts.block(len(rows), size, seed)
    if rows.groups is None:
        return cut(rows.targets, size, seed)
    chosen = _cut_groups(task, rows, rows.groups, size, seed, cut)
    found = int(chosen.sum())
    if not size / 2 <= found <= size * 2:
        raise DataError(
            f"task {task.name!r}: field {field!r} asks for {size} of {len(rows)} examples, but "
            f"those {_alike(task)} stay together, and whole groups make {found}; ask for another "
            "number, or remove rows that repeat others"
        )
    return chosen


def _alike(task: Task) -> str:
    """Return what rows that stay together have in common."""
    return f"of one {task.group!r}" if task.group else "of equal input"


def _cut_groups(
    task: Task,
    rows: Rows,
    groups: NDArray[np.int64],
    size: int,
    seed: int,
    cut: Callable[..., NDArray[np.bool_]],
) -> NDArray[np.bool_]:
    if task.group is not None:
        return cuts.cut_groups(groups, size, seed)
    # Equal inputs mostly have equal labels: the first represents all of them.
    _, first, groups, counts = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    if len(first) < 2:
        raise DataError(f"task {task.name!r}: all inputs are equal; give rows that differ")
    # One that would make half of the part or more is passed over, unless all are.
    small = counts * 2 <= size if (counts * 2 <= size).any() else counts > 0
    count = max(1, round(size * int(small.sum()) / int(counts[small].sum())))
    chosen = np.zeros(len(first), dtype=bool)
    chosen[small] = cut(rows.targets[first[small]], count, seed)
    return chosen[groups]
