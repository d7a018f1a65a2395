"""BiLoRA: its data split, and both levels of its training against plain autograd."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.optim import StackedAdamW
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.data.batching import Batch
from gapbench.methods._shared.hypergradient import Estimator, passes
from gapbench.methods._shared.pseudo_svd import Form, StackedPseudoSvd
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    load_backbone,
    make_runs,
    random_data,
    train,
)
from tests.support.solo_runs import assert_same_alone
from tests.support.two_levels import (
    CONSTANT,
    assert_levels_apart,
    draw,
    level,
    ready,
    upper_gradient,
    watched,
)

ESTIMATORS: list[Estimator] = ["first_order", "t1t2", "darts", "unrolled"]
NARROW: dict[str, Any] = {"rank": 3, "alpha": 7, "targets": ["query", "output.dense"]}


@pytest.mark.parametrize("form", ["softmax", "real", "binary"])
def test_first_values_follow_the_form(form: str, make_backbone: MakeBackbone) -> None:
    """Only real values, being zero, let P start at random; either way the update is zero."""
    _, state = ready(make_backbone("bert"), "bilora", random_data(3), values=form)
    for module in state.model.modules():
        if isinstance(module, StackedPseudoSvd):
            assert 0.01 < module.lora_A.std() < 0.03
            assert bool((module.lora_B == 0).all()) == (form != "real")
            assert (module.lora_E == 0).all()


@pytest.mark.parametrize("form", ["softmax", "real", "binary"])
def test_notes_hold_the_values_of_every_layer_largest_first(
    form: str, make_backbone: MakeBackbone
) -> None:
    """A run's own values alone are noted, in falling order, rounded, without those of padding."""
    configs: list[dict[str, Any]] = [{"rank": rank, "values": form} for rank in (3, 2)]
    runs = make_runs("bilora", (0, 1), configs=configs, outputs=3)
    backbone = load_backbone(make_backbone("bert"), runs)
    method, state = set_up(runs, backbone, random_data(3), CPU)
    for layer in method.layers:
        layer.lora_E.data.copy_(torch.tensor([[0.1, 0.7, -0.4], [0.2, 0.9, 0.0]]))
    for position, rank in enumerate((3, 2)):
        raw = np.array([[0.1, 0.7, -0.4], [0.2, 0.9, 0.0]])[position, :rank]
        forms = {"softmax": np.exp(raw) / np.exp(raw).sum(), "real": raw, "binary": expit(raw)}
        expected = np.sort(forms[form])[::-1]
        notes = json.loads(json.dumps(method.diagnostic_values(state, position)))
        assert list(notes["pseudo_singular_values"]) == list(method.adapters)
        for values in notes["pseudo_singular_values"].values():
            np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5)
        assert notes["largest_value"] == pytest.approx(expected[0])
        assert notes["smallest_value"] == pytest.approx(expected[-1])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_levels_see_their_own_part_of_the_data(
    estimator: Estimator, make_backbone: MakeBackbone
) -> None:
    """Lower steps and probes run on D1, upper losses on D2; the parts are disjoint, 8 to 2."""
    seen = watched(make_backbone("bert"), "bilora", random_data(3), estimator=estimator).seen
    lower = set().union(*(step.drawn["train"] for step in seen))
    upper = set().union(*(step.drawn["upper"] for step in seen))
    assert not lower & upper
    assert lower | upper == set(range(48))
    assert len(lower) == round(0.8 * 48)
    probes = {"first_order": [], "unrolled": ["train"]}.get(estimator, ["train", "train"])
    order = ["train", *probes, "upper"] if estimator == "unrolled" else ["train", "upper", *probes]
    assert all(step.passes == order for step in seen)


def test_split_is_a_runs_own(make_backbone: MakeBackbone) -> None:
    """The same seed gives the same parts, another seed others; without a split both see all."""
    folder, data = make_backbone("bert"), random_data(3)

    def parts(seed: int, **config: Any) -> tuple[set[int], set[int]]:
        seen = watched(folder, "bilora", data, seed=seed, estimator="first_order", **config).seen
        names = ("train", "upper")
        return tuple(set().union(*(step.drawn[name] for step in seen)) for name in names)

    assert parts(1) == parts(1)
    assert parts(1) != parts(2)
    assert parts(1, split=False) == (set(range(48)), set(range(48)))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_levels_do_not_touch_each_other(estimator: Estimator, make_backbone: MakeBackbone) -> None:
    """A lower step changes no value; an upper step leaves P, Q, head and their optimiser alone."""
    settings = {"estimator": estimator, "values": "real", "dropout": 0.2}
    assert_levels_apart(make_backbone("bert"), "bilora", "upper", **settings)


