"""SAM on LoRA and bi-directional LoRA against their equations."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.losses import run_losses
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import Phase, TrainState
from gapbench.bench.data.batching import collate, training_batches
from gapbench.bench.models.quantized import output_rows
from gapbench.methods.bidirectional_lora import PerturbedLora
from tests.support.peft_twin import RATE, TARGETS, ready, twin
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    load_backbone,
    make_runs,
    random_data,
    train,
)


def _parameters(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("family", sorted(TARGETS))
def test_sam_lora_equals_sam_on_pefts_model_step_by_step(
    family: str, make_backbone: MakeBackbone
) -> None:
    """Foret's algorithm on PEFT's parameters with the framework's AdamW: 12 steps to 1e-9."""
    folder, data = make_backbone(family), random_data(outputs=3)
    method, state = ready(folder, "sam_lora", {}, rank=5, alpha=7, radius=0.2)
    adapted = twin(folder, family, state, r=5, lora_alpha=7).train()
    optimizer = torch.optim.AdamW(_parameters(adapted), lr=RATE, weight_decay=0.0)
    order = training_batches(data.train.lengths, 8, "toy", 4)
    for _ in range(12):
        batch = collate(data.train, next(order)[None], CPU)

        def gradients() -> tuple[Tensor, list[Tensor]]:
            logits = adapted(**batch.inputs).logits  # noqa: B023 - called at once
            loss = run_losses(logits, batch.targets, state.task, 1)  # noqa: B023
            return loss.detach(), list(torch.autograd.grad(loss.sum(), _parameters(adapted)))

        loss, slopes = gradients()
        length = torch.sqrt(sum(slope.square().sum() for slope in slopes))
        kept = [p.detach().clone() for p in _parameters(adapted)]
        with torch.no_grad():
            for p, slope in zip(_parameters(adapted), slopes, strict=True):
                p.add_(0.2 * slope / length)
        _, slopes = gradients()
        with torch.no_grad():
            for p, slope, before in zip(_parameters(adapted), slopes, kept, strict=True):
                p.copy_(before)
                p.grad = slope
        nn.utils.clip_grad_norm_(_parameters(adapted), 1.0)
        optimizer.step()
        state.model.train()
        report = method.step(state, {"train": batch})
        state.axis.step += 1
        torch.testing.assert_close(report.losses, loss, rtol=0, atol=1e-9)


def _perturbed(folder: Path, **config: object) -> tuple[AnyMethod, TrainState]:
    runs = make_runs("bidirectional_lora", (3, 5), configs=[config], outputs=3)
    method, state = set_up(runs, load_backbone(folder, runs), random_data(outputs=3), CPU)
    method.begin(state, Phase(), [run.cell.training for run in runs], 20)
    return method, state


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_bidirectional_layer_is_the_weight_with_both_updates(
    family: str, make_backbone: MakeBackbone
) -> None:
    """W0 + s B1 A1 + s B2 A2 in training, W0 + s B1 A1 in scoring and in what is written."""
    _, state = _perturbed(make_backbone(family), auxiliary_rank=3)
    layer = next(m for m in state.model.modules() if isinstance(m, PerturbedLora))
    generator = torch.Generator().manual_seed(0)
    for parameter in (layer.lora_B, layer.auxiliary_B):
        torch.nn.init.normal_(parameter, generator=generator)
    x = torch.randn(4, 5, layer.in_features, generator=generator, dtype=torch.float64)
    scaling = float(layer.scaling[0])
    bias = layer.base.bias
    for training in (True, False):
        out = layer.train(training)(x).detach().view(2, 2, 5, -1)
        for run in range(2):
            weight = output_rows(layer.base) + scaling * layer.lora_B[run] @ layer.lora_A[run]
            plain = layer.plain(run)["weight"]
            torch.testing.assert_close(plain if family == "bert" else plain.T, weight)
            if training:
                weight = weight + scaling * layer.auxiliary_B[run] @ layer.auxiliary_A[run]
            expected = nn.functional.linear(x.view(2, 2, 5, -1)[run], weight, bias).detach()
            torch.testing.assert_close(out[run], expected, rtol=0, atol=1e-12)
    product = scaling * layer.auxiliary_B @ layer.auxiliary_A
    expected = torch.linalg.matrix_norm(product) ** 2
    torch.testing.assert_close(layer.squared_norm(), expected, rtol=1e-12, atol=0)


def test_bidirectional_lora_ascends_inside_its_radius(make_backbone: MakeBackbone) -> None:
    """The second update raises the loss of the batch it came from; its norm never passes rho."""
    folder, data = make_backbone("bert"), random_data(outputs=3)
    method, state = _perturbed(folder, radius=0.3)
    order = training_batches(data.train.lengths, 8, "toy", 4)
    layers = [m for m in state.model.modules() if isinstance(m, PerturbedLora)]
    norms = []
    for _ in range(10):
        batch = collate(data.train, next(order)[None].repeat(2, axis=0), CPU)
        state.model.train()
        method.step(state, {"train": batch})
        state.axis.step += 1
        norms.append(torch.stack([m.squared_norm() for m in layers]).sum(dim=0).sqrt())
    assert (torch.stack(norms) <= 0.3 + 1e-12).all()
    torch.testing.assert_close(norms[-1], torch.full_like(norms[-1], 0.3))
    with torch.no_grad():
        perturbed = method.losses(state, batch)
        state.model.eval()
        assert (perturbed > method.losses(state, batch)).all()


