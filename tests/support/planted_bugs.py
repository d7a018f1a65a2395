"""Five faults as people make them, planted in five methods, and a suite of these that is quick.

None of them is found by the check that an adapted model starts as the plain one.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

import gapbench
from gapbench.bench.adaptation.method import Method
from gapbench.bench.adaptation.train_state import StepReport, TrainState
from gapbench.bench.data.batching import Batch
from gapbench.bench.store.record import SplitScores
from gapbench.bench.training.run_state import Trace
from gapbench.bench.training.trainer import Trainer
from gapbench.methods._shared.lowrank import StackedLora
from gapbench.methods.hiddencut import HiddenCut
from gapbench.methods.label_smoothing import LabelSmoothing

TASK: dict[str, Any] = {
    "name": "few",
    "version": 1,
    "kind": "classification",
    "description": "A few sentences with noisy labels.",
    "source": {"builtin": "syn_sentiment", "seed": 0, "sizes": {"train": 72, "test": 48}},
    "text": ["sentence"],
    "labels": ["negative", "positive"],
    "metrics": ["accuracy"],
    "validation_size": 32,
    "max_length": 24,
}
SUITE: dict[str, Any] = {
    "name": "gated",
    "tasks": [TASK],
    "backbones": ["tiny-encoder"],
    "methods": [
        "lora",
        {"method": "hiddencut", "config": {"ffn_rate": 0.3}},
        {"method": "label_smoothing", "config": {"smoothing": 0.3}},
        "lora_early_stop",
        {"method": "head", "training": {"learning_rate": 1.0e-2}},
    ],
    "seeds": 5,
    "budget": {"steps": 16, "batch_size": 16, "evaluations": 8, "train_size": 40},
    "training": {"learning_rate": 3.0e-3},
}


def run(folder: Path, methods: list[str] | None = None, **settings: Any) -> Path:
    """Run the suite, or some of its methods, into a folder."""
    gapbench.run(SUITE, results=folder, methods=methods, progress=False, workers=1, **settings)
    return folder


def _scaled(self: StackedLora) -> Tensor:
    """Forget to divide alpha by the rank, which is 8."""
    return self.axis.select(self.scaling * 8)


def _still_dropping(self: HiddenCut, state: TrainState, batch: Batch) -> Tensor:
    """Predict in training mode, so that masks act."""
    state.model.train()
    return Method.predict(self, state, batch)


_SMOOTHED = LabelSmoothing.losses
_CHOOSE = Trainer._choose


def _sharpened(self: LabelSmoothing, state: TrainState, batch: Batch) -> Tensor:
    """Subtract what smoothing adds."""
    return 2 * Method.losses(self, state, batch) - _SMOOTHED(self, state, batch)


def _chosen_on_test(
    self: Trainer,
    position: int,
    trace: Trace,
    validation: SplitScores,
    outputs: Mapping[str, Any],
) -> None:
    """Choose the checkpoint by its test score."""
    seen = {self.state.task.selection: trace.curve[-1].test_score}
    _CHOOSE(self, position, trace, validation.model_copy(update={"metrics": seen}), outputs)


def _with_frozen_head(
    self: Method[Any], state: TrainState, batches: Mapping[str, Batch]
) -> StepReport:
    """Give the head no gradient."""
    losses = self.losses(state, batches["train"])
    losses.sum().backward()
    for slot in state.bank._slots:
        if "lora_" not in slot.name:
            state.bank.grads[:, slot.start : slot.stop] = 0
    return StepReport(losses.detach(), state.optimizers["main"].step())


BUGS: dict[str, tuple[str, type, str, Any]] = {
    "wrong scaling": ("lora", StackedLora, "strength", _scaled),
    "mask in evaluation": ("hiddencut", HiddenCut, "predict", _still_dropping),
    "wrong sign": ("label_smoothing", LabelSmoothing, "losses", _sharpened),
    "test leaks into choice": ("lora_early_stop", Trainer, "_choose", _chosen_on_test),
    "frozen head": ("head", Method, "step", _with_frozen_head),
}
"""The method that each is planted in, and what it replaces."""


def planted(name: str) -> AbstractContextManager[Any]:
    """Plant a bug for as long as the block runs."""
    _, owner, attribute, fault = BUGS[name]
    return patch.object(owner, attribute, fault)


@contextmanager
def other_arithmetic(draw: int, size: float = 1e-6) -> Iterator[None]:
    """Round low-rank updates otherwise, as another machine or library would."""
    product = StackedLora.add_update
    generator = torch.Generator().manual_seed(draw)

    def rounded(self: StackedLora, out: Tensor, x: Tensor) -> Tensor:
        exact = product(self, out, x)
        update = exact - out.view_as(exact)
        return exact + update * size * torch.randn(exact.shape, generator=generator)

    with patch.object(StackedLora, "add_update", rounded):
        yield