def _rows(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([tensor.flatten(1) for tensor in tensors], dim=1)


def _reference(
    method: AnyMethod, state: TrainState, batches: dict[str, Batch]
) -> tuple[Tensor, Tensor]:
    """Return direct term and mixed derivative times q, by autograd on the parameters themselves."""
    v, e = state.bank.parameters("main"), state.bank.parameters("upper")
    with sdpa_kernel(SDPBackend.MATH):
        upper = method.losses(state, batches["upper"]).sum()
        direct = torch.autograd.grad(upper, e, retain_graph=True)
        q = torch.autograd.grad(upper, v)
        lower = (method.losses(state, batches["train"]) + method.penalty(state)).sum()
        gradient = torch.autograd.grad(lower, v, create_graph=True)
        product = sum((g * w).sum() for g, w in zip(gradient, q, strict=True))
        return _rows(direct), _rows(torch.autograd.grad(product, e))


@pytest.mark.parametrize("form", ["softmax", "real"])
def test_t1t2_of_a_model_equals_double_backward(form: str, make_backbone: MakeBackbone) -> None:
    """Direct term minus mixed derivative times q, at the updated V, to the error of the probes."""
    data = random_data(3)
    method, state = ready(make_backbone("bert"), "bilora", data, values=form, **NARROW)
    batch, upper = draw(data, 1, 0), draw(data, 1, 1)
    for _ in range(3):
        method.step(state, {"train": batch(), "upper": upper()})
    batches = {"train": batch(), "upper": upper()}
    found = upper_gradient(method, state, batches)  # the lower step has been made now
    direct, mixed = _reference(method, state, batches)
    assert mixed.norm() > 1e-3 * direct.norm()
    assert ((direct - found) - mixed).norm() < 1e-3 * mixed.norm()


def test_unrolled_of_a_model_equals_differences_of_trajectories(
    make_backbone: MakeBackbone,
) -> None:
    """Two exact steps ahead agree with re-running them from changed values."""
    data = random_data(3)
    settings: dict[str, Any] = {"estimator": "unrolled", "unroll_steps": 2, "values": "real"}
    method, state = ready(make_backbone("bert"), "bilora", data, **settings, **NARROW)
    batch, upper = draw(data, 1, 0), draw(data, 1, 1)
    for _ in range(3):
        method.step(state, {"train": batch(), "upper": upper()})
    batches = {"train": batch(), "upper": upper()}
    found = upper_gradient(method, state, batches)
    start, main = state.bank.values.clone(), state.bank.columns("main")

    def outcome(change: Tensor) -> float:
        state.bank.load(start)
        state.bank.values[:, state.bank.columns("upper")] += change
        for _ in range(2):
            (method.losses(state, batches["train"]) + method.penalty(state)).sum().backward()
            state.bank.values[:, main] -= 0.01 * state.bank.grads[:, main]
            state.bank.grads.zero_()
        return method.losses(state, batches["upper"]).sum().item()

    torch.manual_seed(1)
    for _ in range(3):
        way = torch.randn_like(found)
        difference = (outcome(1e-5 * way) - outcome(-1e-5 * way)) / 2e-5
        assert (found * way).sum().item() == pytest.approx(difference, abs=1e-6, rel=1e-6)


@pytest.mark.parametrize(
    "settings", [{"values": "softmax"}, {"values": "real", "split": False}, {"values": "binary"}]
)
def test_first_order_is_plain_alternating_training(
    settings: dict[str, Any], make_backbone: MakeBackbone
) -> None:
    """It equals two optimisers in turn; unsplit with real values that is AdaLoRA unpruned."""
    folder, data = make_backbone("bert"), random_data(3)
    method, state = ready(folder, "bilora", data, estimator="first_order", **settings)
    twin, plain = ready(folder, "bilora", data, estimator="first_order", **settings)
    training = make_runs("bilora", trainings=[CONSTANT])[0].cell.training
    optimizers = {
        group: StackedAdamW(plain.bank, [training], 20, twin.axis, group)
        for group in ("main", "upper")
    }
    batch, upper = draw(data, 1, 0), draw(data, 1, 1)
    of_upper = "upper" if settings.get("split", True) else "train"
    for _ in range(5):
        batches = {"train": batch(), "upper": upper()}
        method.step(state, batches)
        for group, part, extra in (
            ("main", "train", lambda: twin.penalty(plain)),
            ("upper", of_upper, twin.value_penalty),
        ):
            (twin.losses(plain, batches[part]) + extra()).sum().backward()
            columns = plain.bank.columns(group)
            others = plain.bank.grads.clone()
            plain.bank.grads.zero_()
            plain.bank.grads[:, columns] = others[:, columns]
            optimizers[group].step()
        torch.testing.assert_close(state.bank.values, plain.bank.values, rtol=0, atol=1e-12)


VARIED: list[dict[str, Any]] = [
    {"rank": 2, "alpha": 3, "dropout": 0.3, "value_lr_ratio": 0.3},
    {"rank": 5, "orthogonality": 0.0},
    {"rank": 1, "alpha": 1, "times_rank": True, "binary_penalty": 0.01, "value_lr_ratio": 3.0},
]


@pytest.mark.parametrize(
    ("estimator", "form"),
    [*((name, "softmax") for name in ESTIMATORS), ("t1t2", "real"), ("t1t2", "binary")],
)
def test_stacked_runs_equal_solo_runs(
    estimator: Estimator, form: Form, make_backbone: MakeBackbone
) -> None:
    """No norm, probe or rate of one run reaches another, whatever the estimator and the form."""
    folder, data = make_backbone("bert"), random_data(3)
    shared = {"estimator": estimator, "values": form, "upper_every": 2, "unroll_steps": 2}
    runs = make_runs(
        "bilora",
        range(3),
        configs=[shared | own for own in VARIED],
        trainings=[{"learning_rate": 0.01}, {"learning_rate": 0.003}, {"max_grad_norm": 0.1}],
        outputs=3,
        steps=6,
    )
    stacked = train(folder, runs, data, scored=False)
    assert_same_alone(folder, runs, stacked, data, scored=False)


@pytest.mark.parametrize("name", ["bilora", "bidora"])
def test_second_fit_starts_afresh_under_frozen_upper_numbers(
    name: str, make_backbone: MakeBackbone
) -> None:
    """It begins at the first lower numbers, on all data, and changes no upper one."""
    folder, data = make_backbone("bert"), random_data(3)
    trainer = watched(folder, name, data, retrain=True, steps=40)
    assert [len(step.drawn) for step in trainer.seen] == [2] * 20 + [1] * 20
    seen = set().union(*(step.drawn["train"] for step in trainer.seen if step.phase == "retrain"))
    assert seen == set(range(48))
    assert trainer.traces[0].best_step > 20
    method, state = ready(folder, name, data, retrain=True)
    first = level(state, "main")
    batch = draw(data, 1, 0)
    for _ in range(3):
        method.step(state, {"train": batch(), "upper": batch()})
    upper = level(state, "upper")
    training = make_runs(name)[0].cell.training
    method.begin(state, method.phases(method.configs[0])[1], [training], 5)
    assert torch.equal(level(state, "main"), first)
    assert method.step(state, {"train": batch()}).forward_passes == 1
    assert torch.equal(level(state, "upper"), upper)
    assert (state.bank.grads == 0).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("every", [1, 4])
def test_passes_are_what_relative_cost_says(
    estimator: Estimator, every: int, make_backbone: MakeBackbone
) -> None:
    """A lower step is one of each; upper steps add theirs as often as they are made."""
    settings: dict[str, Any] = {"estimator": estimator, "upper_every": every, "unroll_steps": 2}
    trainer = watched(make_backbone("bert"), "bilora", random_data(3), **settings)
    expected = 12 + 12 // every * passes(estimator, 2)
    (trace,) = trainer.traces
    assert (trace.forward_passes, trace.backward_passes) == (expected, expected)
    bilora = registry.get("bilora")
    assert bilora.relative_cost(bilora.Config(**settings)) == pytest.approx(expected / 12)


def test_levels_that_share_the_data_share_the_batch(make_backbone: MakeBackbone) -> None:
    """However often an upper step is made, it is made on the batch of its lower step."""
    folder, data = make_backbone("bert"), random_data(3)
    method, state = ready(folder, "bilora", data, split=False, upper_every=2)
    batches, seen = [draw(data, 1, place)() for place in range(2)], []
    upper_step = method._upper_step
    method._upper_step = lambda *given: (seen.append(given[2]), upper_step(*given))
    method.step(state, dict(zip(("train", "upper"), batches, strict=True)))
    assert seen == [batches[0]]


def test_joint_control_trains_all_parts_on_all_data(make_backbone: MakeBackbone) -> None:
    """One batch a step, one optimiser, no hypergradient: values and vectors move together."""
    folder, data = make_backbone("bert"), random_data(3)
    trainer = watched(folder, "bilora_joint", data)
    assert set().union(*(step.drawn["train"] for step in trainer.seen)) == set(range(48))
    assert all(step.passes == ["train"] for step in trainer.seen)
    method, state = ready(folder, "bilora_joint", data, values="binary")
    assert state.bank.columns("upper") == slice(0, 0)
    batch = draw(data, 1, 0)
    method.step(state, {"train": batch()})
    method.step(state, {"train": batch()})
    layers = [m for m in state.model.modules() if isinstance(m, StackedPseudoSvd)]
    assert all((layer.lora_E != 0).any() and (layer.lora_B != 0).any() for layer in layers)


def test_joint_control_has_both_penalties(make_backbone: MakeBackbone) -> None:
    """Its objective is the task loss, R1 of the vectors and R2 of the values."""
    settings = {"values": "binary", "binary_penalty": 0.5, "orthogonality": 0.0, "rank": 3}
    method, state = ready(make_backbone("bert"), "bilora_joint", random_data(3), **settings)
    assert method.penalty(state).item() == pytest.approx(0.5 * 4 * 3 * math.log(2))
