"""From a trained stack to records: best parameters, scores of every split, calibration, cost."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import torch

from gapbench.bench.config.run import Run, StoredPredictions
from gapbench.bench.core.memory import MemoryPeak
from gapbench.bench.core.seeding import seed_of
from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.store import provenance
from gapbench.bench.store.record import (
    Checkpoint,
    Cost,
    CurvePoint,
    Record,
    SplitScores,
    Status,
)
from gapbench.bench.store.record_io import TEST
from gapbench.bench.store.store import Predictions
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.kinds import Outputs, finite, of_run
from gapbench.bench.training.final_scores import Scored, score_second_tests, score_splits
from gapbench.bench.training.second_tests import ReadyTest
from gapbench.bench.training.trainer import Trainer, curve_values


def blank_record(run: Run, device: torch.device, started: datetime, **fields: Any) -> Record:
    """Return the record of a run with ``fields`` (at least a status); the rest stays empty."""
    task, seed = run.cell.task.name, run.seed
    return Record(
        run_hash=run.hash,
        cell_hash=run.cell.hash,
        seed=seed,
        block=run.block,
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
    tokenizer: Any,
    peak: MemoryPeak,
    started: datetime,
    kept: StoredPredictions = "test",
    tests: Sequence[ReadyTest] = (),
) -> list[tuple[Record, Predictions]]:
    """Score every run at its best checkpoint; return its record and predictions by split.

    Scores are computed from these predictions. A sealed test split has none. Second tests are
    further splits of the record.
    """
    finished = [i for i, t in enumerate(trainer.traces) if t.diverged is None and t.pruned is None]
    scored = score_splits(trainer, tokenizer, finished)
    tested = score_second_tests(trainer, tokenizer, finished, tests)
    for position, index in enumerate(finished):
        # Training scored only a subset of each split; another example may still overflow.
        if not all(finite(outputs, position) for _, outputs in scored.values()):
            trainer.traces[index].diverged = "an output of the chosen checkpoint is not finite"
    task, data = trainer.state.task, trainer.data
    truth = None if data.sealed else kinds.get(task.kind).best_possible(task, data.test)
    made: list[tuple[Record, Predictions]] = []
    for index, (run, trace) in enumerate(zip(trainer.runs, trainer.traces, strict=True)):
        known: dict[str, Any] = {"curve": trace.curve, "cost": _cost(trainer, peak, index)}
        predictions: dict[str, pa.Table] = {}
        if trace.diverged is not None:
            known |= {"status": Status.DIVERGED, "detail": trace.diverged}
        elif trace.pruned is not None:
            known |= {"status": Status.PRUNED, "detail": trace.pruned}
        else:
            position = finished.index(index)
            known |= _of_finished(trainer, scored, index, position) | {"truth": truth}
            predictions = _predictions(run, scored, position, kept)
            _add_second_tests(known, predictions, tested, position, kept)
        made.append((blank_record(run, trainer.state.axis.device, started, **known), predictions))
    return made


def _of_finished(trainer: Trainer, scored: Scored, index: int, position: int) -> dict[str, Any]:
    """Return the fields of a finished run's record.

    Args:
        trainer: of the stack.
        scored: outputs of the finished runs, by split.
        index: of the run in its stack.
        position: of the run among the finished ones.
    """
    run, trace = trainer.runs[index], trainer.traces[index]
    method, data, task = trainer.method, trainer.data, run.cell.task
    known = _scores(run, scored, position, data.eval_split)
    chosen_on = known["splits"].get("validation")
    return known | {
        "status": Status.OK,
        "curve": _with_chosen(trainer, scored, index, position),
        "checkpoint": Checkpoint(
            step=trace.best_step,
            validation_score=chosen_on and chosen_on.metrics[task.selection],
        ),
        "train_overlap": dict(data.train_overlap),
        "train_share": data.train_share,
        "notes": method.diagnostic_values(trainer.state, position),
        "diagnostics": method.diagnostics,
        "drops": method.drops(method.configs[index]),
    }


def _add_second_tests(
    known: dict[str, Any],
    predictions: dict[str, pa.Table],
    tested: Sequence[tuple[ReadyTest, Outputs]],
    position: int,
    kept: StoredPredictions,
) -> None:
    """Add what second tests say of a run to the fields of its record and to its predictions."""
    known["untested"] = {}
    for ready, outputs in tested:
        own, name = of_run(outputs, position), ready.test.name
        known["untested"] |= ready.missing(outputs, position)
        if name in known["untested"]:  # which says nothing of the other splits
            continue
        known["splits"][name] = ready.scores(own)
        if kept == "all":
            predictions[name] = ready.predictions(own)


def _scores(run: Run, scored: Scored, position: int, eval_split: str) -> dict[str, Any]:
    task, kind = run.cell.task, kinds.get(run.cell.task.kind)
    own = {name: (of_run(outputs, position), subset) for name, (subset, outputs) in scored.items()}
    splits = {
        name: kind.score(task, outputs, subset, kind.final_metrics(task, name))
        for name, (outputs, subset) in own.items()
    }
    made = {
        "splits": splits,
        "calibration": kind.calibrate(own.get("validation"), own[eval_split]),
    }
    if "train" not in splits:
        return made
    gaps = {name: _gap(splits, name, eval_split) for name in splits["train"].metrics}
    return made | {
        "generalization_gap": gaps[task.metrics[0]],
        "gaps": gaps,
        "loss_gap": splits[eval_split].loss - splits["train"].loss,
    }


def _predictions(
    run: Run, scored: Scored, position: int, kept: StoredPredictions
) -> dict[str, pa.Table]:
    """Return the predictions of a run by split."""
    task, kind = run.cell.task, kinds.get(run.cell.task.kind)
    return {
        name: kind.predictions(
            task, of_run(outputs, position), subset, kind.final_metrics(task, name)
        )
        for name, (subset, outputs) in scored.items()
        if kept == "all" or name == TEST
    }


def _gap(splits: Mapping[str, SplitScores], metric: str, eval_split: str) -> float | None:
    """Return train minus test score, sign flipped where lower is better; None without either."""
    train, test = (splits[name].metrics.get(metric) for name in ("train", eval_split))
    sign = 1 if get_metric(metric).higher_is_better else -1
    return None if train is None or test is None else sign * (train - test)


def _with_chosen(trainer: Trainer, scored: Scored, index: int, position: int) -> list[CurvePoint]:
    """Return the curve of a run, with train and test values at the chosen point."""
    trace, task = trainer.traces[index], trainer.state.task
    steps = [point.step for point in trace.curve if point.train_loss is None]
    if trace.best_step not in steps:
        return trace.curve
    kind = kinds.get(task.kind)
    scores = {}
    for name, part in trainer.subsets.items():
        if name != "validation":
            subset, outputs = scored[name]
            made = kind.narrowed(of_run(outputs, position), subset, part)
            scores[name] = kind.score(task, made, part, [task.selection])
    values = curve_values(task, scores)
    return [
        point.model_copy(update=values) if point.step == trace.best_step else point
        for point in trace.curve
    ]


def _cost(trainer: Trainer, peak: MemoryPeak, index: int) -> Cost:
    trace, stopwatch = trainer.traces[index], trainer.stopwatch
    seconds = stopwatch.spent("train", index)
    return Cost(
        train_seconds=seconds + stopwatch.spent("fit", index),
        evaluation_seconds=stopwatch.spent("evaluation", index),
        steps=trace.steps,
        train_tokens=trace.tokens,
        tokens_per_second=trace.tokens / seconds if seconds else None,
        peak_memory_bytes=peak.bytes(),
        trainable_params=trainer.state.bank.trained_count(index) if trainer.method.trains else 0,
        train_flops=trainer.flops.total(trace.work) + trace.fit_flops,
        forward_passes=trace.forward_passes + trace.fit_forward,
        backward_passes=trace.backward_passes + trace.fit_backward,
        inference_passes=trace.inference_passes,
        stack_size=len(trainer.runs),
        drawn=trace.drawn,
        fit_examples=trace.fit_examples or None,
    )
