"""Instruments for methods with two levels: a stack ready to step, a trainer that takes notes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import Phase, StepReport, TrainState
from gapbench.bench.data.batching import Batch, collate, training_batches
from gapbench.bench.data.encoded import TaskData
from gapbench.bench.training.trainer import Trainer
from tests.support.small_stack import CPU, load_backbone, make_runs, random_data

CONSTANT = {"learning_rate": 0.01, "warmup_fraction": 0.0, "schedule": "constant"}


def ready(
    folder: Path, name: str, data: TaskData, seeds: Sequence[int] = (4,), **config: Any
) -> tuple[AnyMethod, TrainState]:
    """Return a stack in its first phase, ready for its first of 20 steps at a constant rate."""
    runs = make_runs(name, seeds, configs=[config], trainings=[CONSTANT], outputs=3)
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    phase = method.phases(method.configs[0])[0]
    method.begin(state, phase, [run.cell.training for run in runs], 20)
    state.model.train()
    return method, state


def draw(data: TaskData, runs: int, seed: int) -> Callable[[], Batch]:
    """Return a source of batches of 8 examples of the training set, the same for all runs."""
    order = training_batches(data.train.lengths, 8, "toy", seed)
    return lambda: collate(data.train, np.stack([next(order)] * runs), CPU)


@dataclass
class Seen:
    """What one step drew, by part, and on which of its batches each pass ran, in order."""

    phase: str
    drawn: dict[str, set[int]]
    passes: list[str] = field(default_factory=list)


class NotingTrainer(Trainer):
    """A trainer that remembers which training examples each part of each step drew."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.seen: list[Seen] = []
        self._passes: list[int] = []
        original = self.method.losses

        def losses(state: TrainState, batch: Batch) -> Tensor:
            self._passes.append(id(batch))
            return original(state, batch)

        self.method.losses = losses  # type: ignore[method-assign]

    def _account(
        self,
        phase: Phase,
        drawn: Mapping[str, Any],
        batches: Mapping[str, Batch],
        report: StepReport,
    ) -> None:
        super()._account(phase, drawn, batches, report)
        names = {id(batch): name for name, batch in batches.items()}
        parts = {name: set(indices.ravel().tolist()) for name, indices in drawn.items()}
        self.seen.append(Seen(phase.name, parts, [names[i] for i in self._passes]))
        self._passes.clear()


def watched(
    folder: Path, name: str, data: TaskData, steps: int = 12, seed: int = 3, **config: Any
) -> NotingTrainer:
    """Train one run to the end of its budget under a `NotingTrainer`."""
    runs = make_runs(name, (seed,), configs=[config], steps=steps, outputs=3)
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    trainer = NotingTrainer(runs, method, state, data, lambda _: None)
    trainer.train()
    return trainer


def level(state: TrainState, group: str) -> Tensor:
    """Return a copy of the numbers of an optimiser group, (runs, numbers)."""
    return state.bank.values[:, state.bank.columns(group)].clone()


def upper_gradient(method: AnyMethod, state: TrainState, batches: Mapping[str, Batch]) -> Tensor:
    """Return what a step would hand to the optimiser of the upper level, (runs, numbers)."""
    found: list[Tensor] = []
    columns = state.bank.columns("upper")

    def capture() -> Tensor:
        found.append(state.bank.grads[:, columns].clone())
        return found[0].norm(dim=1)

    state.optimizers["upper"].step = capture  # type: ignore[method-assign]
    method.step(state, batches)
    return found[0]


def assert_levels_apart(folder: Path, name: str, part: str, **config: Any) -> None:
    """Step with and without the batch of the upper level, ``part``: it alone moves that level."""
    data = random_data(3)
    method, state = ready(folder, name, data, **config)
    twin, lower = ready(folder, name, data, **config)
    batch, upper = draw(data, 1, 0), draw(data, 1, 1)
    for _ in range(4):
        drawn = batch()
        method.step(state, {"train": drawn, part: upper()})
        before = level(lower, "upper")
        twin.step(lower, {"train": drawn})
        assert torch.equal(level(lower, "upper"), before)
        assert torch.equal(level(state, "main"), level(lower, "main"))
        ours, theirs = state.optimizers["main"], lower.optimizers["main"]
        assert torch.equal(ours._first, theirs._first)
        assert torch.equal(ours._second, theirs._second)
        assert not torch.equal(level(state, "upper"), before)
        assert (state.bank.grads == 0).all()
        assert state.model.training
        lower.bank.values[:, lower.bank.columns("upper")] = level(state, "upper")
        for run in (method, twin):
            run.axis.step += 1
