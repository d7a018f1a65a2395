"""LoRA Dropout in a whole model: averaged objective, ensemble, limits, stacks and cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.train_state import Phase, TrainState
from gapbench.bench.core.errors import MergeError
from gapbench.bench.data.batching import Batch, collate
from gapbench.bench.models.run_axis import StackedLinear
from gapbench.methods.lora_dropout import LoraDropout
from tests.support.counting import counting
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    load_backbone,
    make_runs,
    random_data,
    train,
)

TARGETS = ["intermediate.dense", "output.dense"]  # 24 to 40, 24 to 24 and 40 to 24, in two layers
SETTINGS: dict[str, Any] = {"rank": 3, "alpha": 7, "targets": TARGETS}
CHANGED = {"rate": 0.3, "instances": 3, "test_instances": 5}


@dataclass
class OneRun:
    """A run with a random B, and a plain copy of its backbone to recompute it with."""

    method: LoraDropout
    state: TrainState
    plain: torch.nn.Module
    batch: Batch

    @classmethod
    def of(cls, folder: Path, outputs: int = 3, **settings: Any) -> "OneRun":
        runs = make_runs("lora_dropout", (4,), configs=[SETTINGS | settings], outputs=outputs)
        backbone, data = load_backbone(folder, runs), random_data(outputs=outputs)
        method, state = set_up(runs, backbone, data, CPU)
        assert isinstance(method, LoraDropout)
        method.begin(state, Phase(), [runs[0].cell.training], 20)
        torch.manual_seed(0)
        for layer in method.adapters.values():
            layer.lora_B.data.normal_()
        batch = collate(data.train, np.arange(6)[None], CPU)
        return cls(method, state, backbone.model(), batch)

    def updates(self, copies: int, step: int | None) -> dict[str, Tensor]:
        """Return the masked update of every layer, (copies, out, in), written out."""
        found = {}
        for name, layer in self.method.adapters.items():
            with self.method.masking.running(copies, step):
                columns = self.method.masking.draw(f"lora.{name}.input", layer.in_features)[0]
                rows = self.method.masking.draw(f"lora.{name}.output", layer.out_features)[0]
            whole = 7 / 3 * layer.lora_B[0] @ layer.lora_A[0]
            found[name] = rows.unsqueeze(2) * columns.unsqueeze(1) * whole
        return found

    def logits(self, updates: dict[str, Tensor]) -> Tensor:
        """Return the plain backbone's logits with the updates, (out, in), added to its weights."""
        weights = {
            f"{name}.weight": self.plain.get_parameter(f"{name}.weight") + update
            for name, update in updates.items()
        }
        (head,) = (m for m in self.state.model.modules() if isinstance(m, StackedLinear))
        weights["classifier.weight"] = head.weight[0]
        weights["classifier.bias"] = head.bias[0]
        out: Tensor = functional_call(self.plain, weights, kwargs=self.batch.inputs).logits
        return out

    def members(self, copies: int, step: int | None) -> Tensor:
        """Return the logits of every masked copy, one after the other; (copies, batch, outputs)."""
        drawn = self.updates(copies, step)
        return torch.stack(
            [self.logits({name: u[copy] for name, u in drawn.items()}) for copy in range(copies)]
        )

    def predicted(self) -> Tensor:
        self.state.model.eval()
        return self.method.predict(self.state, self.batch)


@pytest.mark.parametrize("settings", [{}, CHANGED])
def test_objective_and_gradient_are_means_over_separate_passes(
    settings: dict[str, Any], make_backbone: MakeBackbone
) -> None:
    """The wide batch gives what accumulating a plain pass for every masked copy gives."""
    run = OneRun.of(make_backbone("bert"), **settings)
    trained = run.state.bank.parameters("main")
    copies = settings.get("instances", 4)
    members = run.members(copies, step=None)
    apart = torch.stack([F.cross_entropy(logits, run.batch.targets) for logits in members])
    gradients = [torch.autograd.grad(loss, trained, retain_graph=True) for loss in apart]
    together = run.method.losses(run.state, run.batch)
    torch.testing.assert_close(together, apart.mean().unsqueeze(0), rtol=0, atol=1e-12)
    wide = torch.autograd.grad(together.sum(), trained)
    for found, each in zip(wide, zip(*gradients, strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(each).mean(0), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "copies"), [({}, 4), (CHANGED, 5), ({"test_instances": 1}, 1)]
)
def test_prediction_is_the_mean_of_the_members_logits(
    settings: dict[str, Any], copies: int, make_backbone: MakeBackbone
) -> None:
    """The ensemble averages outputs of models with fixed masks, by default as many as trained."""
    run = OneRun.of(make_backbone("bert"), **settings)
    expected = run.members(copies, step=-1).mean(0)
    torch.testing.assert_close(run.predicted(), expected, rtol=0, atol=1e-12)


