"""MonteCLoRA against PEFT's, given the same draws."""

from collections.abc import Callable
from unittest import mock

import peft
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from gapbench.bench.adaptation.losses import run_losses
from gapbench.bench.data.batching import collate, training_batches
from gapbench.methods.monteclora import MontecloraLayer
from tests.support.peft_twin import RATE, ready, twin
from tests.support.small_stack import CPU, MakeBackbone, random_data

Draw = tuple[Tensor, Tensor]


class _Given:
    """Stands in for PEFT's buffer: the draws of one of our layers in the current step."""

    def __init__(self, layer: MontecloraLayer) -> None:
        self.layer = layer

    def get(self) -> dict[str, Tensor]:
        layer, rank = self.layer, self.layer.lora_A.shape[1]
        count = layer.log_concentration.shape[1]
        noise = layer._normal("noise", count, rank, layer.in_features)[0]
        diagonal = layer._normal("variance", rank, rank)[0].square().sum(dim=1)
        return {
            "z_mvn": noise.transpose(1, 2),
            "z_wishart": torch.diag(diagonal),
            "z_dirichlet": layer._normal("mixture", count)[0],
        }


def _exact(forward: Callable[[], Draw]) -> Callable[[], Draw]:
    """Let PEFT factorise in the precision of everything else, and not in float32."""

    def sample() -> Draw:
        with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
            return forward()

    return sample


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_training_is_that_of_peft(family: str, even: bool, make_backbone: MakeBackbone) -> None:
    """From one state and with one set of draws, 12 AdamW steps agree to 1e-9."""
    folder, data = make_backbone(family), random_data(outputs=3)
    own = {"mixture": 5, "noise_scale": 0.05, "divergence_weight": 0.02, "concentration": 0.5}
    settings = {**own, "even_mixture": even, "rank": 6, "alpha": 7}
    method, state = ready(folder, "monteclora", {}, **settings)
    theirs = peft.tuners.lora.config.MontecloraConfig(
        num_samples=5,
        sample_scaler=0.05,
        kl_loss_weight=0.02,
        dirichlet_prior=0.5,  # held exactly by the float32 that PEFT makes of it
        use_entropy=even,
        buffer_size=1,
    )
    adapted = twin(folder, family, state, r=6, lora_alpha=7, monteclora_config=theirs).train()
    own_pairs: list[tuple[Tensor, Tensor]] = []
    for name, layer in method.adapters.items():
        sampler = adapted.get_submodule(f"base_model.model.{name}").lora_monteclora_sampler
        sampler["default"].sampler = _Given(layer)
        sampler["default"].forward = _exact(sampler["default"].forward)
        own_pairs.append((layer.log_deviation, sampler["default"].std_prior))
        own_pairs.append((layer.log_concentration, sampler["default"].expert_weights_prior))
    for ours, other in own_pairs:
        other.data = ours.detach()[0].clone()
    parameters = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    order = training_batches(data.train.lengths, 8, "toy", 4)
    for _ in range(12):
        batch = collate(data.train, next(order)[None], CPU)
        logits = adapted(**batch.inputs).logits
        loss = run_losses(logits, batch.targets, state.task, 1)
        optimizer.zero_grad()
        (loss + adapted.base_model._get_monteclora_loss()).sum().backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        state.model.train()
        report = method.step(state, {"train": batch})
        state.axis.step += 1
        torch.testing.assert_close(report.losses, loss.detach(), rtol=0, atol=1e-9)
    for ours, other in own_pairs:
        torch.testing.assert_close(ours[0], other, rtol=0, atol=1e-9)


def test_variances_are_those_of_a_wishart_draw(make_backbone: MakeBackbone) -> None:
    """Over steps, the diagonal passes a test against the framework's distribution."""
    method, state = ready(make_backbone("bert"), "monteclora", {}, rank=4)
    layer = next(iter(method.adapters.values()))
    scale = layer.log_deviation.detach().exp()[0].square()
    drawn = []
    for step in range(500):
        state.axis.step = step
        drawn.append((layer.variances().detach()[0] / scale).numpy())
    for row in zip(*drawn, strict=True):
        assert stats.kstest(row, stats.chi2(4).cdf).pvalue > 1e-3
