"""Blocks of repeated K-fold: the same for every method, disjoint, and apart from the test split."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from gapbench.bench.config.run import (
    Block,
    Budget,
    Cell,
    Fingerprint,
    Folds,
    NestedFolds,
    Run,
    Training,
)
from gapbench.bench.config.task import Task
from gapbench.bench.config.task_files import load
from gapbench.bench.core.errors import DataError
from gapbench.bench.data.rows import Rows
from gapbench.bench.data.sources import Sources
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.dataset import read_rows
from gapbench.bench.tasks.split_rows import cut_splits
from tests.experiment.test_own_data import SHARED, numbered, own_task
from tests.experiment.test_scaffold import write
from tests.support import span_files

FIVE = Folds(folds=5)
NESTED = NestedFolds(folds=5, nested=True)


def run_of(task: Task, seed: int = 0, method: str = "lora", size: int | None = None) -> Run:
    """Return a run of five folds."""
    named = Fingerprint(name="any", digest="0")
    cell = Cell(
        task=task,
        data=named,
        backbone=named,
        method=method,
        config={},
        training=Training(),
        budget=Budget(steps=1, train_size=size),
        resample=FIVE,
    )
    return Run(cell, seed)


def test_seeds_count_the_folds_of_one_repeat_then_of_the_next() -> None:
    """Seed 7 of five folds is fold 2 of the second cut; runs without folds have no block."""
    assert run_of(load("syn_sentiment"), 7).block == Block(repeat=1, fold=2)
    fixed = run_of(load("syn_sentiment")).cell.model_copy(update={"resample": "fixed"})
    assert (Run(fixed, 7).block, Run(fixed, 7).sample) == (None, None)


@cache
def spans() -> tuple[Task, dict[str, Rows]]:
    """Return questions, two to a text, which is their group."""
    task, kind = span_files.make_task(), kinds.get("span")
    tables = {split: span_files.questions(60, split) for split in ("train", "test")}
    rows = {split: kind.read(task, split, table) for split, table in tables.items()}
    titles = np.unique(tables["train"]["title"], return_inverse=True)[1]
    rows["train"] = Rows(
        rows["train"].columns, rows["train"].targets, None, rows["train"].row_numbers, titles
    )
    return task, rows


@cache
def built_in(name: str) -> tuple[Task, dict[str, Rows]]:
    """Return the official rows of a built-in task."""
    return load(name), read_rows(load(name), Sources())


TASKS: dict[str, Callable[[], tuple[Task, dict[str, Rows]]]] = {
    "classification": lambda: built_in("syn_entailment"),
    "regression": lambda: built_in("syn_similarity"),
    "generation": lambda: built_in("syn_data2text"),
    "choice": lambda: built_in("syn_choice"),
    "span": spans,
}


@pytest.mark.parametrize("kind", TASKS)
def test_folds_of_a_repeat_partition_what_is_not_test(kind: str) -> None:
    """Each row is validated on once a repeat; inputs never straddle; test stays as it is."""
    task, rows = TASKS[kind]()
    assert task.kind == kind
    inputs = kinds.get(kind).inputs
    pool = sorted(rows["train"].numbers.tolist())
    for repeat in (0, 1):
        held_out: list[int] = []
        for fold in range(5):
            parts, share = cut_splits(run_of(task, 5 * repeat + fold), rows)
            ours, theirs = (parts[split] for split in ("train", "validation"))
            assert sorted([*ours.numbers.tolist(), *theirs.numbers.tolist()]) == pool
            assert not set(inputs(ours)) & set(inputs(theirs))
            if rows["train"].groups is not None:
                assert not {*ours.groups} & {*theirs.groups}  # type: ignore[misc]
            assert parts["test"] is rows["test"]
            assert share == pytest.approx(len(ours) / len(pool))
            assert share == pytest.approx(0.8, abs=0.03)
            held_out += theirs.numbers.tolist()
        assert sorted(held_out) == pool


@pytest.mark.parametrize("kind", TASKS)
def test_nested_folds_score_on_rows_that_chose_no_checkpoint(kind: str) -> None:
    """The fold is the test split; validation is cut from the others; official tests are unread."""
    task, rows = TASKS[kind]()
    inputs = kinds.get(kind).inputs
    for fold in range(5):
        flat = run_of(task, fold)
        outer, _ = cut_splits(flat, {**rows, "test_other": rows["test"]})
        nested = Run(flat.cell.changed({"resample": NESTED}), fold)
        parts, share = cut_splits(nested, {**rows, "test_other": rows["test"]})
        assert share == len(parts["train"]) / (len(parts["train"]) + len(parts["test"]))
        assert set(parts) == {"train", "validation", "test"}
        assert parts["test"].numbers.tolist() == outer["validation"].numbers.tolist()
        inner = [*parts["train"].numbers.tolist(), *parts["validation"].numbers.tolist()]
        assert sorted(inner) == sorted(outer["train"].numbers.tolist())
        assert len(parts["validation"]) == pytest.approx(task.validation_size, rel=0.5)
        if rows["train"].groups is not None:
            assert not set(inputs(parts["train"])) & set(inputs(parts["validation"]))


def test_nested_folds_are_another_run_and_leave_old_hashes() -> None:
    """A cell says which folds it has, and reads itself back."""
    flat = run_of(load("syn_sentiment")).cell
    nested = flat.changed({"resample": NESTED})
    assert flat.model_dump()["resample"] == {"folds": 5}
    assert nested.model_dump()["resample"] == {"folds": 5, "nested": True}
    assert nested.hash != flat.hash
    for cell in (flat, nested):
        assert Cell.model_validate(cell.model_dump(mode="json")).resample == cell.resample


def test_block_depends_on_the_seed_alone() -> None:
    """Every method has the same; another repeat cuts other folds."""
    task, rows = built_in("syn_sentiment")
    cuts = {
        (method, seed): cut_splits(run_of(task, seed, method), rows)[0]["validation"].numbers
        for method in ("lora", "majority", "full")
        for seed in (0, 5)
    }
    for method in ("majority", "full"):
        for seed in (0, 5):
            assert cuts[method, seed].tolist() == cuts["lora", seed].tolist()
    assert set(cuts["lora", 0]) != set(cuts["lora", 5])


def test_train_size_takes_a_nested_part_of_the_train_rows_of_a_block() -> None:
    """Validation stays; sizes are nested; the share is of all rows outside of test."""
    task, rows = built_in("syn_sentiment")
    whole, _ = cut_splits(run_of(task, 3), rows)
    parts = {size: cut_splits(run_of(task, 3, size=size), rows) for size in (20, 60)}
    small, large = (set(parts[size][0]["train"].numbers) for size in (20, 60))
    assert small < large < set(whole["train"].numbers)
    assert parts[60][0]["validation"].numbers.tolist() == whole["validation"].numbers.tolist()
    assert parts[60][1] == pytest.approx(60 / len(rows["train"]))
    other = cut_splits(run_of(task, 4, size=20), rows)[0]["train"]
    assert small != set(other.numbers)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_own_rows_keep_groups_and_classes(suffix: str, tmp_path: Path) -> None:
    """Rows of one writer are in one fold, and every fold has about its share of the classes."""
    writers = [f"writer {i // 3}" for i in range(120)]
    write(tmp_path, numbered(120) | {"writer": writers}, suffix)
    source = SHARED | {"train": f"../rows{suffix}"}
    task = own_task(tmp_path, source, group="writer")
    rows = read_rows(task, Sources())
    for seed in range(5):
        parts, _ = cut_splits(run_of(task, seed), rows)
        sides = [{writers[i] for i in parts[split].numbers} for split in ("train", "validation")]
        assert not sides[0] & sides[1]
        merry = parts["validation"].targets.mean()
        assert merry == pytest.approx(rows["train"].targets.mean(), abs=0.1)


@pytest.mark.parametrize(
    ("group", "changed", "says"),
    [
        ("writer", {"writer": ["me", "you", "they"] * 10}, "only [23] groups, since those of one"),
        (None, {"text": ["hi", "ho", "hm"] * 10}, "groups, since those of equal input"),
    ],
)
def test_fewer_groups_than_folds_are_refused(
    group: str | None, changed: dict[str, list[str]], says: str, tmp_path: Path
) -> None:
    """The message names the field and how many folds there may be."""
    write(tmp_path, numbered(30) | changed)
    task = own_task(tmp_path, SHARED, group=group)
    with pytest.raises(DataError, match=says) as raised:
        cut_splits(run_of(task), read_rows(task, Sources()))
    assert "field 'resample.folds' is 5" in str(raised.value)
    assert "give at most" in str(raised.value)


def test_too_large_a_train_size_is_refused() -> None:
    """It may take no more than what a block leaves for training."""
    task, rows = built_in("syn_sentiment")
    with pytest.raises(DataError, match="'train_size' is 100000"):
        cut_splits(run_of(task, size=100_000), rows)