def test_prediction_may_average_probabilities(make_backbone: MakeBackbone) -> None:
    """The logits returned are then the logarithm of the members' mean probabilities."""
    run = OneRun.of(make_backbone("bert"), average="probabilities")
    expected = run.members(4, step=-1).softmax(2).mean(0).log()
    torch.testing.assert_close(run.predicted(), expected, rtol=0, atol=1e-12)


def test_regression_averages_outputs_whatever_is_asked(make_backbone: MakeBackbone) -> None:
    """A real target has no probabilities."""
    run = OneRun.of(make_backbone("bert"), outputs=1, average="probabilities")
    expected = run.members(4, step=-1).mean(0)
    torch.testing.assert_close(run.predicted(), expected, rtol=0, atol=1e-12)


def test_ensemble_is_no_worse_than_its_average_member(make_backbone: MakeBackbone) -> None:
    """Jensen, example by example: for mean logits, mean probabilities and squared error."""
    run = OneRun.of(make_backbone("bert"))
    members = run.members(4, step=-1)
    targets = run.batch.targets
    losses = torch.stack([F.cross_entropy(m, targets, reduction="none") for m in members])
    of_logits = F.cross_entropy(run.predicted(), targets, reduction="none")
    of_probabilities = F.nll_loss(members.softmax(2).mean(0).log(), targets, reduction="none")
    squared = (members - 1).square()
    assert (of_logits <= losses.mean(0)).all()
    assert (of_probabilities <= losses.mean(0)).all()
    assert ((run.predicted() - 1).square() <= squared.mean(0)).all()


def test_averaging_outputs_is_not_averaging_parameters(make_backbone: MakeBackbone) -> None:
    """Behind a non-linearity, the model with the mean update is another one."""
    run = OneRun.of(make_backbone("bert"))
    mean = {name: update.mean(0) for name, update in run.updates(4, step=-1).items()}
    assert (run.predicted() - run.logits(mean)).abs().max() > 1e-3


def test_expected_and_raw_inference_are_one_plain_pass(make_backbone: MakeBackbone) -> None:
    """They score the model whose update is a quarter of the unmasked one, or all of it."""
    for inference, factor in (("expected", 0.25), ("raw", 1.0)):
        run = OneRun.of(make_backbone("bert"), inference=inference)
        whole = {
            name: factor * 7 / 3 * layer.lora_B[0] @ layer.lora_A[0]
            for name, layer in run.method.adapters.items()
        }
        torch.testing.assert_close(run.predicted(), run.logits(whole), rtol=0, atol=1e-12)


def test_run_scored_in_one_pass_folds_into_plain_weights(make_backbone: MakeBackbone) -> None:
    """The plain model with the merged weights predicts what the method does; an ensemble cannot."""
    for inference in ("expected", "raw"):
        run = OneRun.of(make_backbone("bert"), inference=inference)
        merged = functional_call(
            run.plain, run.method.merge(run.state, 0), kwargs=run.batch.inputs
        ).logits
        torch.testing.assert_close(merged, run.predicted(), rtol=0, atol=1e-12)
    run = OneRun.of(make_backbone("bert"))
    with pytest.raises(MergeError, match="inference: expected"):
        run.method.merge(run.state, 0)


def test_masks_change_with_every_step_but_never_in_evaluation(make_backbone: MakeBackbone) -> None:
    """A step draws anew; the members that score a run are the same at all evaluations."""
    run = OneRun.of(make_backbone("bert"))
    losses, predictions = [], []
    for step in (0, 1):
        run.state.axis.step = step
        losses.append(run.method.losses(run.state, run.batch))
        predictions.append(run.predicted())
    assert torch.equal(predictions[0], predictions[1])
    assert not torch.allclose(losses[0], losses[1])


def test_only_the_update_and_the_head_train(make_backbone: MakeBackbone) -> None:
    """Frozen parameters get no gradient, and the optimiser knows A, B and the head alone."""
    run = OneRun.of(make_backbone("bert"))
    run.method.step(run.state, {"train": run.batch})
    trained = {n for n, p in run.state.model.named_parameters() if p.requires_grad}
    assert {name.rpartition(".")[2] for name in trained} == {"lora_A", "lora_B", "weight", "bias"}
    assert len(trained) == 2 * 6 + 2
    assert all(p.grad is None for p in run.state.model.parameters() if not p.requires_grad)
    updates = 2 * 3 * ((24 + 40) * 2 + 24 + 24)
    assert run.state.bank.values.shape[1] == updates + 24 * 3 + 3


