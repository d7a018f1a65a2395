"""SWAG-LoRA against the authors' moments and samples, written out."""

from typing import Any

import numpy as np
import pytest
import torch

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.optim import learning_rate_at
from gapbench.bench.core.errors import MergeError
from gapbench.bench.training.trainer import Trainer
from gapbench.methods.swag_lora import SwagLora
from tests.support.small_stack import CPU, MakeBackbone, load_backbone, make_runs, random_data

STEPS = 12
CONFIGS: list[dict[str, Any]] = [
    {"start": 0.5, "iterates": 3, "columns": 3, "rate_share": 0.2},
    {"start": 0.25, "iterates": 3, "columns": 3, "scale": 0.5, "rate_share": 0.5},
]
COUNTED = ([8, 10, 12], [6, 9, 12])  # every second update after 6, every third after 3


def _trainer(make_backbone: MakeBackbone, **settings: Any) -> tuple[Trainer, list[torch.Tensor]]:
    """Train two runs; return their trainer and the parameters after every update."""
    runs = make_runs("swag_lora", (3, 5), steps=STEPS, outputs=3, evaluations=4, **settings)
    data = random_data(outputs=3)
    method, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
    seen: list[torch.Tensor] = []

    def watch(trainer: Trainer) -> None:
        bank = trainer.state.bank
        seen.append(bank.values[:, bank.columns("main")].clone())

    trainer = Trainer(runs, method, state, data, lambda _: None, step_callback=watch)
    trainer.train()
    return trainer, seen


def test_moments_are_those_of_the_iterates_that_count(make_backbone: MakeBackbone) -> None:
    """Mean, variance and latest deviations from the running mean, by the authors' update."""
    trainer, seen = _trainer(make_backbone, configs=CONFIGS)
    method = trainer.method
    assert isinstance(method, SwagLora)
    kept = method._iterates
    for run, counted in enumerate(COUNTED):
        mean = square = torch.zeros_like(seen[0][run])
        deviations = []
        for n, update in enumerate(counted):
            values = seen[update - 1][run]
            mean = mean * n / (n + 1) + values / (n + 1)
            square = square * n / (n + 1) + values**2 / (n + 1)
            deviations.append(values - mean)
        close = {"rtol": 0, "atol": 1e-12}
        torch.testing.assert_close(kept.mean[run].detach(), mean, **close)
        torch.testing.assert_close(kept.variance[run].detach(), square - mean**2, **close)
        torch.testing.assert_close(
            kept.deviations[run].detach(), torch.stack(deviations[-3:]), **close
        )


def test_samples_are_the_authors(make_backbone: MakeBackbone) -> None:
    """``mean + scale^0.5 (var^0.5 e + D u / (K - 1)^0.5)`` with the run's own draws."""
    method = _trainer(make_backbone, configs=CONFIGS)[0].method
    assert isinstance(method, SwagLora)
    kept, axis = method._iterates, method.axis
    numbers = kept.mean.shape[1]
    e, u = axis.normal("diagonal", (numbers,), 7), axis.normal("columns", (3,), 7)
    drawn = method.deviation(7)
    for run, scale in enumerate((1.0, 0.5)):
        diagonal = kept.variance[run] ** 0.5 * e[run]
        across = kept.deviations[run].T @ u[run] / (3 - 1) ** 0.5
        expected = (scale**0.5 * (diagonal + across)).detach()
        torch.testing.assert_close(drawn[run].detach(), expected, rtol=0, atol=1e-12)


def test_the_rate_is_constant_from_the_start_of_the_iterates_on(
    make_backbone: MakeBackbone,
) -> None:
    """It is the share of the peak that was asked for; before, it is the suite's schedule."""
    trainer, _ = _trainer(make_backbone, configs=CONFIGS, trainings=[{"learning_rate": 0.02}])
    method = trainer.method
    assert isinstance(method, SwagLora)
    for run, (first, share) in enumerate([(6, 0.2), (3, 0.5)]):
        training = trainer.runs[run].cell.training
        for step in range(STEPS):
            method.axis.step = step
            rate = learning_rate_at(step, STEPS, training) * method._learning_rate_factor(run)
            scheduled = learning_rate_at(step, STEPS, training)
            assert rate == pytest.approx(scheduled if step < first else share * 0.02)


def test_before_the_start_all_samples_are_lora(make_backbone: MakeBackbone) -> None:
    """With no iterate that counts, curve and parameters are those of LoRA."""
    ours, _ = _trainer(make_backbone, configs=[{"start": 1.0}])
    runs = make_runs("lora", (3, 5), steps=STEPS, outputs=3, evaluations=4)
    data = random_data(outputs=3)
    method, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
    lora = Trainer(runs, method, state, data, lambda _: None)
    lora.train()
    bank = ours.state.bank
    assert torch.equal(bank.values[:, bank.columns("main")], lora.state.bank.values)
    for one, other in zip(ours.traces, lora.traces, strict=True):
        losses = [[p.test_loss for p in trace.curve] for trace in (one, other)]
        np.testing.assert_allclose(losses[0], losses[1], rtol=0, atol=1e-12)
    with pytest.raises(MergeError, match="mean prediction of 15 samples"):
        ours.method.merge(ours.state, 0)


def test_scores_leave_parameters_without_a_graph(make_backbone: MakeBackbone) -> None:
    """Otherwise it would grow with every step, and a run that leaves a stack would break it."""
    trainer, _ = _trainer(make_backbone, configs=CONFIGS)
    assert not trainer.state.bank.values.requires_grad
