"""The promise of the stacked engine: a run in a stack gives the numbers of the run alone."""

import numpy as np
import pytest
import torch

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.models.run_axis import (
    RunAxis,
    StackedDropout,
    StackedLayerNorm,
    StackedLinear,
)
from gapbench.bench.training.trainer import Trainer
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    load_backbone,
    make_runs,
    random_data,
    train,
)

VARIED = [
    {"rank": 2, "alpha": 3, "dropout": 0.0},
    {"rank": 5, "alpha": 16, "dropout": 0.3},
    {"rank": 1, "alpha": 1, "dropout": 0.5},
    {"rank": 8, "alpha": 4, "dropout": 0.1},
]
TRAININGS = [
    {"learning_rate": 0.01},
    {"learning_rate": 0.003, "weight_decay": 0.1},
    {"learning_rate": 0.02, "max_grad_norm": 0.05, "schedule": "cosine"},
    {"learning_rate": 0.005, "warmup_fraction": 0.5, "schedule": "constant", "max_grad_norm": None},
]


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_eight_stacked_runs_equal_solo_runs_in_float64(
    family: str, make_backbone: MakeBackbone
) -> None:
    """Eight runs of different seeds and settings train to the same numbers together and alone."""
    folder, data = make_backbone(family), random_data(outputs=3)
    runs = make_runs(
        "lora",
        range(8),
        configs=VARIED,
        trainings=TRAININGS,
        outputs=3,
        steps=8,
        backbone_dropout=0.1,
    )
    stacked = train(folder, runs, data)
    logits = stacked.logits(data)
    for position, run in enumerate(runs):
        solo = train(folder, [run], data)
        together, alone = stacked.trainer.traces[position], solo.trainer.traces[0]
        losses = [[p.train_loss, p.test_loss] for t in (together, alone) for p in t.curve]
        np.testing.assert_allclose(losses[: len(together.curve)], losses[len(together.curve) :])
        assert together.tokens == alone.tokens
        np.testing.assert_equal(together.work, alone.work)
        np.testing.assert_allclose(logits[position], solo.logits(data)[0], rtol=0, atol=1e-9)


def test_run_that_diverges_leaves_the_others_undisturbed(make_backbone: MakeBackbone) -> None:
    """A NaN in one run ends that run alone; its neighbours train to their solo numbers."""
    folder, data = make_backbone("bert"), random_data()
    runs = make_runs("lora", (0, 1, 2))
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    state.bank.values[1] = float("nan")
    trainer = Trainer(runs, method, state, data, lambda _: None)
    trainer.train()
    assert [trace.diverged is not None for trace in trainer.traces] == [False, True, False]
    assert trainer.traces[1].diverged is not None
    assert "learning_rate" in trainer.traces[1].diverged
    assert state.axis.active == (0, 2)
    for position, index in enumerate((0, 2)):
        (solo,) = train(folder, [runs[index]], data, scored=False).parameters()
        torch.testing.assert_close(state.bank.values[position], solo, rtol=0, atol=1e-9)


def test_patience_stops_one_run_and_not_its_neighbour(make_backbone: MakeBackbone) -> None:
    """Early stopping is a run's own: the patient neighbour makes all its steps."""
    folder, data = make_backbone("bert"), random_data()
    trainings = [{"learning_rate": 1e-12, "patience": 1}, {}]
    trained = train(folder, make_runs("lora", (0, 1), trainings=trainings, evaluations=10), data)
    # At a vanishing rate no evaluation beats the first, so the second is the last.
    assert [trace.steps for trace in trained.trainer.traces] == [4, 20]


def test_checkpoint_is_the_best_on_validation(make_backbone: MakeBackbone) -> None:
    """The kept step is the first whose validation score is the highest of the curve."""
    trained = train(make_backbone("bert"), make_runs("lora", (3,), evaluations=10), random_data())
    (trace,) = trained.trainer.traces
    scores = [point.validation_score for point in trace.curve[1:]]
    assert trace.best_score == max(scores)
    assert trace.best_step == trace.curve[1 + scores.index(max(scores))].step


def test_stacked_linear_applies_each_runs_layer_to_its_own_rows() -> None:
    """Run-major rows meet the weights of their own run, in non-square layers."""
    axis = RunAxis([0, 1, 2], CPU, torch.float64)
    weight, bias = torch.randn(3, 5, 7).double(), torch.randn(3, 5).double()
    x = torch.randn(6, 4, 7).double()
    out = StackedLinear(axis, weight, bias)(x)
    for run in range(3):
        expected = torch.nn.functional.linear(x[2 * run : 2 * run + 2], weight[run], bias[run])
        torch.testing.assert_close(out[2 * run : 2 * run + 2], expected)


def test_dropout_masks_do_not_depend_on_neighbours_or_padding() -> None:
    """A run's masks are the same alone, in a stack, and when its batch is padded further."""
    rate = 0.4
    x = torch.ones(2, 5, 7)
    alone = StackedDropout(RunAxis([11], CPU, torch.float32), rate, "site")(x)
    together = StackedDropout(RunAxis([3, 11, 5], CPU, torch.float32), rate, "site")(
        torch.ones(6, 9, 7)
    )
    torch.testing.assert_close(together[2:4, :5], alone)
    assert 0 < (alone == 0).float().mean() < 1


def test_dropout_changes_with_step_site_and_seed_and_is_off_in_evaluation() -> None:
    """Steps, sites and seeds have masks of their own; evaluation has none."""
    axis = RunAxis([1], CPU, torch.float32)
    layer, other = StackedDropout(axis, 0.5, "a"), StackedDropout(axis, 0.5, "b")
    x = torch.ones(4, 6, 8)
    first, elsewhere = layer(x), other(x)
    axis.step = 1
    assert not torch.equal(first, layer(x))
    assert not torch.equal(first, elsewhere)
    assert not torch.equal(first, StackedDropout(RunAxis([2], CPU, torch.float32), 0.5, "a")(x))
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize("members", [1, 3])
def test_stacked_normalisation_equals_one_layer_for_each_model(members: int) -> None:
    """Every run, and every member of it, scales and shifts its own rows."""
    generator = torch.Generator().manual_seed(0)
    axis = RunAxis([0, 1], torch.device("cpu"), torch.float64)
    lead = (2,) if members == 1 else (2, members)
    weight, bias = (
        torch.randn(*lead, 5, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    x = torch.randn(2 * members * 4, 3, 5, generator=generator, dtype=torch.float64)
    out = StackedLayerNorm(axis, weight, bias, 1e-5)(x)
    models = zip(weight.reshape(-1, 5), bias.reshape(-1, 5), x.chunk(2 * members), strict=True)
    expected = [torch.nn.functional.layer_norm(rows, (5,), w, b, 1e-5) for w, b, rows in models]
    torch.testing.assert_close(out, torch.cat(expected))
