"""The blocks of a race, read from the records of its runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from gapbench.bench.advice.arms import Arm
from gapbench.bench.advice.confidence_sequence import Floats, Ints
from gapbench.bench.advice.state import BlockResults
from gapbench.bench.config.run import Cell, NestedFolds, Run
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import ConfigError, RecordError
from gapbench.bench.data.sources import Sources
from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.metrics.base import no_items
from gapbench.bench.store.failure import left_alone
from gapbench.bench.store.items import ItemTable
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import Store
from gapbench.bench.tasks import dataset, kinds
from gapbench.bench.tasks.split_rows import cut_splits, kept_together

_MOST_PARTS = 10**9  # of a text in a block
_SPLIT = "test"  # the fold of a block, see `NestedFolds`


def raced_metric(task: Task) -> str:
    """Return the metric that arms are compared by: the main one, if single examples add to it."""
    main = task.metrics[0]
    told = main in kinds.get(task.kind).final_metrics(task, _SPLIT)
    return main if told and get_metric(main).items is not no_items else task.selection


@dataclass
class BlockReader:
    """Reads blocks; each record once.

    Attributes:
        store: where the runs of the race are.
        arms: all arms.
        folds: how the rows are cut.
        groups: (rows,) number of the group that a row of the training file stays in; None of a
            text, whose parts are cut anew in every block.
    """

    store: Store
    arms: Sequence[Arm]
    folds: NestedFolds
    groups: Ints | None = None
    _known: dict[str, tuple[Record, "_Items | None"]] = field(default_factory=dict, init=False)

    def runs(self, block: int, names: Sequence[str]) -> dict[str, Run]:
        """Return the runs of some arms on a block."""
        return {arm.name: Run(arm.on(self.folds), block) for arm in self.arms if arm.name in names}

    def done(self, run: Run) -> bool:
        """Whether a run has ended, in success or in failures that no further try mends."""
        if run.hash in self._known:
            return True
        status = self.store.status(run)
        return status is not None and (status.settled or left_alone(self.store.find(run)))

    def blocks(self) -> list[BlockResults]:
        """Return the blocks in order, up to the first that no arm has done."""
        found: list[BlockResults] = []
        for number in count():
            block = self._block(number)
            if block is None:
                return found
            found.append(block)
        raise AssertionError

    def records(self, name: str, blocks: int) -> list[Record]:
        """Return the records of an arm on the first blocks, as far as it did them."""
        runs = [run for number in range(blocks) for run in self.runs(number, [name]).values()]
        return [self._read(run)[0] for run in runs if self.done(run)]

    def _block(self, number: int) -> BlockResults | None:
        ended = {
            name: self._read(run)
            for name, run in self.runs(number, [arm.name for arm in self.arms]).items()
            if self.done(run)
        }
        if not ended:
            return None
        items = {name: found for name, (_, found) in ended.items() if found is not None}
        ids = next((found.ids for found in items.values()), np.array([], dtype=np.int64))
        if any(not np.array_equal(found.ids, ids) for found in items.values()):
            raise RecordError(
                f"{self.store.root}: runs of block {number} are scored on different rows; give "
                "another folder with --results DIR"
            )
        return BlockResults(
            items=self._identities(number, ids),
            losses={name: found.losses for name, found in items.items()},
            failed={
                name: self._why(record) for name, (record, found) in ended.items() if found is None
            },
            seconds={name: seconds(record) for name, (record, _) in ended.items() if record.cost},
            ece={
                name: record.calibration.ece
                for name, (record, _) in ended.items()
                if record.calibration is not None
            },
        )

    def _identities(self, block: int, ids: Ints) -> Ints:
        """Return what tells items of all blocks apart; those of a text hold inside a repeat."""
        return block * _MOST_PARTS + ids if self.groups is None else self.groups[ids]

    def _why(self, record: Record) -> str:
        if record.status == Status.OK:
            return f"its run has no {raced_metric(record.cell.task)} on its fold"
        return f"{record.status}: {record.cause}"

    def _read(self, run: Run) -> tuple[Record, "_Items | None"]:
        if run.hash not in self._known:
            record = self.store.find(run)
            if record is None:
                raise RecordError(f"{self.store.record_path(run)} cannot be read; remove it")
            self._known[run.hash] = record, self._items(record)
        return self._known[run.hash]

    def _items(self, record: Record) -> "_Items | None":
        """Return what an arm lost on each item, None if its run failed."""
        if record.status != Status.OK:
            return None
        name = raced_metric(record.cell.task)
        score = record.score(_SPLIT, name)
        if score is None:
            return None
        table = self.store.predictions(record.run, _SPLIT)
        values = None if table is None else ItemTable(table).checked(name, score)
        if table is None or values is None:
            raise ConfigError(
                f"task {record.cell.task.name!r}: metric {name!r} is no mean over examples, so "
                "arms cannot be compared example by example; give the task another first metric"
            )
        sign = -1.0 if get_metric(name).higher_is_better else 1.0
        return _Items(table["example_id"].to_numpy(), sign * values)


def groups_of_rows(cell: Cell, blocks: int, sources: Sources) -> Ints | None:
    """Return the group of each row of the training file, see `BlockReader.groups`.

    Raises:
        DataError: if the rows cannot be cut into so many blocks.
    """
    rows = dataset.read_rows(cell.task, sources)
    for block in range(blocks):
        cut_splits(Run(cell, block), rows)
    if cell.task.joined:
        return None
    pool = rows["train"]
    groups = np.full(pool.numbers.max() + 1, -1)
    groups[pool.numbers] = kept_together(cell.task, pool)
    return groups


@dataclass(frozen=True)
class _Items:
    """Identities and losses of the items of a run, (items,) each."""

    ids: np.ndarray[tuple[int], np.dtype[np.int64]]
    losses: Floats


def seconds(record: Record) -> float:
    """Return the time of training and scoring a run."""
    return record.cost.train_seconds + record.cost.evaluation_seconds if record.cost else 0.0
