"""BiDoRA: DoRA's layer on two levels, its penalty, and the limits it shares with DoRA."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.hypergradient import Estimator
from gapbench.methods.bidora import StackedBidora
from tests.support.small_stack import CPU, MakeBackbone, make_runs, random_data, train
from tests.support.solo_runs import assert_same_alone
from tests.support.two_levels import assert_levels_apart, draw, level, ready, watched

ESTIMATORS: list[Estimator] = ["first_order", "t1t2", "darts", "unrolled"]


def _layer(rank: int = 3, alpha: float = 7.0) -> StackedBidora:
    """Return a layer of 7 inputs and 5 outputs with random numbers in all its parts."""
    axis = RunAxis([0], CPU, torch.float64)
    torch.manual_seed(0)
    base = nn.Linear(7, 5).double()
    layer = StackedBidora(
        axis,
        base,
        "site",
        torch.ones(1),
        ranks=[rank],
        scalings=[alpha / rank],
        dropouts=[0.0],
        members=1,
    )
    layer.lora_B.data.normal_()
    layer.lora_magnitude.data.mul_(1.5)
    return layer


def _directions(layer: StackedBidora, alpha: float = 7.0, rank: int = 3) -> Tensor:
    return F.normalize(layer.weight + alpha / rank * layer.lora_B[0] @ layer.lora_A[0], dim=1)


def test_output_is_magnitude_times_direction_of_a_non_square_layer() -> None:
    """The weight is never transposed, the scaling is used and the bias is kept."""
    layer = _layer()
    x = torch.randn(2, 4, 7, dtype=torch.float64)
    weight = layer.lora_magnitude[0].unsqueeze(1) * _directions(layer)
    expected = x @ weight.T + layer.base.get_parameter("bias")
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_penalty_is_the_distance_of_unit_directions_from_orthogonality() -> None:
    """It is the norm of the off-diagonal cosines, and 0 for orthogonal rows of any length."""
    layer = _layer()
    cosines = _directions(layer) @ _directions(layer).T
    expected = (cosines - torch.diag(cosines.diag())).norm()
    torch.testing.assert_close(layer.skewness()[0], expected, rtol=0, atol=1e-12)
    layer.base.weight.data = torch.diag(torch.arange(1.0, 8.0)).double()[:5]
    layer.lora_B.data.zero_()
    assert layer.skewness().item() < 1e-12


def test_magnitudes_are_the_upper_level(make_backbone: MakeBackbone) -> None:
    """The upper group holds them alone: one number an output of each adapted layer."""
    _, state = ready(make_backbone("bert"), "bidora", random_data(3))
    magnitudes = [p for n, p in state.model.named_parameters() if n.endswith("lora_magnitude")]
    assert {id(p) for p in state.bank.parameters("upper")} == {id(p) for p in magnitudes}
    assert level(state, "upper").shape == (1, 4 * 24)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_levels_do_not_touch_each_other(estimator: Estimator, make_backbone: MakeBackbone) -> None:
    """A lower step changes no magnitude; an upper step leaves A, B and head bit-identical."""
    settings = {"estimator": estimator, "dropout": 0.2}
    assert_levels_apart(make_backbone("bert"), "bidora", "upper", **settings)


def test_lower_steps_alone_are_dora_with_fixed_magnitudes(make_backbone: MakeBackbone) -> None:
    """Without an upper step its losses are those of DoRA until DoRA's magnitudes have moved."""
    folder, data = make_backbone("bert"), random_data(3)
    reports = []
    for name in ("bidora", "dora"):
        method, state = ready(folder, name, data)
        batch = draw(data, 1, 0)
        steps = []
        for _ in range(3):
            steps.append(method.step(state, {"train": batch()}).losses)
            if name == "dora":
                for layer in method.adapters.values():
                    layer.lora_magnitude.data[:] = layer._row_squares.sqrt()
        reports.append(torch.cat(steps))
    # Clipping sees DoRA's magnitudes too, and AdamW hardly sees the clipping.
    torch.testing.assert_close(reports[0], reports[1], rtol=1e-4, atol=0)


def test_levels_see_their_own_part_of_the_data(make_backbone: MakeBackbone) -> None:
    """Lower steps and probes run on one part, upper losses on the other."""
    seen = watched(make_backbone("bert"), "bidora", random_data(3)).seen
    lower = set().union(*(step.drawn["train"] for step in seen))
    upper = set().union(*(step.drawn["upper"] for step in seen))
    assert not lower & upper
    assert lower | upper == set(range(48))
    assert all(step.passes == ["train", "upper", "train", "train"] for step in seen)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_stacked_runs_equal_solo_runs(estimator: Estimator, make_backbone: MakeBackbone) -> None:
    """No norm, probe or rate of one run reaches another."""
    folder, data = make_backbone("bert"), random_data(3)
    own: list[dict[str, Any]] = [
        {"rank": 2, "alpha": 3, "dropout": 0.3, "magnitude_lr_ratio": 0.3},
        {"rank": 5, "orthogonality": 0.1},
        {"rank": 1, "magnitude_lr_ratio": 3.0},
    ]
    runs = make_runs(
        "bidora",
        range(3),
        configs=[{"estimator": estimator} | settings for settings in own],
        trainings=[{"learning_rate": 0.01}, {"learning_rate": 0.003}, {"max_grad_norm": 0.1}],
        outputs=3,
        steps=6,
    )
    stacked = train(folder, runs, data, scored=False)
    assert_same_alone(folder, runs, stacked, data, scored=False)
