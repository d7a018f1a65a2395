"""Every method fits a small training set perfectly."""

from typing import Any

import pytest

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.training.trainer import Trainer
from tests.support.conformance import TRAINED, quick_runs
from tests.support.small_stack import CPU, MakeBackbone, load_backbone, random_data

# Settings at which a method that learns slowly on a small random backbone, or by design learns only
# from a part of the examples, can fit 32 of them: (learning rate, config).
EAGER: dict[str, tuple[float, dict[str, Any]]] = {
    "dora": (0.08, {}),
    "adalora": (0.05, {}),
    "lora_dropout": (0.05, {}),
    "adalora_dropout": (0.075, {"rate": 0.3}),
    "lora_ensemble_equal_passes": (0.04, {}),  # whose members learn from 4 examples of a batch
    "bilora": (0.02, {"split": False, "orthogonality": 0.0}),
    "bilora_joint": (0.02, {"orthogonality": 0.0}),
    "bidora": (0.05, {"split": False}),
    "neftune": (0.02, {"noise_alpha": 0.1}),  # a random backbone's embeddings are small
    "ivon": (0.2, {}),  # its steps are the rate times the clipping radius
}

# Reasons why a method cannot fit 32 examples with any settings.
CANNOT_MEMORISE = {
    "head": "a linear layer on a random backbone's features",
    "bitfit": "biases of a random backbone",
}


@pytest.mark.parametrize("name", TRAINED)
def test_method_memorises_32_examples(name: str, make_backbone: MakeBackbone) -> None:
    """A small training set is fitted perfectly: nothing in the method stands in the way."""
    if name in CANNOT_MEMORISE:
        pytest.skip(CANNOT_MEMORISE[name])
    rate, config = EAGER.get(name, (0.02, {}))
    training = {"learning_rate": rate, "warmup_fraction": 0.1}
    runs = quick_runs(
        name,
        (1,),
        configs=[config],
        trainings=[training],
        steps=160,
        batch_size=16,
        evaluations=4,  # all of which score the training set too
        precision="fp32",
    )
    data = random_data(train=32)
    method, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
    trainer = Trainer(runs, method, state, data, lambda _: None, step_callback=_stop_when_fitted)
    with pytest.raises(_FittedError):
        trainer.train()


class _FittedError(Exception):
    """All examples of the training set are answered as they should be."""


def _stop_when_fitted(trainer: Trainer) -> None:
    if trainer.traces[0].curve[-1].train_score == 1.0:
        raise _FittedError
