"""From a trained stack to records: best parameters, scores of every split, calibration, cost."""

from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from bench import provenance
from bench.config import Run
from bench.cost import MemoryPeak
from bench.data import TaskData
from bench.evaluate import Logits, Probe, best_possible, calibrate, predict, score
from bench.method import AnyMethod, TrainState
from bench.record import Checkpoint, Cost, Record, SplitScores, Status
from bench.seed import seed_of
from bench.train import Trainer

FINAL_TRAIN_SIZE = 10_000  # training examples scored at the end; the record says how many it was

Scored = dict[str, tuple[Probe, Logits]]  # split to examples and (runs, examples, outputs)


def blank_record(run: Run, device: torch.device, started: datetime, **fields: Any) -> Record:
    """Return the record of a run with ``fields`` (at least a status); the rest stays empty."""
    task, seed = run.cell.task.name, run.seed
    return Record(
        run_hash=run.hash,
        cell_hash=run.cell.hash,
        seed=seed,
        cell=run.cell,
        seeds={
            "data_order": seed_of("data order", task, seed),
            "initialisation": seed_of("initialisation", seed),
            "masks": seed_of("masks", seed),
        },
        provenance=provenance.describe(device, started),
        **fields,
    )


def records(
    trainer: Trainer,
    method: AnyMethod,
    state: TrainState,
    task_data: TaskData,
    peak: MemoryPeak,
    started: datetime,
) -> list[tuple[Record, pa.Table | None]]:
    """Score every run at its best checkpoint; return its record and its test predictions."""
    finished = [i for i, trace in enumerate(trainer.traces) if trace.diverged is None]
    scored = _score_finished(trainer, method, state, task_data, finished)
    for position, index in enumerate(finished):
        # Training saw a probe of each split only; one of the other examples may still overflow.
        if not all(np.isfinite(logits[position]).all() for _, logits in scored.values()):
            trainer.traces[index].diverged = "a logit of the chosen checkpoint is not finite"
    truth = best_possible(state.task, task_data)
    made: list[tuple[Record, pa.Table | None]] = []
    for index, run in enumerate(trainer.runs):
        trace = trainer.traces[index]
        cost = _cost(trainer, method, state, peak, index)
        known: dict[str, Any] = {"curve": trace.curve, "cost": cost}
        if trace.diverged is not None:
            known |= {"status": Status.DIVERGED, "detail": trace.diverged}
            made.append((blank_record(run, state.axis.device, started, **known), None))
            continue
        position = finished.index(index)
        known |= _scores(run, scored, position) | {
            "status": Status.OK,
            "truth": truth,
            "notes": method.notes(state, position),
        }
        known["checkpoint"] = Checkpoint(
            step=trace.best_step, validation_score=_main(run, known["splits"]["validation"])
        )
        record = blank_record(run, state.axis.device, started, **known)
        made.append((record, _predictions(scored["test"], position)))
    return made


def _scores(run: Run, scored: Scored, position: int) -> dict[str, Any]:
    task = run.cell.task
    splits = {
        name: score(task, logits[position], probe.targets)
        for name, (probe, logits) in scored.items()
    }
    train, test = _main(run, splits["train"]), _main(run, splits["test"])
    sign = 1 if task.metric.higher_is_better else -1
    pairs = [
        (scored[name][1][position], scored[name][0].targets) for name in ("validation", "test")
    ]
    return {
        "splits": splits,
        "generalization_gap": None if train is None or test is None else sign * (train - test),
        "loss_gap": splits["test"].loss - splits["train"].loss,
        "calibration": calibrate(task, *pairs),
    }


def _score_finished(
    trainer: Trainer, method: AnyMethod, state: TrainState, task_data: TaskData, finished: list[int]
) -> Scored:
    """Bring back the best parameters of all finished runs and predict every split with them.

    What the choice of the checkpoint has predicted already is not predicted again.
    """
    if not finished:
        return {}
    traces = [trainer.traces[index] for index in finished]
    if method.trains:
        state.axis.active = tuple(finished)
        rows = [trace.best_row for trace in traces]
        state.bank.load(torch.stack([row for row in rows if row is not None]))
    probes = {
        "train": Probe.of(task_data.train, FINAL_TRAIN_SIZE),
        "validation": Probe.of(task_data.validation),
        "test": Probe.of(task_data.test),
    }
    scored: Scored = {}
    with trainer.stopwatch.measure("evaluation", state.axis.active):
        for name, probe in probes.items():
            whole = len(probe.indices) == len(trainer.probes[name].indices)
            if method.trains and whole:
                logits = np.stack([trace.best_logits[name] for trace in traces])
            else:
                logits = predict(method, state, probe)
            scored[name] = (probe, logits)
    return scored


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
        train_flops=trainer.flops.total(trace.work),
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
