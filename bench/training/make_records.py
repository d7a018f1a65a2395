"""From a trained stack to records: best parameters, scores of every split, calibration, cost."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from gapbench.bench.config.run import Run, StoredPredictions
from gapbench.bench.core import signals
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
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.kinds import Outputs, finite, of_run
from gapbench.bench.training.fitting import fit, inference_passes
from gapbench.bench.training.second_tests import ReadyTest
from gapbench.bench.training.trainer import Trainer, curve_values

Scored = dict[str, tuple[EvalSubset, Outputs]]  # by split; each output is (runs, ...)


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
    method, state, task_data = trainer.method, trainer.state, trainer.data
    finished = [i for i, t in enumerate(trainer.traces) if t.diverged is None and t.pruned is None]
    scored = _score_finished(trainer, tokenizer, finished)
    tested = _test_finished(trainer, tokenizer, finished, tests)
    for position, index in enumerate(finished):
        # Training scored only a subset of each split; another example may still overflow.
        if not all(finite(outputs, position) for _, outputs in scored.values()):
            trainer.traces[index].diverged = "an output of the chosen checkpoint is not finite"
    kind = kinds.get(state.task.kind)
    truth = None if task_data.sealed else kind.best_possible(state.task, task_data.test)
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
            known |= _scores(run, scored, position, task_data.eval_split) | {
                "status": Status.OK,
                "curve": _with_chosen(trainer, scored, index, position),
                "train_overlap": dict(task_data.train_overlap),
                "train_share": task_data.train_share,
                "truth": truth,
                "notes": method.diagnostic_values(state, position),
                "diagnostics": method.diagnostics,
                "drops": method.drops(method.configs[index]),
            }
            chosen_on = known["splits"].get("validation")
            selected = chosen_on and chosen_on.metrics[run.cell.task.selection]
            known["checkpoint"] = Checkpoint(step=trace.best_step, validation_score=selected)
            predictions = _predictions(run, scored, position, kept)
            known["untested"] = {}
            for ready, outputs in tested:
                own, name = of_run(outputs, position), ready.test.name
                known["untested"] |= ready.missing(outputs, position)
                if name in known["untested"]:  # which says nothing of the other splits
                    continue
                known["splits"][name] = ready.scores(own)
                if kept == "all":
                    predictions[name] = ready.predictions(own)
        made.append((blank_record(run, state.axis.device, started, **known), predictions))
    return made


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


def _score_finished(trainer: Trainer, tokenizer: Any, finished: list[int]) -> Scored:
    """Restore the best parameters of all finished runs and predict every split with them.

    The method first fits what predictions need. Nothing is computed twice: outputs of the chosen
    point are reused where they are of all examples of a split and the method fits nothing, and so
    are those of an equal split, such as validation under the protocol `paper`.
    """
    if not finished:
        return {}
    method, state = trainer.method, trainer.state
    kind = kinds.get(state.task.kind)
    signals.check_deadline()
    _restore(trainer, finished)
    fit(trainer)
    passes = inference_passes(trainer)
    for index in finished:
        trainer.traces[index].inference_passes = passes
    scored: Scored = {}
    for name, subset in trainer.final_subsets.items():
        signals.check_deadline()
        equal = [made for other, made in scored.values() if _equal(other, subset)]
        if not equal:
            outputs = _outputs(trainer, name, subset, finished)
            _restore(trainer, finished)
            with trainer.stopwatch.measure("evaluation", state.axis.active):
                outputs |= kind.finish(method, state, subset, tokenizer)
        scored[name] = (subset, equal[0] if equal else outputs)
    return scored


def _test_finished(
    trainer: Trainer, tokenizer: Any, finished: list[int], tests: Sequence[ReadyTest]
) -> list[tuple[ReadyTest, Outputs]]:
    """Predict every second test with the parameters that `_score_finished` has put in place."""
    made = []
    for ready in tests if finished else ():
        signals.check_deadline()
        with trainer.stopwatch.measure("evaluation", trainer.state.axis.active):
            made.append((ready, ready.outputs(trainer.method, trainer.state, tokenizer)))
    return made


def _outputs(trainer: Trainer, name: str, subset: EvalSubset, finished: list[int]) -> Outputs:
    """Return the outputs of all finished runs on a split; only missing ones are computed."""
    along = trainer.subsets.get(name)
    known: dict[int, Outputs] = {}
    whole = along is not None and len(along.examples) == len(subset.examples)
    if whole and not trainer.method.fits_on:
        best = {index: trainer.traces[index].best_outputs for index in finished}
        known = {index: made[name] for index, made in best.items() if name in made}
    missing = [index for index in finished if index not in known]
    if missing:
        _restore(trainer, missing)
        kind = kinds.get(trainer.state.task.kind)
        with trainer.stopwatch.measure("evaluation", trainer.state.axis.active):
            outputs = kind.outputs(trainer.method, trainer.state, subset)
        if not known:
            return outputs
        known |= {index: of_run(outputs, place) for place, index in enumerate(missing)}
    return {part: np.stack([known[i][part] for i in finished]) for part in known[finished[0]]}


def _restore(trainer: Trainer, indices: list[int]) -> None:
    """Make the stack one of some runs, each at its best parameters."""
    if trainer.method.trains:
        rows = [trainer.traces[index].best_row for index in indices]
        trainer.state.axis.active = tuple(indices)
        trainer.state.bank.load(torch.stack([row for row in rows if row is not None]))


def _equal(one: EvalSubset, other: EvalSubset) -> bool:
    """Whether two subsets hold the same examples, of the same or of equal splits."""
    first, second = (
        {n: v for n, v in vars(each.split).items() if isinstance(v, np.ndarray)}
        for each in (one, other)
    )
    arrays = first.keys() - {"example_ids"}
    return np.array_equal(one.examples, other.examples) and all(
        name in second and np.array_equal(first[name], second[name]) for name in arrays
    )


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
