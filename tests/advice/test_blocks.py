"""Blocks as they are read from records: which items are the same in several of them."""

from pathlib import Path

import numpy as np
import pytest

from gapbench.bench.advice.arms import Arm
from gapbench.bench.advice.blocks import BlockReader, groups_of_rows
from gapbench.bench.advice.confidence_sequence import Ints
from gapbench.bench.config.run import NestedFolds, Run
from gapbench.bench.config.task_files import load
from gapbench.bench.core.errors import DataError
from gapbench.bench.data.sources import Sources
from gapbench.bench.store.store import Store
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
    alone = reader(tmp_path, "syn_sentiment")
    assert alone._identities(0, ids).tolist() == alone._identities(5, ids).tolist() == [3, 0, 2]
    grouped = reader(tmp_path, "syn_sentiment", np.array([7, -1, 7, 8]))
    assert grouped._identities(1, ids).tolist() == [8, 7, 7]


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
    run = Run(CELL.changed({"task": task, "resample": nested}), 0)
    if known is None:
        with pytest.raises(DataError, match=r"field 'resample.folds' is 5"):
            groups_of_rows(run, Sources())
        return
    groups = groups_of_rows(run, Sources())
    assert groups is not None
    own = {group for row, group in enumerate(groups.tolist()) if group >= 0}
    assert len(own) == len({names[row] for row, group in enumerate(groups) if group >= 0}) <= known
