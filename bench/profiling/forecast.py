"""What a run will take, from a few steps and a little scoring, measured once and remembered.

A run is its steps, its scoring along training and its scoring at the end. The time of a step and of
scoring a sequence depend on the machine, the backbone, the method and the length of the texts, so
they are measured for each of these; everything else is counting.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Run
from gapbench.bench.data.encoded import TaskData
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.profiling.measurement_cache import key_of, recall, remember
from gapbench.bench.profiling.stack_size import subject
from gapbench.bench.profiling.step_timer import Stepper, timed
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import PROBE_SIZE, EvalSubset

MOST_RUNS = 4  # in the stack that is measured; larger ones change little
_SEQUENCES, _WRITTEN = 32, 4  # scored, and written by a model, to take their time
_ROUNDS = 2
_IDLE = 0.8  # of a core that this process has had, at least, on a computer with nothing else to do


@dataclass(frozen=True)
class Pace:
    """Seconds of one run in a stack.

    Attributes:
        step: of an update; 0 of a method that trains nothing.
        sequence: of scoring a sequence.
        finish: of what only the final scores need, such as writing a text, for an example.
    """

    step: float
    sequence: float
    finish: float


def run_seconds(
    runs: Sequence[Run], backbone: Backbone, task_data: TaskData, device: torch.device
) -> float:
    """Return what each of some runs will take that share a stack.

    Args:
        runs: of one cell.
        backbone: the backbone that they adapt.
        task_data: their data.
        device: where they will train.
    """
    cell = runs[0].cell
    method = registry.get(cell.method)
    stack = list(runs[: MOST_RUNS if method.stackable else 1])
    about = subject(runs[0], task_data) | {"forecast": len(stack), "method": cell.method}
    key = key_of(about, device)
    known = recall(key)
    if known:
        pace = Pace(**known)
    else:
        wall, busy = time.monotonic(), time.process_time()
        pace = measure(stack, backbone, task_data, device)
        share = (time.process_time() - busy) / (time.monotonic() - wall)
        if device.type != "cpu" or share > _IDLE:  # else other work has slowed this down
            remember(key, asdict(pace))
    steps = cell.budget.total_steps(len(task_data.train.trained)) if method.trains else 0
    points = cell.budget.evaluations + 1 if method.trains else 0
    along, final, written = _counts(cell.task.kind, task_data)
    scored = points * along + (final if method.trains else final + along)
    return steps * pace.step + scored * pace.sequence + written * pace.finish


def measure(
    stack: Sequence[Run], backbone: Backbone, task_data: TaskData, device: torch.device
) -> Pace:
    """Take the time of some steps and of scoring a few sequences."""
    kind = kinds.get(stack[0].cell.task.kind)
    stepper = Stepper(stack, backbone, task_data, device)
    method, state, runs = stepper.method, stepper.state, len(stack)
    step = timed(stepper, device, _ROUNDS) / runs if method.trains else 0.0
    split = task_data.open["validation"]
    subset, few = EvalSubset.of(split, _SEQUENCES), EvalSubset.of(split, _WRITTEN)

    def finish() -> Any:
        with torch.inference_mode():
            return kind.finish(method, state, few, backbone.tokenizer)

    scoring = timed(lambda: kind.outputs(method, state, subset), device, 1)
    finishing = timed(finish, device, 1)
    return Pace(step, scoring / runs / len(subset.sequences), finishing / runs / len(few.examples))


def _counts(kind: str, task_data: TaskData) -> tuple[int, int, int]:
    """Return the sequences of an evaluation along training, those that the end adds, and examples.

    What an evaluation along training has scored whole is not scored again at the end.
    """
    probes = {"train": PROBE_SIZE, "validation": None, "test": PROBE_SIZE}
    finals = {"train": kinds.get(kind).final_train_size}
    along = final = written = 0
    for name, split in task_data.open.items():
        whole = EvalSubset.of(split, finals.get(name))
        part = EvalSubset.of(split, probes[name]) if name in probes else None
        along += len(part.sequences) if part else 0
        again = part is None or len(part.examples) < len(whole.examples)
        final += len(whole.sequences) if again else 0
        written += len(whole.examples)
    return along, final, written
