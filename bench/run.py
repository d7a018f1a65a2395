"""One stack of runs to its records: load, adapt, train, score, store.

Whatever happens to a stack ends in a defined status of each of its runs; the runs that are finished
stay as they are.
"""

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from bench import backbone as backbones
from bench import data, provenance, registry
from bench.backbone import Backbone
from bench.config import Run
from bench.cost import MemoryPeak
from bench.data import TaskData
from bench.errors import BenchError, StoreError
from bench.evaluate import Logits, Probe, best_possible, calibrate, predict, score
from bench.method import AnyMethod, TrainState
from bench.optim import ParameterBank, StackedAdamW
from bench.record import Checkpoint, Cost, Record, SplitScores, Status
from bench.seed import seed_of
from bench.sources import Sources
from bench.stack import RunAxis
from bench.store import Store
from bench.train import Trainer

FINAL_TRAIN_SIZE = 10_000  # training examples scored at the end; the record says how many it was

Progress = Callable[[float], None]
Scored = dict[str, tuple[Probe, Logits]]  # split to examples and (runs, examples, outputs)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Executor:
    """Runs stacks on one device and stores what comes of them."""

    store: Store
    sources: Sources
    device: torch.device

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

    def _attempt(self, runs: list[Run], progress: Progress) -> dict[str, Status]:
        started = provenance.now()
        try:
            return self._execute(runs, progress)
        except StoreError:
            raise
        except KeyboardInterrupt:
            self._give_up(runs, Status.INTERRUPTED, "stopped by the user", started)
            raise
        except Exception as error:
            if _is_out_of_memory(error):
                if len(runs) > 1:
                    half = len(runs) // 2
                    _log.warning(
                        "out of memory with %d runs in a stack; going on with %d", len(runs), half
                    )
                    _free(self.device)
                    return self._attempt(runs[:half], progress) | self._attempt(
                        runs[half:], progress
                    )
                return self._give_up(runs, Status.OUT_OF_MEMORY, _cause(error), started)
            return self._give_up(runs, Status.FAILED, _cause(error), started)

    def _execute(self, runs: list[Run], progress: Progress) -> dict[str, Status]:
        started = provenance.now()
        cell = runs[0].cell
        location = self.sources.locate(cell.backbone)
        backbone = backbones.load(location, cell.backbone, cell.task.n_outputs, cell.precision)
        skipped, runs = self._skip(runs, backbone, started)
        if not runs:
            return skipped
        task_data = data.prepare(cell, self.sources, backbone.tokenizer)
        peak = MemoryPeak(self.device)
        method, state = set_up(runs, backbone, task_data, self.device)
        trainer = Trainer(runs, method, state, task_data, progress)
        if method.trains:
            trainer.train()
        statuses = {}
        for record, predictions in _records(trainer, method, state, task_data, peak, started):
            self.store.write(record, predictions)
            statuses[record.run_hash] = record.status
        return skipped | statuses

    def _skip(
        self, runs: list[Run], backbone: Backbone, started: Any
    ) -> tuple[dict[str, Status], list[Run]]:
        """Record the runs that the method says it cannot do; return them and the others."""
        left, skipped = [], {}
        for run in runs:
            method = registry.get(run.cell.method)
            config = method.Config.model_validate(run.cell.config)
            reason = method.supports(run.cell.task, backbone, config)
            if reason is None:
                left.append(run)
            else:
                skipped |= self._give_up([run], Status.SKIPPED, reason, started)
        return skipped, left

    def _give_up(
        self, runs: Sequence[Run], status: Status, detail: str, started: Any
    ) -> dict[str, Status]:
        for run in runs:
            if not self.store.settled(run):
                self.store.write(_base(run, status, self.device, started, detail=detail))
        return {run.hash: status for run in runs}


def set_up(
    runs: Sequence[Run], backbone: Backbone, task_data: TaskData, device: torch.device
) -> tuple[AnyMethod, TrainState]:
    """Adapt a copy of the backbone for a stack of runs, ready for its first step."""
    cell = runs[0].cell
    method_class = registry.get(cell.method)
    axis = RunAxis([run.seed for run in runs], device, backbones.DTYPES[cell.precision])
    configs = [method_class.Config.model_validate(run.cell.config) for run in runs]
    method = method_class(cell.method, configs, axis)
    model = backbone.model().to(device)
    backbones.stack_head(model, backbone, axis)
    backbones.stack_dropout(model, axis, cell.backbone_dropout)
    model = method.adapt(model, backbone)
    bank = ParameterBank(model, axis)
    state = TrainState(
        task=cell.task,
        model=model,
        axis=axis,
        bank=bank,
        train_targets=torch.from_numpy(task_data.train.targets),
        optimizer=StackedAdamW(bank, [run.cell.training for run in runs], 1, axis),
    )
    return method, state


