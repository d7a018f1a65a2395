"""From a stack of runs to its records: load, adapt, train, score, store.

Whatever happens to a stack, each of its runs ends with a defined status; finished runs stay as they
are.
"""

import gc
import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import torch

from gapbench.bench.adaptation.build import set_up, unsupported_reason
from gapbench.bench.config.run import Run, StoredPredictions
from gapbench.bench.core import signals
from gapbench.bench.core.errors import MergeError, SealedError, SettledError, StoreError
from gapbench.bench.core.memory import MemoryPeak
from gapbench.bench.core.schema import content_hash
from gapbench.bench.data.sources import Sources
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.profiling.self_check import checked_backbone
from gapbench.bench.profiling.stack_size import divide
from gapbench.bench.store import provenance
from gapbench.bench.store.event_log import EventLogger
from gapbench.bench.store.failure import cause_of, status_of
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import Predictions, Store
from gapbench.bench.tasks import dataset
from gapbench.bench.training.checkpoint import UNREADABLE, Checkpoints, SavedCheckpoint
from gapbench.bench.training.make_records import blank_record, records
from gapbench.bench.training.second_tests import ReadyTest, ready_tests, with_bare
from gapbench.bench.training.trainer import (
    Progress,
    PruningCallback,
    StepCallback,
    Trainer,
    part_of,
)

_log = logging.getLogger(__name__)
_FEW = 4  # largest stack under a time budget that is not measured for its best size


