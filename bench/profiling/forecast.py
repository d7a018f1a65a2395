"""Time of a run, predicted from a few steps and a little scoring, measured once and cached.

A run consists of steps, scoring during training and scoring at the end. The time of a step and of
scoring a sequence depend on the machine, the backbone, the method and the length of the texts, so
they are measured for each of these; everything else is counting.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.config.run import Cell, Run
from gapbench.bench.data.encoded import CausalSplit, TaskData
from gapbench.bench.data.packing import pack
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.profiling.measurement_cache import key_of, recall, remember
from gapbench.bench.profiling.stack_size import subject
from gapbench.bench.profiling.step_timer import Stepper, timed
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.training.phase_schedule import curve_points, evaluation_points
from gapbench.bench.training.second_tests import ReadyTest
from gapbench.bench.training.trainer import (
    CHOOSING_MEMBERS,
    CURVE_POINTS,
    final_subsets,
    subsets_along,
)

MOST_RUNS = 4  # runs in the measured stack; larger stacks change little
_SEQUENCES = 32  # scored to measure the time
_WRITTEN = 4  # texts generated to measure the time
_ROUNDS = 2
_LONG_S = {"cpu": 2.0, "cuda": math.inf}  # first actions on a GPU wait for its libraries
_SCORING_VERSION = 3  # raised when a sequence takes another time to score than before
_IDLE = 0.8  # minimum share of a core that this process gets on an otherwise idle computer


@dataclass(frozen=True)
class Pace:
    """Seconds of one run in a stack.

    Attributes:
        step: seconds of an update; 0 for a method that trains nothing.
        sequence: seconds of scoring a sequence.
        finish: seconds per example of work for final scores only, such as generating a text.
        tests: seconds per token that is read, of each second test.
    """

    step: float
    sequence: float
    finish: float
    tests: Sequence[float] = ()


def run_seconds(
    runs: Sequence[Run],
    backbone: Backbone,
    task_data: TaskData,
    device: torch.device,
    tests: Sequence[ReadyTest] = (),
) -> float:
    """Return the expected seconds of each of some runs that share a stack.

    Args:
        runs: runs of one cell.
        backbone: the backbone that they adapt.
        task_data: data of the runs.
        device: device that they will train on.
        tests: second tests of the cell. The bare backbone, which is scored on them once in a
            process, is not counted.
    """
    cell = runs[0].cell
    method = registry.get(cell.method)
    stack = list(runs[: MOST_RUNS if method.stackable else 1])
    about = {
        "forecast": len(stack),
        "scoring": _SCORING_VERSION,
        "method": [cell.method, cell.config],
        "task": cell.task.identity(),  # how it writes texts, and how long its own are
    } | ({"tests": [test.test.identity() for test in tests]} if tests else {})
    key = key_of(subject(runs[0], task_data) | about, device)
    known = recall(key)
    if known:
        pace = Pace(**known)
    else:
        wall, busy = time.monotonic(), time.process_time()
        pace = measure(stack, backbone, task_data, device, tests)
        share = (time.process_time() - busy) / (time.monotonic() - wall)
        # Otherwise other work has slowed this down.
        remember(key, asdict(pace), sure=device.type != "cpu" or share > _IDLE)
    steps = cell.budget.total_steps(len(task_data.train.trained)) if method.trains else 0
    written = sum(len(subset.examples) for subset in final_subsets(cell.task, task_data).values())
    scored = _scored(cell, steps, task_data)
    read = [_tokens(test.subset, together=backbone.packs) for test in tests]
    tested = sum(each * tokens for each, tokens in zip(pace.tests, read, strict=True))
    return steps * pace.step + scored * pace.sequence + written * pace.finish + tested


def measure(
    stack: Sequence[Run],
    backbone: Backbone,
    task_data: TaskData,
    device: torch.device,
    tests: Sequence[ReadyTest] = (),
) -> Pace:
    """Time some steps and the scoring of a few sequences, of second tests too."""
    kind = kinds.get(stack[0].cell.task.kind)
    runs, step, split = len(stack), 0.0, task_data.scored_first
    seconds = partial(timed, device=device, long=_LONG_S[device.type])
    if registry.get(stack[0].cell.method).trains:
        stepper = Stepper(stack, backbone, task_data, device)
        method, state = stepper.method, stepper.state
        step = seconds(stepper, rounds=_ROUNDS) / runs
    else:
        method, state = set_up(stack, backbone, task_data, device)
    subset, few = EvalSubset.of(split, _SEQUENCES), EvalSubset.of(split, _WRITTEN)

    def finish() -> Any:
        with torch.inference_mode():
            return kind.finish(method, state, few, backbone.tokenizer)

    def seconds_per_token(test: ReadyTest) -> float:
        part = replace(test, subset=EvalSubset.of(test.subset.split, _SEQUENCES))
        with torch.inference_mode():
            testing = seconds(lambda: part.outputs(method, state, backbone.tokenizer), rounds=1)
        return testing / runs / _tokens(part.subset, together=backbone.packs)

    scoring = seconds(lambda: kind.outputs(method, state, subset), rounds=1)
    finishing = seconds(finish, rounds=1)
    return Pace(
        step,
        scoring / runs / len(subset.sequences),
        finishing / runs / len(few.examples),
        [seconds_per_token(test) for test in tests],
    )


def _tokens(subset: EvalSubset, *, together: bool) -> int:
    """Return the tokens that scoring reads: what sequences of a row begin with alike, once."""
    if isinstance(subset.split, CausalSplit):
        rows = pack(subset.split, subset.examples, together=together)
        return sum(row.width for row in rows)
    return int(subset.split.lengths[subset.sequences].sum())


def _scored(cell: Cell, steps: int, task_data: TaskData) -> float:
    """Return the number of sequences that a run scores, along training and at the end.

    What is scored in full where the checkpoint is chosen is not scored again at the end. Every
    point is taken to be chosen equally often. A sequence that few members of an ensemble score
    counts as a part of one.
    """
    method, config = registry.of_cell(cell)
    members = method.predicting_members(config)
    few = min(members, cell.budget.choosing_members or CHOOSING_MEMBERS)
    final = final_subsets(cell.task, task_data)
    sizes = {name: len(subset.sequences) for name, subset in final.items()}
    if not steps:
        return sum(sizes.values())
    points = evaluation_points(steps, cell.budget.evaluations)
    drawn = curve_points(points, CURVE_POINTS)
    scored = 0.0
    for name, part in subsets_along(final).items():
        size = sizes.pop(name)
        at = {0, *points} if name == "validation" else drawn
        scored += len(at) * len(part.sequences) * few / members
        whole = len(part.sequences) == size and few == members
        reused = len(at & points) / len(points) if whole else 0.0
        scored += (1 - reused) * size
    return scored + sum(sizes.values())