def _records(
    trainer: Trainer,
    method: AnyMethod,
    state: TrainState,
    task_data: TaskData,
    peak: MemoryPeak,
    started: Any,
) -> list[tuple[Record, pa.Table | None]]:
    """Score every run at its best checkpoint and turn it into a record."""
    finished = [i for i, trace in enumerate(trainer.traces) if trace.diverged is None]
    scored = _score_finished(trainer, method, state, task_data, finished)
    truth = best_possible(state.task, task_data)
    made: list[tuple[Record, pa.Table | None]] = []
    for index, run in enumerate(trainer.runs):
        trace = trainer.traces[index]
        cost = _cost(trainer, method, state, peak, index)
        if trace.diverged is not None:
            record = _base(
                run,
                Status.DIVERGED,
                state.axis.device,
                started,
                detail=trace.diverged,
                curve=trace.curve,
                cost=cost,
            )
            made.append((record, None))
            continue
        position = finished.index(index)
        splits = {
            name: score(state.task, logits[position], probe.targets)
            for name, (probe, logits) in scored.items()
        }
        record = _base(
            run,
            Status.OK,
            state.axis.device,
            started,
            splits=splits,
            curve=trace.curve,
            cost=cost,
            truth=truth,
            notes=method.notes(state, position),
            checkpoint=Checkpoint(
                step=trace.best_step, validation_score=_main(run, splits["validation"])
            ),
            calibration=calibrate(
                state.task,
                *(
                    (scored[name][1][position], scored[name][0].targets)
                    for name in ("validation", "test")
                ),
            ),
            **_gaps(run, splits),
        )
        made.append((record, _predictions(scored["test"], position)))
    return made


def _score_finished(
    trainer: Trainer, method: AnyMethod, state: TrainState, task_data: TaskData, finished: list[int]
) -> Scored:
    """Bring back the best parameters of all finished runs and predict every split with them."""
    if not finished:
        return {}
    if method.trains:
        state.axis.active = tuple(finished)
        rows = [trainer.traces[index].best_row for index in finished]
        state.bank.load(torch.stack([row for row in rows if row is not None]))
    probes = {
        "train": Probe.of(task_data.train, FINAL_TRAIN_SIZE),
        "validation": Probe.of(task_data.validation),
        "test": Probe.of(task_data.test),
    }
    with trainer.stopwatch.measure("evaluation", state.axis.active):
        return {name: (probe, predict(method, state, probe)) for name, probe in probes.items()}


def _base(run: Run, status: Status, device: torch.device, started: Any, **fields: Any) -> Record:
    task, seed = run.cell.task.name, run.seed
    return Record(
        run_hash=run.hash,
        cell_hash=run.cell.hash,
        seed=seed,
        cell=run.cell,
        status=status,
        seeds={
            "data_order": seed_of("data order", task, seed),
            "initialisation": seed_of("initialisation", seed),
            "masks": seed_of("masks", seed),
        },
        provenance=provenance.describe(device, started),
        **fields,
    )


def _gaps(run: Run, splits: dict[str, SplitScores]) -> dict[str, float | None]:
    train, test = _main(run, splits["train"]), _main(run, splits["test"])
    sign = 1 if run.cell.task.metric.higher_is_better else -1
    gap = None if train is None or test is None else sign * (train - test)
    return {"generalization_gap": gap, "loss_gap": splits["test"].loss - splits["train"].loss}


def _main(run: Run, scores: SplitScores) -> float | None:
    return scores.metrics[run.cell.task.metrics[0]]


def _cost(
    trainer: Trainer, method: AnyMethod, state: TrainState, peak: MemoryPeak, index: int
) -> Cost:
    trace, watch = trainer.traces[index], trainer.stopwatch
    seconds = watch.spent("train", index)
    return Cost(
        train_seconds=seconds,
        evaluation_seconds=watch.spent("evaluation", index),
        steps=trace.steps,
        train_tokens=trace.tokens,
        tokens_per_second=trace.tokens / seconds if seconds else None,
        peak_memory_bytes=peak.bytes(),
        trainable_params=state.bank.trained_count(index) if method.trains else 0,
        train_flops=trainer.flops.total(np.array(trace.examples), np.array(trace.widths)),
        forward_passes=trace.forward_passes,
        backward_passes=trace.backward_passes,
        stack_size=len(trainer.runs),
    )


def _predictions(test: tuple[Probe, Logits], position: int) -> pa.Table:
    probe, logits = test
    columns: dict[str, Any] = {
        "example_id": probe.split.example_ids[probe.indices],
        "label": probe.targets,
    }
    columns |= {f"logit_{k}": logits[position, :, k] for k in range(logits.shape[2])}
    truth = probe.split.truth
    if truth is not None:
        name = "true_probability_" if truth.shape[1] > 1 else "true_mean_"
        columns |= {f"{name}{k}": truth[probe.indices, k] for k in range(truth.shape[1])}
    return pa.table(columns)


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
