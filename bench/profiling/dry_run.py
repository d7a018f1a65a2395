"""A dry run of a cell, which `gapbench check` makes before an hour is spent.

The longest batch of train, with the shortest sequence in it, goes forward and backward through the
real model, once in each phase of the method. The other splits are scored in part: the batch that
scoring begins with, which is the largest, and the shortest sequence; texts are written after the
longest and the shortest. For each row of the table of `check`, that costs a training step or two
and the writing of two texts for every split that has any.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import BenchError
from gapbench.bench.data.batching import collate, evaluation_batches
from gapbench.bench.data.encoded import CausalSplit, EncodedSplit, Indices, TaskData
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import EvalSubset, most_tokens
from gapbench.bench.tasks.token_outputs import packed
from gapbench.bench.training.phase_schedule import phase_windows
from gapbench.bench.training.second_tests import ReadyTest

_PACKED = 2000  # sequences that are looked through for the largest batch of a language model


def failure(
    run: Run,
    backbone: Backbone,
    task_data: TaskData,
    device: torch.device,
    tests: Sequence[ReadyTest] = (),
) -> str | None:
    """Return why a run would fail on its longest inputs, None if it would not."""
    try:
        method, state = set_up([run], backbone, task_data, device, check=True)
        if method.trains:
            finite = first_steps([run], method, state, task_data.train)
            if not finite:
                return "the loss of the first step is not a finite number"
        with method.scoring(state):
            for name, split in task_data.open.items():
                if name != "train":
                    _score(method, state, split, backbone.tokenizer)
            for test in tests:
                _score(method, test.state(state), test.subset.split, backbone.tokenizer)
    except BenchError as error:
        return str(error)
    except Exception as error:
        told = f"on the longest inputs, {type(error).__name__}: {error}"
        if run.cell.precision == "fp32":
            return told
        return (
            f"with precision {run.cell.precision}, {told}; if that is a matter of types, set field "
            "'precision' to fp32"
        )
    return None


def first_steps(
    runs: Sequence[Run],
    method: AnyMethod,
    state: TrainState,
    train: EncodedSplit,
    steps: int = 1,
) -> bool:
    """Make steps of a stack in each phase, on the longest examples.

    Returns:
        Whether all losses are finite.
    """
    budget, trainings = runs[0].cell.budget, [run.cell.training for run in runs]
    longest = np.tile(_longest_batch(train, budget.batch_size), (len(runs), 1))
    batch = collate(train, longest, state.axis.device)
    finite = True
    for window in phase_windows(method, budget.total_steps(len(train.trained))):
        method.begin(state, window.phase, trainings, window.stop - window.start)
        state.model.train()
        for _ in range(steps):
            report = method.step(state, dict.fromkeys(window.phase.parts, batch))
            finite &= bool(report.losses.isfinite().all())
    return finite


def _score(method: AnyMethod, state: TrainState, split: EncodedSplit, tokenizer: Any) -> None:
    """Score what is most likely to fail in a split, and write a few texts if the task has any."""
    kind = kinds.get(state.task.kind)
    kind.outputs(method, state, EvalSubset(split, _first_scored(state, split)))
    kind.finish(method, state, EvalSubset(split, _extremes(split)), tokenizer)


def _first_scored(state: TrainState, split: EncodedSplit) -> Indices:
    """Return the examples of the batch that scoring begins with, and those of `_extremes`.

    Of a language model, the batch is made of the longest sequences, which are few enough to pack.
    """
    if isinstance(split, CausalSplit):
        longest = _examples(split, np.argsort(-split.lengths, kind="stable")[:_PACKED])
        rows, most = packed(state, split, longest)
        places = next(evaluation_batches(np.array([row.width for row in rows]), most))
        targets = np.concatenate([rows[place].numbers for place in places])
        own = split.sequences(longest)
        ends = np.cumsum(split.target_counts[own])
        sequences = own[np.searchsorted(ends, targets, side="right")]
    else:
        sequences = next(evaluation_batches(split.lengths, most_tokens(state.axis)))
    return np.union1d(_examples(split, sequences), _extremes(split))


def _longest_batch(train: EncodedSplit, size: int) -> Indices:
    """Return the longest examples, with the shortest in place of one: (1, size) or fewer."""
    order = train.trained[np.argsort(train.lengths[train.trained], kind="stable")]
    batch = order[-size:].copy()
    if len(batch) > 1:
        batch[0] = order[0]  # so that the batch is padded
    return batch[None]


def _extremes(split: EncodedSplit) -> Indices:
    """Return the examples with the longest and the shortest sequence, in their order."""
    return _examples(split, np.array([split.lengths.argmax(), split.lengths.argmin()]))


def _examples(split: EncodedSplit, sequences: Indices) -> Indices:
    """Return the examples that have some sequences, in their order."""
    offsets = getattr(split, "sequence_offsets", np.arange(len(split) + 1))
    return np.unique(np.searchsorted(offsets, sequences, side="right") - 1)
