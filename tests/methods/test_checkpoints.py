"""A stack that is stopped and set up anew ends as if it had never stopped, whatever the method."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.config.run import Run
from gapbench.bench.data.encoded import TaskData
from gapbench.bench.store.store import store_at
from gapbench.bench.training.checkpoint import Checkpoints
from gapbench.bench.training.trainer import Trainer
from tests.support.small_stack import CPU, MakeBackbone, load_backbone, make_runs, random_data

STEPS = 12
NAMES = [name if name != "peft" else "peft:LORA" for name in registry.discover()]
TRAINED = [name for name in NAMES if registry.get(name).trains]
PATIENT: list[dict[str, Any]] = [{}, {"patience": 1, "learning_rate": 1e-9}, {"weight_decay": 0.1}]

# Settings under which a method keeps more from step to step than by default.
FULL: dict[str, dict[str, Any]] = {
    "adalora": {"rank": 2, "init_rank": 6},
    "adalora_dropout": {"rank": 2, "init_rank": 6},
    "bidora": {"retrain": True, "upper_every": 2},
    "bilora": {"retrain": True, "estimator": "unrolled", "upper_every": 2},
    "flexora": {"search_share": 0.5, "estimator": "unrolled", "upper_every": 2},
    "peft:LORA": {"settings": {"lora_dropout": 0.3}},
}


def trainer_of(
    folder: Path,
    runs: Sequence[Run],
    data: TaskData,
    step_callback: Callable[[Trainer], None] | None = None,
) -> Trainer:
    """Return the trainer of a stack that was just set up."""
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    return Trainer(runs, method, state, data, lambda _: None, step_callback=step_callback)


def some_steps(trainer: Trainer) -> set[int]:
    """Return a step inside and the last step of every phase."""
    phases = trainer._windows
    return {s.stop for s in phases} | {(s.start + s.stop) // 2 for s in phases}


def assert_same(one: Trainer, other: Trainer) -> None:
    """Compare all that two trainings have left, bit for bit, but for the clock."""
    content, tensors = one.snapshot().pack()
    others, other_tensors = other.snapshot().pack()
    assert content == others
    assert tensors.keys() == other_tensors.keys()
    compared = [name for name in tensors if not name.startswith("seconds/")]
    assert [name for name in compared if not torch.equal(tensors[name], other_tensors[name])] == []


@pytest.mark.parametrize("name", TRAINED)
def test_stack_goes_on_from_a_checkpoint_bit_for_bit(
    name: str, make_backbone: MakeBackbone, tmp_path: Path
) -> None:
    """Saved inside and at the end of each phase and put into a new model, it ends alike."""
    folder, data = make_backbone("bert"), random_data(outputs=3)
    seeds = range(3) if registry.get(name).stackable else range(1)
    runs = make_runs(
        name,
        seeds,
        configs=[FULL.get(name, {})],
        trainings=PATIENT,
        steps=STEPS,
        outputs=3,
        evaluations=6,
    )
    stores: dict[int, Checkpoints] = {}

    def save(trainer: Trainer) -> None:
        snapshot = trainer.snapshot()
        if snapshot.step in some_steps(trainer):
            stores[snapshot.step] = Checkpoints(store_at(tmp_path / str(snapshot.step)), CPU)
            assert stores[snapshot.step].write(runs, snapshot)

    whole = trainer_of(folder, runs, data, save)
    whole.train()
    assert len(stores) == 2 * len(whole._windows)
    for step, checkpoints in stores.items():
        ((own, saved),) = checkpoints.divide(runs)
        assert own == runs
        assert saved is not None
        trainer = trainer_of(folder, runs, data)
        trainer.restore(saved.snapshot(runs))
        assert trainer.snapshot().step == step
        trainer.train()
        assert_same(trainer, whole)


@pytest.mark.parametrize("name", ["lora", "adalora", "flexora", "lora_ema", "lora_ensemble"])
def test_runs_of_a_checkpoint_end_the_same_without_the_others(
    name: str, make_backbone: MakeBackbone, tmp_path: Path
) -> None:
    """One that had left has nothing more to do; one still in training ends as in its stack."""
    folder, data = make_backbone("bert"), random_data(outputs=3)
    runs = make_runs(
        name,
        range(3),
        configs=[FULL.get(name, {})],
        trainings=PATIENT,
        steps=STEPS,
        outputs=3,
        evaluations=12,
    )
    checkpoints = Checkpoints(store_at(tmp_path), CPU)

    def save(trainer: Trainer) -> None:
        if trainer.snapshot().step == STEPS - 2:
            assert checkpoints.write(runs, trainer.snapshot())

    whole = trainer_of(folder, runs, data, save)
    whole.train()
    ((_, saved),) = checkpoints.divide(runs[1:])
    assert saved is not None
    assert saved.snapshot(runs).active == (0, 2)
    for index in (1, 2):
        trainer = trainer_of(folder, [runs[index]], data)
        trainer.restore(saved.snapshot([runs[index]]))
        trainer.train()
        ours, theirs = trainer.traces[0], whole.traces[index]
        assert ours.steps == theirs.steps
        assert [p.step for p in ours.curve] == [p.step for p in theirs.curve]
        assert ours.best_step == theirs.best_step
        assert ours.best_row is not None
        assert theirs.best_row is not None
        torch.testing.assert_close(ours.best_row, theirs.best_row, rtol=0, atol=1e-9)
