"""The one training loop: steps, evaluation points, checkpoint choice, runs that leave the stack.

It knows phases and steps, but no method by name. Only validation chooses the checkpoint.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import Phase, StepReport, TrainState
from gapbench.bench.config.run import Run
from gapbench.bench.config.task import Task
from gapbench.bench.data.batching import Batch, collate
from gapbench.bench.data.encoded import Indices, TaskData
from gapbench.bench.store.record import CurvePoint, SplitScores
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import CURVE_SIZE, EvalSubset
from gapbench.bench.tasks.kinds import Outputs, finite, of_run
from gapbench.bench.training.flops_and_time import FlopEstimate, Stopwatch, widths, work
from gapbench.bench.training.phase_schedule import (
    PhaseWindow,
    curve_points,
    evaluation_points,
    phase_windows,
    streams,
)
from gapbench.bench.training.run_state import Trace
from gapbench.bench.training.snapshot import Snapshot

_FINITE_CHECK_EVERY = 10  # steps; a check waits for the device
CURVE_POINTS = 5
"""Points of a run, step 0 included, at which train and test are scored for the curves."""

CHOOSING_MEMBERS = 2
"""Masked copies or samples of an ensemble that predict along training, unless the budget says."""

Progress = Callable[[float], None]
"""Called with the share of the work that is done."""
PruningCallback = Callable[[Run, Sequence[CurvePoint]], str | None]
"""Called with the evaluations of a run so far; returns a reason to end it, or None."""
StepCallback = Callable[["Trainer"], None]
"""Called between steps, when a snapshot can be taken; it may raise to end the training."""


def part_of(progress: Progress, begun: float, share: float) -> Progress:
    """Return the progress of a part that starts at ``begun`` and has a share of the whole."""
    return lambda done: progress(begun + share * done)


def final_subsets(task: Task, data: TaskData) -> dict[str, EvalSubset]:
    """Return what is scored of each split at the end: all, except of a large train split."""
    sizes = {"train": kinds.get(task.kind).final_train_size}
    return {name: EvalSubset.of(split, sizes.get(name)) for name, split in data.open.items()}


def subsets_along(final: Mapping[str, EvalSubset]) -> dict[str, EvalSubset]:
    """Return what is scored along training: all of validation, small parts of train and test."""
    parts = {name: final[name].thinned(CURVE_SIZE) for name in ("train", "test") if name in final}
    return {name: final[name] for name in ("validation",) if name in final} | parts


class Trainer:
    """Trains one stack of runs that agree on task, backbone, method and budget.

    An *index* counts all runs that began, a *position* only active ones: run ``index`` is at
    position ``axis.active.index(index)`` of every tensor with a run axis.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        method: AnyMethod,
        state: TrainState,
        data: TaskData,
        progress: Progress,
        pruning_callback: PruningCallback | None = None,
        step_callback: StepCallback | None = None,
    ) -> None:
        self.runs = list(runs)
        self.traces = [Trace() for _ in self.runs]
        self.stopwatch = Stopwatch(len(runs), state.axis.device)
        self.flops = FlopEstimate()
        self.method = method
        self.state = state
        self.data = data
        self._progress = progress
        self._pruning_callback = pruning_callback
        self._step_callback = step_callback
        self._finite = torch.ones(len(runs), dtype=torch.bool, device=state.axis.device)
        self.final_subsets = final_subsets(state.task, data)
        self.subsets = subsets_along(self.final_subsets)
        self._members = self.runs[0].cell.budget.choosing_members or CHOOSING_MEMBERS

    @cached_property
    def _total(self) -> int:
        return self.runs[0].cell.budget.total_steps(len(self.data.train.trained))

    @cached_property
    def _points(self) -> set[int]:
        return evaluation_points(self._total, self.runs[0].cell.budget.evaluations)

    @cached_property
    def _curve_points(self) -> set[int]:
        return curve_points(self._points, CURVE_POINTS)

    @cached_property
    def _windows(self) -> list[PhaseWindow]:
        return phase_windows(self.method, self._total)

    @property
    def at_end(self) -> bool:
        """Whether all steps are done."""
        return self.state.axis.step >= self._total

    @property
    def ended(self) -> bool:
        """Whether nothing is left to train."""
        return self.at_end or not self.state.axis.size

    def train(self) -> None:
        """Train every run until the budget or its patience ends, or it diverges."""
        axis = self.state.axis
        if axis.step == 0:  # otherwise it continues from a snapshot
            self._evaluate(choose=False)
        for window in self._windows:
            if not axis.size:
                return
            if axis.step <= window.start:
                self._begin(window)
                for position, reason in self.method.stopped(self.state).items():
                    self.traces[axis.active[position]].diverged = reason
                self._drop_ended()
            self._train_phase(window)

    def _begin(self, window: PhaseWindow) -> None:
        settings = [self.runs[index].cell.training for index in self.state.axis.active]
        self.method.begin(self.state, window.phase, settings, window.stop - window.start)

    def _train_phase(self, window: PhaseWindow) -> None:
        axis = self.state.axis
        loaders = [streams(window, run, self.data.train, axis.step) for run in self.runs]
        while axis.step < window.stop and axis.size:
            report = self._step(window, loaders)
            axis.step += 1
            self._finite &= report.losses.isfinite() & report.gradient_norms.isfinite()
            due = axis.step in self._points
            if due or axis.step % _FINITE_CHECK_EVERY == 0:
                self._progress(axis.step / self._total)
                self._drop_ended()
            if due and axis.size:
                self._evaluate(choose=window.phase.eligible)
            if self._step_callback is not None and axis.size:
                self._step_callback(self)
        self._drop_ended()  # before the next phase builds on these parameters

    def snapshot(self) -> Snapshot:
        """Return the state for `restore`; nothing is copied, so the next step invalidates it."""
        state = self.state
        own = {"numbers": state.bank.values, "finite": self._finite}
        for name, optimizer in state.optimizers.items():
            own |= {f"{name}.{each}": rows for each, rows in optimizer.state_dict().items()}
        return Snapshot(
            step=state.axis.step,
            active=state.axis.active,
            active_rows=own,
            rows=self.method.state_dict(),
            traces=self.traces,
            seconds=self.stopwatch.seconds,
            counted=self.flops.counted,
        )

    def restore(self, saved: Snapshot) -> None:
        """Bring a new stack to the state of a snapshot of the same runs.

        All phases so far are begun again, which creates the optimisers and the methods' copies of
        initial values. Then everything that steps changed is restored.
        """
        state, axis = self.state, self.state.axis
        for window in self._windows:
            if window.start < saved.step:
                self._begin(window)
        axis.step, axis.active = saved.step, saved.active
        rows = {name: values.to(axis.device) for name, values in saved.active_rows.items()}
        state.bank.load(rows["numbers"])
        self._finite = rows["finite"].clone()
        for name, optimizer in state.optimizers.items():
            optimizer.keep_runs(saved.active)
            optimizer.load_state_dict({each: rows[f"{name}.{each}"] for each in optimizer.STATE})
        self.method.load_state_dict(saved.rows)
        self.traces = saved.traces
        for trace in self.traces:
            if trace.best_row is not None:
                trace.best_row = trace.best_row.to(axis.device)
        self.stopwatch.seconds = saved.seconds
        self.flops.counted = saved.counted

    def _step(
        self, window: PhaseWindow, loaders: list[Mapping[str, Iterator[Indices]]]
    ) -> StepReport:
        axis, phase = self.state.axis, window.phase
        parts = window.drawn(axis.step)
        drawn = {name: np.stack([next(loaders[i][name]) for i in axis.active]) for name in parts}
        self.state.model.train()
        with self.stopwatch.measure("train", axis.active):
            batches = {
                name: collate(self.data.train, indices, axis.device)
                for name, indices in drawn.items()
            }
            with self._counted(phase, drawn):
                report = self.method.step(self.state, batches)
        self._account(phase, drawn, batches, report)
        return report

    def _counted(self, phase: Phase, drawn: Mapping[str, Indices]) -> AbstractContextManager[None]:
        """Count the operations of this step if that adds information."""
        runs = self.state.axis.size
        step = {_charged_to(phase, drawn, name): self._work(each) for name, each in drawn.items()}
        return self.flops.count(step, runs) if self.flops.wants(step) else nullcontext()

    def _work(self, indices: Indices) -> NDArray[np.float64]:
        """Return the work of a run on a batch, padded to the longest of (..., examples)."""
        model: Any = self.state.model
        apart = self.state.task.prompted and model.config.is_encoder_decoder
        found = widths(self.data.train, indices.reshape(-1), apart=apart)
        return work(indices.shape[-1], *found)

    def _account(
        self,
        phase: Phase,
        drawn: Mapping[str, Indices],
        batches: Mapping[str, Batch],
        report: StepReport,
    ) -> None:
        for position, index in enumerate(self.state.axis.active):
            trace = self.traces[index]
            trace.steps += 1
            trace.forward_passes += report.forward_passes
            trace.backward_passes += report.backward_passes
            for name, indices in drawn.items():
                trace.tokens += int(batches[name].tokens[position])
                own = indices[position]
                trace.drawn[name] = trace.drawn.get(name, 0) + len(own)
                key = _charged_to(phase, drawn, name)
                trace.work[key] = trace.work.get(key, 0.0) + self._work(own)

    def _evaluate(self, *, choose: bool) -> None:
        state, task = self.state, self.state.task
        measured = self.stopwatch.measure("evaluation", state.axis.active)
        with measured, self.method.scoring(state), self._few_members():
            kind = kinds.get(task.kind)
            drawn = state.axis.step in self._curve_points
            outputs = {
                name: kind.outputs(self.method, state, subset)
                for name, subset in self.subsets.items()
                if drawn or name == "validation"
            }
            for position, index in enumerate(state.axis.active):
                if not all(finite(made, position) for made in outputs.values()):
                    self._finite[position] = False
                    continue
                own = {name: of_run(made, position) for name, made in outputs.items()}
                scores = {
                    name: kind.score(task, made, self.subsets[name], [task.selection])
                    for name, made in own.items()
                }
                values = {"step": state.axis.step, **curve_values(task, scores)}
                self.traces[index].curve.append(CurvePoint.model_validate(values))
                if choose:
                    self._choose(position, self.traces[index], scores["validation"], own)
        self._drop_ended()
        if choose and self._pruning_callback is not None and state.axis.step:
            for index in state.axis.active:
                trace = self.traces[index]
                trace.pruned = self._pruning_callback(self.runs[index], trace.curve)
            self._drop_ended()

    @contextmanager
    def _few_members(self) -> Iterator[None]:
        """Let ensembles predict with few members inside the block."""
        self.state.most_members = self._members
        try:
            yield
        finally:
            self.state.most_members = None

    def _choose(
        self, position: int, trace: Trace, validation: SplitScores, outputs: Mapping[str, Outputs]
    ) -> None:
        """Keep the parameters if validation has improved; ties keep the earlier ones."""
        value = validation.metrics[self.state.task.selection]
        better = _improved(self.state.task, trace, value, validation.loss)
        if better:
            trace.best_score, trace.best_step = value, self.state.axis.step
            trace.best_row = self.state.bank.values[position].clone()
            # Where only some members predicted, the end must score with all of them.
            members = self.method.predicting_members(self.method.configs[0])
            trace.best_outputs = outputs if members <= self._members else {}
        trace.evaluations_without_improvement = (
            0 if better else trace.evaluations_without_improvement + 1
        )

    def _drop_ended(self) -> None:
        """Drop the runs that diverge, are pruned or run out of patience."""
        state, axis = self.state, self.state.axis
        for index, healthy in zip(axis.active, self._finite.tolist(), strict=True):
            if not healthy:
                told = f"loss or gradient is not finite by step {axis.step}"
                self.traces[index].diverged = f"{told}; try a lower learning_rate"
        positions = [p for p, index in enumerate(axis.active) if not self._ended(index)]
        if len(positions) == axis.size:
            return
        axis.active = tuple(axis.active[position] for position in positions)
        state.bank.keep_runs(positions)
        for optimizer in state.optimizers.values():
            optimizer.keep_runs(positions)
        self._finite = self._finite[positions]

    def _ended(self, index: int) -> bool:
        trace, patience = self.traces[index], self.runs[index].cell.training.patience
        impatient = patience is not None and trace.evaluations_without_improvement >= patience
        return impatient or trace.diverged is not None or trace.pruned is not None


def curve_values(task: Task, scores: Mapping[str, SplitScores]) -> dict[str, float | None]:
    """Return the fields of a `CurvePoint` that hold the scores of some splits."""
    values = {f"{name}_score": split.metrics[task.selection] for name, split in scores.items()}
    return values | {f"{name}_loss": split.loss for name, split in scores.items()}


def _charged_to(phase: Phase, drawn: Iterable[str], part: str) -> str:
    """Return the key that the work on a batch is charged to.

    Work on a part may differ between steps that draw only from it and steps that draw from several.
    """
    return f"{phase.name}.{'+'.join(sorted(drawn))}.{part}"


def _improved(task: Task, trace: Trace, value: float | None, loss: float) -> bool:
    """Whether a score on validation is better than the best so far.

    One that is undefined, as a correlation with constant values is, is worse than any other; of two
    such points the one with the lower loss is better.
    """
    best = trace.best_score
    if trace.best_row is None:
        return True
    if value is not None and best is not None:
        return value > best if task.selection_metric.higher_is_better else value < best
    if value is None and best is None:
        (known,) = (p.validation_loss for p in trace.curve if p.step == trace.best_step)
        return loss < known
    return value is not None
