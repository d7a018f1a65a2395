"""Runs of every method that are stacked train to the numbers that they train to alone."""

from typing import Any

import numpy as np
import pytest
import torch

from gapbench.bench.adaptation import registry
from tests.support.conformance import (
    STACKABLE,
    STACKED_ON,
    assert_healthy,
    quick_runs,
    skip_unsupported,
)
from tests.support.counting import counting_once
from tests.support.dropping_run import PRESETS
from tests.support.setting_variations import others
from tests.support.small_stack import MakeBackbone, Trained, load_backbone, random_data, train
from tests.support.solo_runs import assert_same_alone

TRAININGS: list[dict[str, Any]] = [
    {"learning_rate": 0.01},
    {"learning_rate": 0.003, "weight_decay": 0.1},
    {"learning_rate": 0.02, "max_grad_norm": 0.05, "schedule": "cosine"},
    {"learning_rate": 0.005, "warmup_fraction": 0.5, "schedule": "constant", "max_grad_norm": None},
]


def _varied(name: str) -> list[dict[str, Any]]:
    """Return four settings of a method that differ in every field that a stack lets differ."""
    per_run = registry.get(name).Config.PER_RUN
    mixed: list[dict[str, Any]] = [{}, {}, {}, {}]
    for field in sorted(per_run):
        values = others(name, field)
        for number in range(1, 4):
            mixed[number][field] = values[number % len(values)]
    return mixed


@pytest.mark.parametrize(
    ("name", "family"),
    [(n, f) for f in STACKED_ON for n in STACKABLE if f == "bert" or n not in PRESETS],
)
def test_stacked_runs_equal_solo_runs_in_float64(
    name: str, family: str, make_backbone: MakeBackbone
) -> None:
    """Runs of different seeds and settings train to the same numbers together and alone.

    Four runs try more values of the settings, and are scored on the way. What another family
    changes are the layers: two runs that differ in every setting meet in all of them, and presets
    of the dropout framework, which have its code, need not be tried again.
    """
    folder, data = make_backbone(family), random_data(outputs=3)
    (size, steps), varied = STACKED_ON[family], {"configs": _varied(name), "trainings": TRAININGS}
    runs = quick_runs(name, range(size), **varied, steps=steps, outputs=3, evaluations=2)
    skip_unsupported(name, load_backbone(folder, runs))
    scored = family == "bert"
    with counting_once():
        stacked = train(folder, runs, data, scored=scored)
    assert_healthy(stacked)
    solos = assert_same_alone(folder, runs, stacked, data, scored=scored)
    for position, solo in enumerate(solos):
        _assert_same(stacked, position, solo)


def _assert_same(stacked: Trained, position: int, solo: Trained) -> None:
    together, alone = stacked.trainer.traces[position], solo.trainer.traces[0]
    losses = [[p.train_loss, p.test_loss] for t in (together, alone) for p in t.curve]
    half = len(together.curve)
    np.testing.assert_allclose(losses[:half], losses[half:], rtol=0, atol=1e-9)
    assert together.tokens == alone.tokens
    np.testing.assert_equal(together.work, alone.work)
    counts = [t.state.bank.trained_count(i) for t, i in ((stacked, position), (solo, 0))]
    assert counts[0] == counts[1]
    notes = [t.method.diagnostic_values(t.state, i) for t, i in ((stacked, position), (solo, 0))]
    assert notes[0].keys() == notes[1].keys()


@pytest.mark.parametrize("name", STACKABLE)
def test_stacked_parameters_equal_solo_parameters_in_float32(
    name: str, make_backbone: MakeBackbone
) -> None:
    """In float32, parameters after 20 steps differ by less than 1e-4, at the end of a stack too.

    That each place in a stack gets its own settings is seen better in float64.
    """
    folder, data = make_backbone("bert"), random_data()
    training = {"learning_rate": 0.003}
    runs = quick_runs(name, range(2), precision="fp32", trainings=[training])
    *_, stacked = train(folder, runs, data, scored=False).parameters()
    (solo,) = train(folder, runs[-1:], data, scored=False).parameters()
    torch.testing.assert_close(stacked, solo, rtol=0, atol=1e-4)
