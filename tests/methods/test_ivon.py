"""IVON against its equations, against the authors' package, and the predictions of its samples."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.optim import ParameterBank, learning_rate_at
from gapbench.bench.adaptation.train_state import Phase, TrainState
from gapbench.bench.config.run import Run, Training
from gapbench.bench.core.errors import MergeError
from gapbench.bench.data.batching import collate, training_batches
from gapbench.bench.models.run_axis import RunAxis, StackedLinear
from gapbench.methods._shared.ivon_optimizer import GROUP, Curvature, StackedIvon
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    load_backbone,
    make_runs,
    random_data,
    train,
)

# The package makes h of a float32, so its first value is one that float32 holds exactly.
SETTINGS = {"ess": 200.0, "hess_init": 0.0625, "beta2": 0.99, "clip_radius": 0.7}
TRAINING = {
    "learning_rate": 0.1,
    "weight_decay": 0.02,
    "max_grad_norm": None,
    "warmup_fraction": 0.2,
}


class _Quadratic(nn.Module):
    """A stack of one layer, beside its curvature."""

    def __init__(self, axis: RunAxis) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(len(axis.seeds), 3, 4, generator=generator, dtype=torch.float64)
        self.layer = StackedLinear(axis, weight, None)
        self.curvature = Curvature(axis, 12, [0.05, 0.1][: len(axis.seeds)])


def test_updates_are_those_of_the_equations() -> None:
    """Five steps of algorithm 1 written out in numpy, with per-run settings, to 1e-12."""
    axis = RunAxis([0, 1], CPU, torch.float64)
    model = _Quadratic(axis)
    bank = ParameterBank(model, axis)
    trainings = [Training(**TRAINING), Training(learning_rate=0.3, max_grad_norm=None)]
    own = {"ess": [200.0, 50.0], "beta2": [0.99, 0.9], "clip_radius": [0.7, 0.1]}
    optimizer = StackedIvon(bank, trainings, 5, axis, **own)
    m, h = np.zeros((2, 12)), np.repeat([[0.05], [0.1]], 12, axis=1)
    theta = bank.values[:, bank.columns("main")].numpy().copy()
    slopes = np.linspace(0.5, 3.0, 12)
    ess, beta2, radius = (np.array(own[k])[:, None] for k in ("ess", "beta2", "clip_radius"))
    delta = np.array([[0.02], [0.0]])
    for step in range(5):
        noise = np.random.default_rng(step).standard_normal((2, 12))
        sigma = 1 / np.sqrt(ess * (h + delta))
        grad = slopes * (theta + sigma * noise)
        curvature = grad * sigma * noise * ess * (h + delta)
        new_h = beta2 * h + (1 - beta2) * curvature
        new_h += 0.5 * (1 - beta2) ** 2 * (h - curvature) ** 2 / (h + delta)
        m = 0.9 * m + 0.1 * grad
        rate = np.array([[learning_rate_at(step, 5, each)] for each in trainings])
        move = (m / (1 - 0.9 ** (step + 1)) + delta * theta) / (new_h + delta)
        theta, h = theta - rate * np.clip(move, -radius, radius), new_h

        means = optimizer.perturb(torch.from_numpy(noise))
        (model.layer.weight.flatten(1).square() * torch.from_numpy(slopes) / 2).sum().backward()
        bank.values[:, optimizer.columns] = means
        optimizer.step()
        found = bank.values.numpy()
        np.testing.assert_allclose(found[:, bank.columns("main")], theta, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found[:, bank.columns(GROUP)], h, rtol=0, atol=1e-12)


def _ready(folder: Path, **config: Any) -> tuple[list[Run], AnyMethod, TrainState]:
    runs = make_runs("ivon", (4,), configs=[SETTINGS | config], trainings=[TRAINING], outputs=3)
    method, state = set_up(runs, load_backbone(folder, runs), random_data(outputs=3), CPU)
    method.begin(state, Phase(), [runs[0].cell.training], 20)
    state.model.train()
    return runs, method, state


@contextmanager
def _drawing(noise: Tensor) -> Iterator[None]:
    """Let the authors' package draw our noise."""
    with mock.patch.object(torch, "randn", return_value=noise):
        yield


