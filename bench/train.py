"""The one training loop: steps, evaluation points, checkpoint choice, runs that leave the stack.

It knows phases and steps, and no method's name. Validation alone chooses the checkpoint.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import kinds
from bench.batches import Batch, collate, training_batches
from bench.config import Run
from bench.cost import FlopEstimate, Stopwatch, work
from bench.errors import ConfigError
from bench.kinds import Outputs, finite, of_run
from bench.method import AnyMethod, Cut, Phase, StepReport, TrainState
from bench.metrics import get as get_metric
from bench.probe import PROBE_SIZE, Probe
from bench.record import CurvePoint, SplitScores
from bench.seed import permutation, seed_of
from bench.splits import Indices, TaskData

_FINITE_CHECK_EVERY = 10  # steps; a check waits for the device
_PROBE_SIZES = {"train": PROBE_SIZE, "validation": None, "test": PROBE_SIZE}

Progress = Callable[[float], None]
Watch = Callable[[Run, Sequence[CurvePoint]], str | None]
"""Sees the evaluations of a run so far, and says why it should end there, if it should."""


@dataclass
class Trace:
    """What is known of one run while it trains.

    Attributes:
        best_row: its parameters at the best evaluation point so far, (numbers,).
        best_outputs: what it put out there on the probe of each split.
        work: sum of what its steps are charged by, by phase and part (see `bench.cost`).
    """

    curve: list[CurvePoint] = field(default_factory=list)
    best_step: int = 0
    best_score: float | None = None
    best_row: Tensor | None = None
    best_outputs: Mapping[str, Outputs] = field(default_factory=dict)
    stale: int = 0
    steps: int = 0
    tokens: int = 0
    work: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    forward_passes: int = 0
    backward_passes: int = 0
    diverged: str | None = None
    pruned: str | None = None


class Trainer:
    """Trains one stack of runs that agree on task, backbone, method and budget.

    An *index* counts all runs that began, a *position* those still active: run ``index`` is at
    ``axis.active.index(index)`` of every tensor with a run axis.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        method: AnyMethod,
        state: TrainState,
        data: TaskData,
        progress: Progress,
        watch: Watch | None = None,
    ) -> None:
        self.runs = list(runs)
        self.traces = [Trace() for _ in runs]
        self.stopwatch = Stopwatch(len(runs), state.axis.device)
        self.flops = FlopEstimate()
        self._method = method
        self._state = state
        self._data = data
        self._progress = progress
        self._watch = watch
        self._finite = torch.ones(len(runs), dtype=torch.bool, device=state.axis.device)
        self.probes = {
            name: Probe.of(split, _PROBE_SIZES[name])
            for name, split in data.open.items()
            if name in _PROBE_SIZES
        }

    def train(self) -> None:
        """Train every run to the end of the budget, to its patience, or until it diverges."""
        cell = self.runs[0].cell
        total = cell.budget.total_steps(len(self._data.train.trained))
        points = evaluation_points(total, cell.budget.evaluations)
        self._evaluate(choose=False)
        for phase, steps in self._lengths(total):
            self._train_phase(phase, steps, total, points)

    def _lengths(self, total: int) -> list[tuple[Phase, int]]:
        """Return every phase with its number of steps."""
        phases = self._method.phases(self._method.configs[0])
        # Of the running sum, so that none is lost.
        ends = [round(total * share) for share in accumulate(phase.share for phase in phases)]
        steps = [end - start for start, end in pairwise([0, *ends])]
        for phase, length in zip(phases, steps, strict=True):
            if length == 0:
                raise ConfigError(
                    f"method {self._method.full_name!r}: its phase {phase.name!r} is a share of "
                    f"{phase.share:g} of {total} steps, which is none; give it a larger share, or "
                    "train longer"
                )
        return list(zip(phases, steps, strict=True))

    def _train_phase(self, phase: Phase, steps: int, total: int, points: set[int]) -> None:
        state, axis = self._state, self._state.axis
        settings = [self.runs[index].cell.training for index in axis.active]
        self._method.begin(state, phase, settings, steps)
        self._drop_stopped()
        loaders = [self._loaders(phase, run) for run in self.runs]
        last = axis.step + steps
        while axis.step < last and axis.size:
            report = self._step(phase, loaders)
            axis.step += 1
            self._finite &= report.losses.isfinite() & report.gradient_norms.isfinite()
            due = axis.step in points
            if due or axis.step % _FINITE_CHECK_EVERY == 0:
                self._progress(axis.step / total)
                self._drop_diverged()
            if due and axis.size:
                self._evaluate(choose=phase.eligible)
        self._drop_diverged()  # before the next phase builds on the numbers of this one

    def _step(self, phase: Phase, loaders: list[Mapping[str, Iterator[Indices]]]) -> StepReport:
        axis = self._state.axis
        parts = [name for name, cut in phase.parts.items() if axis.step % cut.every == 0]
        drawn = {name: np.stack([next(loaders[i][name]) for i in axis.active]) for name in parts}
        self._state.model.train()
        with self.stopwatch.measure("train", axis.active):
            batches = {
                name: collate(self._data.train, indices, axis.device)
                for name, indices in drawn.items()
            }
            with self._counted(phase, batches):
                report = self._method.step(self._state, batches)
        self._account(phase, drawn, batches, report)
        return report

    def _counted(self, phase: Phase, batches: Mapping[str, Batch]) -> AbstractContextManager[None]:
        """Count the operations of this step if it adds to what is known of them."""
        runs = self._state.axis.size
        step = {}
        for name, batch in batches.items():
            examples, width = batch.inputs["input_ids"].shape
            decisions = batch.targets[0].numel()
            step[f"{phase.name}.{name}"] = work(examples // runs, width, decisions)
        return self.flops.count(step, runs) if self.flops.wants(step) else nullcontext()

    def _account(
        self,
        phase: Phase,
        drawn: Mapping[str, Indices],
        batches: Mapping[str, Batch],
        report: StepReport,
    ) -> None:
        for position, index in enumerate(self._state.axis.active):
            trace = self.traces[index]
            trace.steps += 1
            trace.forward_passes += report.forward_passes
            trace.backward_passes += report.backward_passes
            for name, indices in drawn.items():
                trace.tokens += int(batches[name].tokens[position])
                own = indices[position]
                width, decisions = (
                    int(counts[own].max())
                    for counts in (self._data.train.lengths, self._data.train.decision_counts)
                )
                done = work(len(own), width, decisions)
                key = f"{phase.name}.{name}"
                trace.work[key] = trace.work.get(key, 0.0) + done

    def _loaders(self, phase: Phase, run: Run) -> Mapping[str, Iterator[Indices]]:
        """Return one endless stream of batches for each part of the training set a step draws."""
        cell, trained = run.cell, self._data.train.trained
        n = len(trained)
        order = permutation(n, seed_of("cut", cell.task.name, run.seed))

        def stream(name: str, cut: Cut) -> Iterator[Indices]:
            part = np.sort(order[round(cut.start * n) : round(cut.stop * n)])
            if not len(part):
                raise ConfigError(
                    f"method {cell.method!r}: its part {name!r} is {cut.start:g} to {cut.stop:g} "
                    f"of {n} training examples, which is none; give it a larger share, or train "
                    "on more examples"
                )
            part = trained[part]
            lengths = self._data.train.lengths[part]
            size, task = cell.budget.batch_size, cell.task.name
            for positions in training_batches(lengths, size, task, run.seed):
                yield part[positions]

        return {name: stream(name, cut) for name, cut in phase.parts.items()}

    def _evaluate(self, *, choose: bool) -> None:
        state, task = self._state, self._state.task
        measured = self.stopwatch.measure("evaluation", state.axis.active)
        with measured, self._method.scoring(state):
            kind = kinds.get(task.kind)
            outputs = {
                name: kind.outputs(self._method, state, probe)
                for name, probe in self.probes.items()
            }
            for position, index in enumerate(state.axis.active):
                if not all(finite(made, position) for made in outputs.values()):
                    self._finite[position] = False
                    continue
                own = {name: of_run(made, position) for name, made in outputs.items()}
                scores = {
                    name: kind.score(task, made, self.probes[name], [task.selection])
                    for name, made in own.items()
                }
                self.traces[index].curve.append(self._point(scores))
                if choose:
                    self._choose(position, self.traces[index], scores["validation"], own)
        self._drop_diverged()
        if choose:
            self._drop_stale()
            self._drop_pruned()

    def _point(self, scores: Mapping[str, SplitScores]) -> CurvePoint:
        main = self._state.task.selection
        values = {f"{name}_score": split.metrics[main] for name, split in scores.items()}
        losses = {f"{name}_loss": split.loss for name, split in scores.items()}
        return CurvePoint.model_validate({"step": self._state.axis.step, **values, **losses})

    def _choose(
        self, position: int, trace: Trace, validation: SplitScores, outputs: Mapping[str, Outputs]
    ) -> None:
        """Keep the parameters if validation is better than ever; ties keep the earlier ones."""
        task = self._state.task
        value = validation.metrics[task.selection]
        sign = 1 if get_metric(task.selection).higher_is_better else -1
        better = value is not None and (
            trace.best_score is None or sign * value > sign * trace.best_score
        )
        if better or trace.best_row is None:
            trace.best_score, trace.best_step = value, self._state.axis.step
            trace.best_row = self._state.bank.values[position].clone()
            trace.best_outputs = outputs
        trace.stale = 0 if better else trace.stale + 1

    def _drop_stale(self) -> None:
        def patient(index: int) -> bool:
            patience = self.runs[index].cell.training.patience
            return patience is None or self.traces[index].stale < patience

        active = self._state.axis.active
        self._keep([position for position, index in enumerate(active) if patient(index)])

    def _drop_pruned(self) -> None:
        """Let go of the runs that the watch has seen enough of."""
        if self._watch is None or self._state.axis.step == 0:
            return
        active = self._state.axis.active
        for index in active:
            self.traces[index].pruned = self._watch(self.runs[index], self.traces[index].curve)
        self._keep([p for p, index in enumerate(active) if self.traces[index].pruned is None])

    def _drop_stopped(self) -> None:
        """Let go of the runs of which the method says that they cannot go on."""
        reasons = self._method.stopped(self._state)
        active = self._state.axis.active
        for position, reason in reasons.items():
            self.traces[active[position]].diverged = reason
        self._keep([position for position in range(len(active)) if position not in reasons])

    def _drop_diverged(self) -> None:
        healthy = self._finite.tolist()
        for position, index in enumerate(self._state.axis.active):
            if not healthy[position]:
                self.traces[index].diverged = (
                    f"loss or gradient is not finite by step {self._state.axis.step}; "
                    "try a lower learning_rate"
                )
        self._keep([position for position, ok in enumerate(healthy) if ok])

    def _keep(self, positions: list[int]) -> None:
        state, axis = self._state, self._state.axis
        if len(positions) == axis.size:
            return
        axis.active = tuple(axis.active[position] for position in positions)
        state.bank.keep(positions)
        for optimizer in state.optimizers.values():
            optimizer.keep(positions)
        self._finite = self._finite[positions]


def evaluation_points(total: int, count: int) -> set[int]:
    """Return at most ``count`` evenly spaced steps, the last being ``total``."""
    return {max(1, round(total * (i + 1) / count)) for i in range(count)}
