"""BLoB against its equations: flipout, the divergence and its steps, the samples at inference."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.optim import learning_rate_at
from gapbench.bench.adaptation.train_state import Phase, TrainState
from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import MergeError
from gapbench.bench.data.batching import collate
from gapbench.methods.blob import BlobLayer
from tests.support.small_stack import CPU, MakeBackbone, load_backbone, make_runs, random_data

CONFIGS = [
    {"divergence_rate": 0.002, "divergence_period": 3},
    {"divergence_rate": 0.001, "divergence_period": 2, "prior_deviation": 0.5},
]
Started = tuple[list[Run], AnyMethod, TrainState]


@pytest.fixture
def started(make_backbone: MakeBackbone) -> Started:
    """Return two runs with a random B, ready for their first step."""
    runs = make_runs("blob", (3, 5), configs=CONFIGS, outputs=3)
    folder = make_backbone("bert")
    method, state = set_up(runs, load_backbone(folder, runs), random_data(outputs=3), CPU)
    method.begin(state, Phase(), [run.cell.training for run in runs], 20)
    for layer in method.adapters.values():
        nn.init.normal_(layer.lora_B, generator=torch.Generator().manual_seed(0))
    return runs, method, state


def _layer(state: TrainState) -> BlobLayer:
    return next(m for m in state.model.modules() if isinstance(m, BlobLayer))


def _signs(layer: BlobLayer, side: str, shape: tuple[int, ...]) -> Tensor:
    keep, _ = layer.axis.keep_mask(
        torch.full((2,), 0.5, dtype=torch.float64), f"{side} signs.{layer.site}", shape
    )
    return keep.double() * 2 - 1


def test_training_pass_is_flipout(started: Started) -> None:
    """The noise of a token is B (s * (G^2 E) (r * x)), as the authors' forward pass has it."""
    layer = _layer(started[2])
    x = torch.randn(4, 5, layer.in_features, generator=torch.Generator().manual_seed(1)).double()
    layer.train()
    out = layer(x).detach().view(2, 2, 5, -1)
    unit = layer.axis.normal(f"flipout.{layer.site}", (8, layer.in_features))
    into, outof = (_signs(layer, *each) for each in (("in", (2, 5, 24)), ("out", (2, 5, 8))))
    for run in range(2):
        own, scaling = x.view(2, 2, 5, -1)[run], float(layer.scaling[run])
        noise = layer.deviation_root[run] ** 2 * unit[run]
        inner = own @ layer.lora_A[run].T + ((own * into[run]) @ noise.T) * outof[run]
        expected = layer.base(own) + inner @ layer.lora_B[run].T * scaling
        torch.testing.assert_close(out[run], expected, rtol=0, atol=1e-12)
    assert float(into.mean()) == pytest.approx(0, abs=0.1)


def test_divergence_is_that_of_normal_distributions(
    started: Started,
) -> None:
    """It agrees with the framework's, but for the small constants of the code."""
    layer = _layer(started[2])
    prior = torch.tensor([0.2, 0.5], dtype=torch.float64)
    found = layer.divergence(prior)
    for run in range(2):
        posterior = Normal(layer.lora_A[run], layer.deviation_root[run] ** 2)
        exact = kl_divergence(posterior, Normal(0.0, prior[run])).sum()
        torch.testing.assert_close(found[run], exact, rtol=2e-3, atol=0)
        deviation, eps = layer.deviation_root[run] ** 2, 1e-6
        stable = torch.log(prior[run] + eps) - torch.log(deviation + eps) - 0.5
        stable = stable + (deviation**2 + layer.lora_A[run] ** 2) / (2 * prior[run] ** 2 + eps)
        torch.testing.assert_close(found[run], stable.sum(), rtol=1e-12, atol=0)


def test_each_step_descends_on_the_divergence_after_the_task(
    started: Started, make_backbone: MakeBackbone
) -> None:
    """Plain gradient steps at the rate, schedule and weights of the code, per run, to 1e-12."""
    runs, method, state = started
    data, folder = random_data(outputs=3), make_backbone("bert")
    task_only = make_runs(
        "blob", (3, 5), configs=[c | {"divergence_rate": 0.0} for c in CONFIGS], outputs=3
    )
    other, twin = set_up(task_only, load_backbone(folder, task_only), data, CPU)
    other.begin(twin, Phase(), [run.cell.training for run in task_only], 20)
    for step in range(5):
        batch = collate(data.train, np.arange(16).reshape(2, 8), CPU)
        twin.bank.values.copy_(state.bank.values)
        for bank, each in ((state, method), (twin, other)):
            bank.axis.step = step
            bank.model.train()
            each.step(bank, {"train": batch})
        expected = twin.bank.values.clone()
        for layer in other.adapters.values():
            for run, config in enumerate(method.configs):
                period = config.divergence_period
                weight = 2 ** (step % period + 1) / (2 ** (period + 1) - 1)
                schedule = runs[run].cell.training
                share = learning_rate_at(step, 20, schedule) / schedule.learning_rate
                rate = config.divergence_rate * share * weight
                mean, root = layer.lora_A[run].detach(), layer.deviation_root[run].detach()
                scale = 2 * config.prior_deviation**2 + 1e-6
                slope = 2 * root * (2 * root**2 / scale - 1 / (root**2 + 1e-6))
                a, g = (twin.bank.columns_of(p) for p in (layer.lora_A, layer.deviation_root))
                expected[run, a] -= rate * (2 * mean / scale).flatten()
                expected[run, g] -= rate * slope.flatten()
        torch.testing.assert_close(state.bank.values, expected, rtol=0, atol=1e-12)
    weights = [2.0**i / (2.0**4 - 1) for i in (1, 2, 3)]
    assert sum(weights) == pytest.approx(14 / 15)


def test_samples_predict_their_mean_probability_whatever_the_batch(
    started: Started,
) -> None:
    """Ten draws of A are averaged; an example's prediction does not depend on its neighbours."""
    _, method, state = started
    data = random_data(outputs=3)
    state.model.eval()
    batch = collate(data.test, np.stack([np.arange(6)] * 2), CPU)
    with torch.no_grad():
        pooled = method.predict(state, batch)
        each = []
        for number in range(10):
            for layer in method.adapters.values():
                unit = layer.axis.normal(f"posterior.{layer.site}", (8, 24), number)
                layer.lora_A.data += unit * layer.deviation_root**2
            each.append(state.model(**batch.inputs).logits.softmax(dim=-1))
            for layer in method.adapters.values():
                unit = layer.axis.normal(f"posterior.{layer.site}", (8, 24), number)
                layer.lora_A.data -= unit * layer.deviation_root**2
        torch.testing.assert_close(pooled.exp(), torch.stack(each).mean(0), rtol=0, atol=1e-12)
        single = method.predict(state, collate(data.test, np.array([[2], [2]]), CPU))
    torch.testing.assert_close(pooled.view(2, 6, 3)[:, 2], single, rtol=0, atol=1e-12)
    with pytest.raises(MergeError, match="mean prediction of 10 samples"):
        method.merge(state, 0)