def test_training_is_that_of_the_authors_package(make_backbone: MakeBackbone) -> None:
    """Twenty steps on a backbone give the means and h of `ivon-opt` to 1e-9."""
    ivon = pytest.importorskip("ivon", reason="ivon-opt, the authors' package, is not installed")
    folder, data = make_backbone("bert"), random_data(outputs=3)
    runs, method, state = _ready(folder)
    _, twin_method, twin = _ready(folder)
    columns = state.bank.columns("main")
    flat = nn.Parameter(twin.bank.values[0, columns].clone())
    reference = ivon.IVON(
        [flat],
        lr=TRAINING["learning_rate"],
        weight_decay=TRAINING["weight_decay"],
        rescale_lr=False,
        **SETTINGS,
    )
    order = training_batches(data.train.lengths, 8, "toy", 4)
    for step in range(20):
        batch = collate(data.train, next(order)[None], CPU)
        reference.param_groups[0]["lr"] = learning_rate_at(step, 20, runs[0].cell.training)
        with _drawing(method._noise(state, "sample")[0]), reference.sampled_params(train=True):
            twin.bank.values[0, columns] = flat.data
            loss = twin_method.losses(twin, batch)
            loss.sum().backward()
            flat.grad = twin.bank.grads[0, columns].clone()
            twin.bank.grads.zero_()
        reference.step()
        report = method.step(state, {"train": batch})
        state.axis.step += 1
        torch.testing.assert_close(report.losses, loss.detach(), rtol=0, atol=1e-9)
    h = reference.param_groups[0]["hess"]
    torch.testing.assert_close(state.bank.values[0, columns], flat.data, rtol=0, atol=1e-9)
    found = state.bank.values[0, state.bank.columns(GROUP)]
    torch.testing.assert_close(found, h, rtol=0, atol=1e-9)
    assert (h != SETTINGS["hess_init"]).all()


@pytest.mark.parametrize("outputs", [3, 1])
def test_samples_predict_their_mean_probability(outputs: int, make_backbone: MakeBackbone) -> None:
    """Probabilities of samples with the posterior's deviation are averaged; means stay in place."""
    folder, data = make_backbone("bert"), random_data(outputs=outputs)
    config = SETTINGS | {"samples": 5}
    runs = make_runs("ivon", (0, 1), configs=[config], outputs=outputs, steps=4)
    trained = train(folder, runs, data)
    method, state = trained.method, trained.state
    batch = collate(data.test, np.stack([np.arange(5)] * 2), CPU)
    before = state.bank.values.clone()
    with torch.no_grad():
        state.model.eval()
        pooled = method.predict(state, batch)
        assert torch.equal(state.bank.values, before)
        assert torch.equal(pooled, method.predict(state, batch))
        main, h = (before[:, state.bank.columns(group)] for group in ("main", GROUP))
        each = []
        for number in range(5):
            noise = method._noise(state, "posterior", number)
            state.bank.values[:, state.bank.columns("main")] = main + noise / (200 * h).sqrt()
            each.append(state.model(**batch.inputs).logits)
        state.bank.values.copy_(before)
    if outputs == 1:
        expected = torch.stack(each).mean(dim=0)
    else:
        expected = torch.stack(each).softmax(dim=-1).mean(dim=0).log()
    torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-12)


def test_samples_cannot_be_written_as_one_model(make_backbone: MakeBackbone) -> None:
    """The message says how a run could be; at the mean a run is written like LoRA's."""
    _, method, state = _ready(make_backbone("bert"), samples=2)
    for write in (method.merge, method.export):
        with pytest.raises(MergeError, match="train with samples = 0"):
            write(state, 0)
    _, method, state = _ready(make_backbone("bert"))
    assert not any(GROUP in name for name in method.merge(state, 0))
    assert not any(GROUP in name for name in method.export(state, 0).tensors)


def test_curvature_counts_no_trained_numbers(make_backbone: MakeBackbone) -> None:
    """A run trains as many numbers as LoRA."""
    _, _, state = _ready(make_backbone("bert"))
    runs = make_runs("lora", outputs=3)
    _, lora = set_up(runs, load_backbone(make_backbone("bert"), runs), random_data(outputs=3), CPU)
    assert state.bank.trained_count(0) == lora.bank.trained_count(0)
    assert state.bank.values.shape[1] == 2 * lora.bank.values.shape[1]