@dataclass(frozen=True)
class Executor:
    """Runs stacks on one device and stores the results.

    Attributes:
        pruning_callback: set during tuning: sees every evaluation and may end a run. The test split
            is then sealed, and records cover only train and validation.
        divides: whether stacks are cut to the size that is measured to be fastest.
        checkpoint_s: seconds between two checkpoints of a stack in training; None neither saves
            nor loads checkpoints.
        event_log: log that notes each stack.
        predictions: splits whose predictions are stored.
        keeps: whether the state that each run ended in is stored.
        sealed: whether the test split is sealed, as it is with a pruning callback.
    """

    store: Store
    sources: Sources
    device: torch.device
    pruning_callback: PruningCallback | None = None
    divides: bool = False
    checkpoint_s: float | None = None
    event_log: EventLogger | None = None
    predictions: StoredPredictions = "test"
    keeps: bool = False
    sealed: bool = False

    def run(
        self, runs: Sequence[Run], progress: Progress, seconds: float | None = None
    ) -> dict[str, Status]:
        """Run the missing runs of a stack; other processes may hold or have finished some.

        Args:
            runs: runs that may share a stack.
            progress: called with the share of this stack that is done.
            seconds: time limit, after which the stack in training is saved and the rest is skipped.

        Returns:
            Status by run hash, for the runs that this call has settled or attempted.
        """
        made: list[Record] = []
        with self.store.claim(runs) as mine:
            if mine:
                noted = self.event_log.stack(mine) if self.event_log else nullcontext(made)
                with noted as made, signals.until(seconds):
                    self._work_off(mine, made, progress)
                if self.checkpoint_s is not None:
                    self._checkpoints.clear(mine)
        progress(1.0)
        return {record.run_hash: record.status for record in made}

    def _work_off(self, runs: list[Run], made: list[Record], progress: Progress) -> None:
        """Add the records of a stack to ``made``; if all work ends, the other records say why.

        If a stack has to be cut, the smaller stacks are attempted in its place.
        """
        started = provenance.now()
        waiting = deque(self._by_checkpoint(_by_shape(runs) if self.keeps else [runs]))
        try:
            while waiting:
                signals.check()
                stack, saved = waiting.popleft()
                begun, share = len(made) / len(runs), len(stack) / len(runs)
                smaller = self._attempt(stack, saved, made, part_of(progress, begun, share))
                waiting.extendleft(reversed(self._by_checkpoint(smaller)))
        except SealedError:
            raise
        except StoreError as error:
            # If the disk has no room for predictions, a blank record, which is small, may fit.
            # If not, the run has no record, and the caller gets the error.
            with suppress(StoreError):
                self._give_up(_left(runs, made), Status.INTERRUPTED, str(error), started)
            raise
        except signals.Stopped as stop:
            if not signals.past_deadline():
                self._give_up(_left(runs, made), Status.INTERRUPTED, str(stop), started)
                raise
            _log.info("%s", stop)
        except KeyboardInterrupt as stop:
            cause = str(stop) or "stopped by the user"
            self._give_up(_left(runs, made), Status.INTERRUPTED, cause, started)
            raise

    def _by_checkpoint(
        self, stacks: Sequence[list[Run]]
    ) -> list[tuple[list[Run], SavedCheckpoint | None]]:
        """Return stacks with their checkpoints; runs that resume one form a separate stack."""
        if self.checkpoint_s is None:
            return [(runs, None) for runs in stacks]
        return [part for runs in stacks for part in self._checkpoints.divide(runs)]

    @property
    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self.store, self.device)

    def _attempt(
        self, runs: list[Run], saved: SavedCheckpoint | None, made: list[Record], progress: Progress
    ) -> list[list[Run]]:
        """Add the records of a stack to ``made``, including those of failed runs.

        Returns:
            Smaller stacks to attempt instead of the runs that have no record yet.
        """
        started = provenance.now()
        try:
            return self._execute(runs, saved, made, progress)
        except (SealedError, StoreError):
            raise
        except Exception as error:
            status, left = status_of(error), _left(runs, made)
            if status != Status.OUT_OF_MEMORY or len(runs) == 1:
                made += self._give_up(left, status, cause_of(error), started)
                return []
        # The tensors of the failed attempt are freed only here, outside the handler.
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        half = -(-len(left) // 2)
        _log.warning("out of memory with %d runs in a stack; continuing with %d", len(runs), half)
        return [part for part in (left[:half], left[half:]) if part]

    def _execute(
        self, runs: list[Run], saved: SavedCheckpoint | None, made: list[Record], progress: Progress
    ) -> list[list[Run]]:
        """Add each record to ``made`` once it is stored, so that later failures do not affect it.

        Returns:
            Stacks of the size that is fastest here, if this one is larger.
        """
        started = provenance.now()
        cell = runs[0].cell
        backbone = checked_backbone(cell, self.sources, self.device)
        if isinstance(backbone, str):
            made += self._give_up(runs, Status.SKIPPED, backbone, started)
            return []
        able = []
        for run in runs:
            reason = unsupported_reason(run.cell, backbone)
            if reason is None:
                able.append(run)
            else:
                made += self._give_up([run], Status.SKIPPED, reason, started)
        if not able:
            return []
        few = signals.has_deadline() and len(able) <= _FEW  # measuring would use up their time
        if self.divides and saved is None and not few:
            task_data = dataset.prepare(cell, self.sources, backbone.reader, runs[0].seed)
            parts = divide(able, backbone, task_data, self.device)
            if len(parts) > 1:
                return parts
        attempt = self._ready(able, saved, backbone, progress)
        keeps = self.keeps and not self.sealed and attempt.exports
        attempt.train()
        ended = self._ended(attempt.trainer) if keeps else {}
        for record, predictions in attempt.records(self.predictions):
            kept = ended.get(record.run_hash) if record.status == Status.OK else None
            made.append(self.store_record(record, predictions, kept))
        return []

    def _ended(self, trainer: Trainer) -> dict[str, bytes]:
        """Return the state that each run of a trained stack ended in, by hash."""
        whole = trainer.snapshot()
        return {
            run.hash: self._checkpoints.ended(run, whole.of([index]))
            for index, run in enumerate(trainer.runs)
        }

    def kept(self, run: Run) -> SavedCheckpoint | None:
        """Return the state that a run ended in, None if it was not kept."""
        return self._checkpoints.kept(run)

    def store_record(
        self, record: Record, predictions: Predictions, ended: bytes | None = None
    ) -> Record:
        """Store a record; return it, or the record that another process stored before."""
        try:
            self.store.write(record, predictions, ended)
        except SettledError:
            # If a shared folder shows new files late, two processes may do the same run.
            _log.warning(
                "%s was finished elsewhere in the meantime; that record is kept", record.run
            )
            return self.store.find(record.run) or record
        return record

    def _ready(
        self, runs: list[Run], saved: SavedCheckpoint | None, backbone: Backbone, progress: Progress
    ) -> "Attempt":
        """Set up a stack, and restore its checkpoint if it has one."""
        every_s = self.checkpoint_s
        step_callback = None if every_s is None else self._checkpoints.saver(runs, every_s)
        attempt = self.prepare(runs, backbone, progress, step_callback)
        if saved is None or attempt.resumed(saved):
            return attempt
        return self.prepare(runs, backbone, progress, step_callback)

    def prepare(
        self,
        runs: Sequence[Run],
        backbone: Backbone,
        progress: Progress,
        step_callback: StepCallback | None = None,
    ) -> "Attempt":
        """Return a stack that is ready for its first step."""
        started = provenance.now()
        first = runs[0]
        task_data = dataset.prepare(first.cell, self.sources, backbone.reader, first.seed)
        if self.sealed or self.pruning_callback is not None:
            task_data = task_data.seal()
        tests = () if task_data.sealed else ready_tests(first.cell, self.sources, backbone.reader)
        began = time.perf_counter()
        tests = with_bare(tests, first.cell, backbone, task_data, self.device)
        on_bare = time.perf_counter() - began
        peak = MemoryPeak(self.device)
        method, state = set_up(runs, backbone, task_data, self.device, check=True)
        callbacks = self.pruning_callback, step_callback
        trainer = Trainer(runs, method, state, task_data, progress, *callbacks)
        # Later stacks of this process find the scores of the bare backbone; this one paid for them.
        trainer.stopwatch.seconds = {"evaluation": np.full(len(runs), on_bare / len(runs))}
        return Attempt(trainer, backbone.tokenizer, peak, started, tests)

    def give_up(
        self, runs: Sequence[Run], cause: str, status: Status = Status.FAILED
    ) -> dict[str, Status]:
        """Record runs that no worker survives; the caller holds their claims."""
        records = self._give_up(runs, status, cause, provenance.now())
        return {record.run_hash: record.status for record in records}

    def _give_up(
        self, runs: Sequence[Run], status: Status, detail: str, started: datetime
    ) -> list[Record]:
        given_up: list[Record] = []
        for run in runs:
            if not self.store.settled(run):
                blank = blank_record(run, self.device, started, status=status, detail=detail)
                given_up.append(self.store_record(blank, {}))
        return given_up


@dataclass(frozen=True)
class Attempt:
    """One try at training a stack, from set-up to records."""

    trainer: Trainer
    tokenizer: Any
    peak: MemoryPeak
    started: datetime
    tests: tuple[ReadyTest, ...] = ()

    @property
    def exports(self) -> bool:
        """Whether what is trained can be written as an adapter."""
        try:
            self.trainer.method.export(self.trainer.state, 0)
        except MergeError:
            return False
        return True

    def resumed(self, saved: SavedCheckpoint) -> bool:
        """Bring the stack to a saved state; return False if that fails and it cannot be used."""
        try:
            self.trainer.restore(saved.snapshot(self.trainer.runs))
        except (*UNREADABLE, IndexError, RuntimeError) as error:
            if status_of(error) == Status.OUT_OF_MEMORY:
                raise
            _log.warning("%s: cannot be used: %s; starting from scratch", saved.path, error)
            return False
        _log.info("%s: continuing from step %d", saved.path, saved.step)
        return True

    def train(self) -> None:
        """Train, if the method trains."""
        if self.trainer.method.trains:
            self.trainer.train()

    def records(self, kept: StoredPredictions = "test") -> list[tuple[Record, Predictions]]:
        """Score every run at its best checkpoint, whose parameters stay in place afterwards.

        Args:
            kept: splits to return predictions of.
        """
        return records(self.trainer, self.tokenizer, self.peak, self.started, kept, self.tests)


def _by_shape(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the runs of each configuration: beside a larger rank, rows would be padded to it."""
    shapes: dict[str, list[Run]] = {}
    for run in runs:
        own = content_hash([run.cell.method, run.cell.config])
        shapes.setdefault(own, []).append(run)
    return list(shapes.values())


def _left(runs: Sequence[Run], made: Sequence[Record]) -> list[Run]:
    """Return the runs that have no record yet."""
    done = {record.run_hash for record in made}
    return [run for run in runs if run.hash not in done]
