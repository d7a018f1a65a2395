"""Outputs of every finished run at its best checkpoint, on every split and second test."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gapbench.bench.core import signals
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.kinds import Outputs, of_run
from gapbench.bench.training.fitting import fit, inference_passes
from gapbench.bench.training.second_tests import ReadyTest
from gapbench.bench.training.trainer import Trainer

Scored = dict[str, tuple[EvalSubset, Outputs]]  # by split; each output is (runs, ...)


def score_splits(trainer: Trainer, tokenizer: Any, finished: list[int]) -> Scored:
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


def score_second_tests(
    trainer: Trainer, tokenizer: Any, finished: list[int], tests: Sequence[ReadyTest]
) -> list[tuple[ReadyTest, Outputs]]:
    """Predict every second test with the parameters that `score_splits` has put in place."""
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