def test_bidirectional_ascent_is_adamw_on_the_negative_gradient(
    make_backbone: MakeBackbone,
) -> None:
    """With a wide radius, second updates move as the framework's AdamW that maximises."""
    folder, data = make_backbone("bert"), random_data(outputs=3)
    config = {"radius": 1e9}
    trainings = [{"schedule": "constant", "warmup_fraction": 0.0, "max_grad_norm": None}]
    runs = make_runs("bidirectional_lora", (3,), configs=[config], trainings=trainings, outputs=3)
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    method.begin(state, Phase(), [runs[0].cell.training], 20)
    columns = state.optimizers["auxiliary"].columns
    shadow = nn.Parameter(state.bank.values[0, columns].clone())
    reference = torch.optim.AdamW([shadow], lr=0.01, weight_decay=0.0, maximize=True)
    order = training_batches(data.train.lengths, 8, "toy", 3)
    for _ in range(8):
        batch = collate(data.train, next(order)[None], CPU)
        state.model.train()
        method.losses(state, batch).sum().backward()
        shadow.grad = state.bank.grads[0, columns].clone()
        state.bank.grads.zero_()
        reference.step()
        method.step(state, {"train": batch})
        state.axis.step += 1
        torch.testing.assert_close(state.bank.values[0, columns], shadow.data, rtol=0, atol=1e-12)


def test_bidirectional_lora_of_radius_zero_is_lora(make_backbone: MakeBackbone) -> None:
    """Without a perturbation, curve and first updates are LoRA's bit for bit."""
    folder, data = make_backbone("bert"), random_data()
    ours, lora = (
        train(folder, make_runs(name, (2,), configs=[config]), data)
        for name, config in (("bidirectional_lora", {"radius": 0.0}), ("lora", {}))
    )
    assert ours.trainer.traces[0].curve == lora.trainer.traces[0].curve
    main = ours.state.bank.columns("main")
    assert torch.equal(ours.state.bank.values[:, main], lora.state.bank.values)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_flat_lora_is_a_pass_at_noisy_weights(family: str, make_backbone: MakeBackbone) -> None:
    """Outputs and gradients are those at the authors' noisy weight: ``logTrainer.py`` by hand."""
    configs = [{"radius": 0.4}, {"radius": 0.1}]
    runs = make_runs("flat_lora", (3, 5), configs=configs, outputs=3)
    data = random_data(outputs=3)
    method, state = set_up(runs, load_backbone(make_backbone(family), runs), data, CPU)
    method.begin(state, Phase(), [run.cell.training for run in runs], 20)
    state.axis.step = 7
    state.model.train()
    method.step(state, {"train": collate(data.train, np.arange(12).reshape(2, 6), CPU)})
    layer = next(iter(method.adapters.values()))
    x = torch.randn(4, 5, layer.in_features, generator=_seeded(), dtype=torch.float64)
    layer(x).square().sum().backward()
    unit = state.axis.normal(f"weight noise.{layer.site}", (layer.out_features, layer.in_features))
    for run, rho in enumerate((0.4, 0.1)):
        a = layer.lora_A[run].detach().requires_grad_()
        b = layer.lora_B[run].detach().requires_grad_()
        weight = output_rows(layer.base) + float(layer.scaling[run]) * b @ a
        factor = 0.5 * (1 - np.cos(7 / 20 * np.pi))
        size = factor * rho / np.sqrt(weight.shape[1]) * weight.norm(dim=1, keepdim=True).detach()
        own = x.view(2, 2, 5, -1)[run]
        out = nn.functional.linear(own, weight + size * unit[run], layer.base.bias)
        torch.testing.assert_close(layer(x).view(2, 2, 5, -1)[run], out, rtol=0, atol=1e-12)
        out.square().sum().backward()
        torch.testing.assert_close(layer.lora_A.grad[run], a.grad, rtol=0, atol=1e-10)
        torch.testing.assert_close(layer.lora_B.grad[run], b.grad, rtol=0, atol=1e-10)
    plain = layer.eval()(x).view(2, 2, 5, -1)[1]
    expected = nn.functional.linear(own, weight, layer.base.bias)
    torch.testing.assert_close(plain, expected, rtol=0, atol=1e-12)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_what_sharpness_costs(make_backbone: MakeBackbone) -> None:
    """SAM counts two passes of each kind, bi-directional LoRA one and both updates' numbers."""
    folder, data = make_backbone("bert"), random_data()
    found = {}
    for name in ("lora", "sam_lora", "bidirectional_lora"):
        trained = train(folder, make_runs(name, (0,), steps=3), data, scored=False)
        trace = trained.trainer.traces[0]
        passes = (trace.forward_passes, trace.backward_passes)
        found[name] = (passes, trained.state.bank.trained_count(0))
    assert [passes for passes, _ in found.values()] == [(3, 3), (6, 6), (3, 3)]
    head = 24 * 2 + 2
    assert found["bidirectional_lora"][1] - head == 2 * (found["lora"][1] - head)
