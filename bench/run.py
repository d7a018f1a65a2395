"""One stack of runs to its records: load, adapt, train, score, store.

Whatever happens to a stack ends in a defined status of each of its runs; the runs that are finished
stay as they are.
"""

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from bench import backbone as backbones
from bench import data, provenance, registry
from bench.backbone import Backbone
from bench.config import Run
from bench.errors import BenchError, SealedError, StoreError
from bench.memory import MemoryPeak
from bench.method import AnyMethod, TrainState
from bench.outcome import blank_record, records
from bench.record import Record, Status
from bench.set_up import load_backbone, set_up
from bench.sources import Sources
from bench.splits import TaskData
from bench.stack_size import divide
from bench.store import Store
from bench.train import Trainer, Watch

Progress = Callable[[float], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Executor:
    """Runs stacks on one device and stores what comes of them.

    Attributes:
        watch: given while settings are tuned: sees every evaluation and may end a run. The test
            split is then sealed, and records are of train and validation alone.
        divides: whether it cuts stacks to the size that it measures to be fastest.
    """

    store: Store
    sources: Sources
    device: torch.device
    watch: Watch | None = None
    divides: bool = False

    def run(self, runs: Sequence[Run], progress: Progress) -> dict[str, Status]:
        """Run what is still missing of a stack; another process may hold or have done some of it.

        Args:
            runs: runs that may share a stack.
            progress: called with the share of this stack that is done.

        Returns:
            Status by run hash, of the runs that this call has settled or attempted.
        """
        with self.store.claim(runs) as mine:
            statuses = self._attempt(mine, progress) if mine else {}
        progress(1.0)
        return statuses

    def give_up(self, runs: Sequence[Run], cause: str) -> dict[str, Status]:
        """Record runs whose claims the caller holds as failed, since no worker survives them."""
        return self._give_up(runs, Status.FAILED, cause, provenance.now())

    def _attempt(self, runs: list[Run], progress: Progress) -> dict[str, Status]:
        started = provenance.now()
        try:
            return self._execute(runs, progress)
        except (StoreError, SealedError):
            raise
        except KeyboardInterrupt:
            self._give_up(runs, Status.INTERRUPTED, "stopped by the user", started)
            raise
        except Exception as error:
            short = _is_out_of_memory(error)
            if not short or len(runs) == 1:
                status = Status.OUT_OF_MEMORY if short else Status.FAILED
                return self._give_up(runs, status, _cause(error), started)
        # Only here, outside the handler, are the tensors of the failed attempt free.
        half = len(runs) // 2
        _log.warning("out of memory with %d runs in a stack; going on with %d", len(runs), half)
        _free(self.device)
        return self._in_turn([runs[:half], runs[half:]], progress)

    def _in_turn(self, parts: Sequence[list[Run]], progress: Progress) -> dict[str, Status]:
        total = sum(map(len, parts))
        statuses: dict[str, Status] = {}
        for part in parts:
            begun = len(statuses) / total
            share = len(part) / total

            def report(done: float, begun: float = begun, share: float = share) -> None:
                progress(begun + share * done)

            statuses |= self._attempt(part, report)
        return statuses

    def _execute(self, runs: list[Run], progress: Progress) -> dict[str, Status]:
        started = provenance.now()
        cell = runs[0].cell
        reason = backbones.unfit(self.sources.locate(cell.backbone), cell.task.kind)
        if reason is not None:
            return self._give_up(runs, Status.SKIPPED, reason, started)
        backbone = load_backbone(cell, self.sources)
        skipped, runs = self._skip(runs, backbone, started)
        if not runs:
            return skipped
        if self.divides:
            task_data = data.prepare(cell, self.sources, backbone.reader)
            parts = divide(runs, backbone, task_data, self.device)
            if len(parts) > 1:
                return skipped | self._in_turn(parts, progress)
        attempt = Attempt.prepare(runs, backbone, self.sources, self.device, progress, self.watch)
        attempt.train()
        statuses = {}
        for record, predictions in attempt.records():
            self.store.write(record, predictions)
            statuses[record.run_hash] = record.status
        return skipped | statuses

    def _skip(
        self, runs: list[Run], backbone: Backbone, started: datetime
    ) -> tuple[dict[str, Status], list[Run]]:
        """Record the runs that the method says it cannot do; return them and the others."""
        left: list[Run] = []
        skipped: dict[str, Status] = {}
        for run in runs:
            method = registry.get(run.cell.method)
            config = method.Config.model_validate(run.cell.config)
            reason = method.obstacle(run.cell.task, backbone, config)
            if reason is None:
                left.append(run)
            else:
                skipped |= self._give_up([run], Status.SKIPPED, reason, started)
        return skipped, left

    def _give_up(
        self, runs: Sequence[Run], status: Status, detail: str, started: datetime
    ) -> dict[str, Status]:
        for run in runs:
            if not self.store.settled(run):
                record = blank_record(run, self.device, started, status=status, detail=detail)
                self.store.write(record)
        return {run.hash: status for run in runs}


@dataclass(frozen=True)
class Attempt:
    """A stack of runs on its way from set-up through training to records."""

    trainer: Trainer
    method: AnyMethod
    state: TrainState
    task_data: TaskData
    tokenizer: Any
    peak: MemoryPeak
    started: datetime

    @classmethod
    def prepare(
        cls,
        runs: Sequence[Run],
        backbone: Backbone,
        sources: Sources,
        device: torch.device,
        progress: Progress,
        watch: Watch | None = None,
    ) -> "Attempt":
        """Return a stack that is ready for its first step."""
        started = provenance.now()
        task_data = data.prepare(runs[0].cell, sources, backbone.reader)
        if watch is not None:
            task_data = task_data.seal()
        peak = MemoryPeak(device)
        method, state = set_up(runs, backbone, task_data, device)
        trainer = Trainer(runs, method, state, task_data, progress, watch)
        return cls(trainer, method, state, task_data, backbone.tokenizer, peak, started)

    def train(self) -> None:
        """Train, if the method does that at all."""
        if self.method.trains:
            self.trainer.train()

    def records(self) -> list[tuple[Record, pa.Table | None]]:
        """Score every run at its best checkpoint, whose numbers stay in place afterwards."""
        return records(
            self.trainer,
            self.method,
            self.state,
            self.task_data,
            self.tokenizer,
            self.peak,
            self.started,
        )


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _cause(error: Exception) -> str:
    if isinstance(error, BenchError):
        return str(error)
    return "".join(traceback.format_exception(error)).strip()


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def store_at(root: Path) -> Store:
    """Return the results folder at ``root``, ready for writing."""
    store = Store(root)
    store.open_for_writing()
    return store
