"""Per-run AdamW against the framework's, and the learning-rate schedules against the library's."""

import pytest
import torch
import transformers
from torch import nn

from gapbench.bench.adaptation.optim import ParameterBank, StackedAdamW, learning_rate_at
from gapbench.bench.config.run import Training
from gapbench.bench.models.run_axis import RunAxis, StackedLinear
from tests.support.small_stack import CPU

SETTINGS = [
    Training(learning_rate=0.1, weight_decay=0.3, warmup_fraction=0.0, max_grad_norm=None),
    Training(learning_rate=0.01, weight_decay=0.0, warmup_fraction=0.3, max_grad_norm=0.2),
    Training(learning_rate=0.03, schedule="constant", warmup_fraction=0.0, max_grad_norm=5.0),
]


def _stack(runs: int) -> tuple[StackedLinear, ParameterBank, RunAxis]:
    axis = RunAxis(list(range(runs)), CPU, torch.float64)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(runs, 4, 6, generator=generator, dtype=torch.float64)
    layer = StackedLinear(
        axis, weight, torch.randn(runs, 4, generator=generator, dtype=torch.float64)
    )
    return layer, ParameterBank(layer, axis), axis


def test_stacked_adamw_equals_the_frameworks_for_each_run() -> None:
    """Rates, decay, clipping and schedule of each run act as in an optimiser of its own."""
    layer, bank, axis = _stack(3)
    assert layer.bias is not None
    solos = []
    for run, settings in enumerate(SETTINGS):
        weight = nn.Parameter(layer.weight[run].detach().clone())
        bias = nn.Parameter(layer.bias[run].detach().clone())
        decayed = {"params": [weight], "weight_decay": settings.weight_decay}
        optimizer = torch.optim.AdamW(
            [decayed, {"params": [bias], "weight_decay": 0.0}], lr=settings.learning_rate
        )
        solos.append((weight, bias, optimizer, settings))
    stacked = StackedAdamW(bank, SETTINGS, 12, axis)
    generator = torch.Generator().manual_seed(1)
    for step in range(12):
        x = torch.randn(3, 5, 6, generator=generator, dtype=torch.float64)
        layer(x.view(15, 6)).square().sum().backward()
        norms = stacked.step()
        for run, (weight, bias, optimizer, settings) in enumerate(solos):
            optimizer.zero_grad()
            (x[run] @ weight.T + bias).square().sum().backward()
            limit = settings.max_grad_norm or float("inf")
            norm = nn.utils.clip_grad_norm_([weight, bias], limit)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, 12, settings)
            optimizer.step()
            torch.testing.assert_close(norms[run], norm)
            torch.testing.assert_close(layer.weight[run], weight, rtol=0, atol=1e-12)
            torch.testing.assert_close(layer.bias[run], bias, rtol=0, atol=1e-12)


def test_dropping_a_run_leaves_the_others_going_on() -> None:
    """After `keep`, the remaining runs move as if nothing had happened."""
    results = []
    for drop in (False, True):
        layer, bank, axis = _stack(3)
        optimizer = StackedAdamW(bank, SETTINGS, 6, axis)
        for step in range(6):
            if drop and step == 2:
                axis.active = (0, 2)
                bank.keep_runs([0, 2])
                optimizer.keep_runs([0, 2])
            x = torch.ones(axis.size, 5, 6, dtype=torch.float64)
            layer(x.view(-1, 6)).square().sum().backward()
            optimizer.step()
        results.append(bank.values.clone())
    torch.testing.assert_close(results[0][[0, 2]], results[1], rtol=0, atol=0)


def test_several_runs_refuse_a_parameter_without_a_run_axis() -> None:
    """A plain trainable layer in a stack of two is an error, since its gradient would mix."""
    axis = RunAxis([0, 1], CPU, torch.float32)
    with pytest.raises(ValueError, match="no run axis"):
        ParameterBank(nn.Linear(3, 2), axis)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("fraction", [0.0, 0.06, 0.5])
def test_schedule_equals_the_model_librarys(schedule: str, fraction: float) -> None:
    """Every rate of 37 updates equals the library's schedule of that name."""
    total, settings = 37, Training(learning_rate=0.2, schedule=schedule, warmup_fraction=fraction)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    warmup = -int(-total * fraction // 1)
    library = transformers.get_scheduler(name, optimizer, warmup, total)
    for step in range(total):
        assert learning_rate_at(step, total, settings) == pytest.approx(
            optimizer.param_groups[0]["lr"]
        )
        optimizer.step()
        library.step()