def test_rate_zero_with_one_copy_is_lora_bit_for_bit(make_backbone: MakeBackbone) -> None:
    """Parameters and curve after 20 steps are those of LoRA, for each way to score."""
    folder, data = make_backbone("bert"), random_data()
    lora = train(folder, make_runs("lora", (2,), configs=[SETTINGS]), data)
    for inference in ("ensemble", "expected", "raw"):
        settings = SETTINGS | {"rate": 0.0, "instances": 1, "inference": inference}
        ours = train(folder, make_runs("lora_dropout", (2,), configs=[settings]), data)
        assert torch.equal(ours.state.bank.values, lora.state.bank.values)
        assert ours.trainer.traces[0].curve == lora.trainer.traces[0].curve


def test_rate_zero_with_several_copies_is_lora_up_to_the_order_of_sums(
    make_backbone: MakeBackbone,
) -> None:
    """Equal copies of a batch have the batch's mean loss and gradient; only sums are longer."""
    folder, data = make_backbone("bert"), random_data()
    lora = train(folder, make_runs("lora", (2,), configs=[SETTINGS]), data, scored=False)
    settings = SETTINGS | {"rate": 0.0, "instances": 3}
    runs = make_runs("lora_dropout", (2,), configs=[settings])
    ours = train(folder, runs, data, scored=False)
    torch.testing.assert_close(ours.state.bank.values, lora.state.bank.values, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.logits(data), lora.logits(data), rtol=0, atol=1e-9)


def test_rate_one_trains_the_head_alone(make_backbone: MakeBackbone) -> None:
    """With everything dropped, a run ends with the outputs of head tuning."""
    folder, data = make_backbone("bert"), random_data()
    settings = SETTINGS | {"rate": 1.0, "instances": 2}
    runs = make_runs("lora_dropout", (2,), configs=[settings])
    ours = train(folder, runs, data, scored=False)
    head = train(folder, make_runs("head", (2,)), data, scored=False)
    np.testing.assert_allclose(ours.logits(data), head.logits(data), rtol=0, atol=1e-9)


def test_runs_of_different_rates_equal_solo_runs(make_backbone: MakeBackbone) -> None:
    """Rates from 0 to 1, ranks and scalings may differ in a stack, and a run may leave it."""
    folder, data = make_backbone("bert"), random_data(outputs=3)
    varied = [
        SETTINGS | {"rate": 0.0, "instances": 3},
        SETTINGS | {"rate": 0.5, "instances": 3, "rank": 5, "dropout": 0.2},
        SETTINGS | {"rate": 0.25, "instances": 3, "alpha": 20},
        SETTINGS | {"rate": 1.0, "instances": 3, "rank": 1},
    ]
    trainings: list[dict[str, Any]] = [{}, {"learning_rate": 1e-12, "patience": 1}, {}, {}]
    runs = make_runs(
        "lora_dropout",
        range(4),
        configs=varied,
        trainings=trainings,
        outputs=3,
        evaluations=5,
        backbone_dropout=0.1,
    )
    stacked = train(folder, runs, data)
    logits = stacked.logits(data)
    assert stacked.state.axis.active == (0, 2, 3)
    for position, index in enumerate(stacked.state.axis.active):
        solo = train(folder, [runs[index]], data)
        np.testing.assert_allclose(logits[position], solo.logits(data)[0], rtol=0, atol=1e-9)


def test_every_copy_is_a_pass_that_is_paid_for(make_backbone: MakeBackbone) -> None:
    """Reported passes and counted operations are those of LoRA times the copies."""
    folder, data = make_backbone("bert"), random_data()
    settings = SETTINGS | {"instances": 3}
    assert LoraDropout.relative_cost(LoraDropout.Config(instances=3)) == 3
    with counting():
        ours, lora = (
            train(folder, make_runs(name, configs=[own], steps=5), data).trainer
            for name, own in (("lora_dropout", settings), ("lora", SETTINGS))
        )
    assert (ours.traces[0].forward_passes, ours.traces[0].backward_passes) == (15, 15)
    operations = [t.flops.total(t.traces[0].work) for t in (ours, lora)]
    assert operations[0] == pytest.approx(3 * operations[1], rel=1e-6)


def test_number_of_copies_must_agree_in_a_stack() -> None:
    """Rates may differ between the runs of a stack; what shapes the wide batch may not."""
    per_run = LoraDropout.Config.PER_RUN
    assert {"rate", "rank", "alpha"} <= per_run
    assert per_run.isdisjoint({"instances", "test_instances", "inference", "average", "rescale"})
