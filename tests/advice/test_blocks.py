"""Blocks as they are read from records: which items are the same in several of them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from gapbench.bench.advice import blocks
from gapbench.bench.advice.arms import Arm
from gapbench.bench.advice.blocks import BlockReader, groups_of_rows
from gapbench.bench.advice.confidence_sequence import Ints
from gapbench.bench.config.run import NestedFolds, Run
from gapbench.bench.config.task_files import load
from gapbench.bench.core.errors import DataError
from gapbench.bench.data.rows import Rows
from gapbench.bench.data.sources import Sources
from gapbench.bench.store.store import Store
from gapbench.bench.tasks.dataset import read_rows
from tests.experiment.test_own_data import SHARED, numbered, own_task
from tests.experiment.test_scaffold import write
from tests.support.small_suite import CELL

TWO = NestedFolds(folds=2, nested=True)


def reader(folder: Path, task: str, groups: Ints | None = None) -> BlockReader:
    """Return a reader of blocks of a task."""
    return BlockReader(Store(folder), [Arm(CELL.changed({"task": load(task)}))], TWO, groups)


def test_items_are_rows_or_their_groups_in_every_block(tmp_path: Path) -> None:
    """A row, or a group, is the same one in every repeat."""
    ids = np.array([3, 0, 2])
    grouped = reader(tmp_path, "syn_sentiment", np.array([7, -1, 7, 8]))
    assert grouped._identities(0, ids).tolist() == [8, 7, 7]
    assert grouped._identities(5, ids).tolist() == [8, 7, 7]


def test_parts_of_a_text_are_others_in_every_block(tmp_path: Path) -> None:
    """They are numbered anew, and cut elsewhere, in each."""
    text = reader(tmp_path, "wikitext2")
    ids = np.arange(4)
    assert len({*text._identities(0, ids).tolist(), *text._identities(1, ids).tolist()}) == 8


@pytest.mark.parametrize(("writers", "known"), [(12, 12), (4, None)])
def test_rows_of_a_file_have_the_groups_that_folds_keep(
    writers: int, known: int | None, tmp_path: Path
) -> None:
    """They are those of the task; too few of them are refused before anything is trained."""
    names = [f"writer {i % writers}" for i in range(120)]
    write(tmp_path, numbered(120) | {"writer": names})
    task = own_task(tmp_path, SHARED, group="writer")
    nested = NestedFolds(folds=5, nested=True)
    cell = CELL.changed({"task": task, "resample": nested})
    if known is None:
        with pytest.raises(DataError, match=r"field 'resample.folds' is 5"):
            groups_of_rows(cell, 1, Sources())
        return
    groups = groups_of_rows(cell, 1, Sources())
    assert groups is not None
    own = {group for row, group in enumerate(groups.tolist()) if group >= 0}
    assert len(own) == len({names[row] for row, group in enumerate(groups) if group >= 0}) <= known


def test_equal_inputs_of_published_rows_are_one_group() -> None:
    """Folds keep them together, so they are no independent items."""
    five = NestedFolds(folds=5, nested=True)
    sentiment = CELL.changed({"task": load("syn_sentiment"), "resample": five})
    groups = groups_of_rows(sentiment, 1, Sources())
    inputs = read_rows(sentiment.task, Sources())["train"]
    assert groups is not None
    assert len(np.unique(groups)) == len(set(inputs.columns["sentence"])) <= len(inputs)


def test_every_planned_block_is_cut_before_any_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut that a later block cannot have is refused at once."""
    write(tmp_path, numbered(120))
    cell = CELL.changed({"task": own_task(tmp_path, SHARED), "resample": TWO})
    tried: list[int] = []

    def cut(run: Run, _: Mapping[str, Rows]) -> None:
        tried.append(run.seed)
        if run.seed == 5:
            raise DataError("groups are too large")

    monkeypatch.setattr(blocks, "cut_splits", cut)
    groups_of_rows(cell, 4, Sources())
    with pytest.raises(DataError, match="too large"):
        groups_of_rows(cell, 8, Sources())
    assert tried == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5]
