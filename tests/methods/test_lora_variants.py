"""The small relatives of LoRA, each against what it claims to be."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from peft.optimizers import create_loraplus_optimizer

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.train_state import StepReport, TrainState
from gapbench.bench.data.batching import Batch, collate
from gapbench.bench.data.encoded import TaskData
from gapbench.bench.data.sources import Sources
from gapbench.bench.experiment.schema import MethodEntry, Suite
from gapbench.bench.experiment.suite import expand, load
from gapbench.bench.models.run_axis import StackedLinear
from gapbench.bench.store.record import CurvePoint
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.kinds.classification import Classification
from gapbench.bench.training.trainer import Trainer
from gapbench.methods._shared.ensemble import EnsembleConfig
from gapbench.methods._shared.lowrank import LowRankConfig, StackedLora
from gapbench.methods.rslora import RsLora
from tests.support.peft_twin import RATE, TARGETS, assert_same_training, ready, twin
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    Trained,
    load_backbone,
    make_runs,
    random_data,
    train,
)


@pytest.mark.parametrize("family", sorted(TARGETS))
def test_rslora_alone_equals_peft_step_by_step(family: str, make_backbone: MakeBackbone) -> None:
    """From the same state, 20 AdamW steps agree with PEFT's use_rslora to 1e-9."""
    folder = make_backbone(family)
    method, state = ready(folder, "rslora", {}, rank=5, alpha=7)
    adapted = twin(folder, family, state, r=5, lora_alpha=7, use_rslora=True)
    trained = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    assert_same_training(method, state, adapted, optimizer)


def test_rslora_equals_lora_at_rank_1() -> None:
    """The root of 1 is 1, and from there on the scaling falls with the root of the rank."""
    scalings = [RsLora.scaling(LowRankConfig(rank=rank, alpha=3)) for rank in (1, 4, 16)]
    assert scalings == [3.0, 1.5, 0.75]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_lora_plus_equals_peft_optimizer_step_by_step(
    family: str, make_backbone: MakeBackbone
) -> None:
    """Where the head has no bias, PEFT's parameter groups give the same 20 steps to 1e-9."""
    folder = make_backbone(family)
    decay = {"weight_decay": 0.1}
    method, state = ready(folder, "lora_plus", decay, rank=3, alpha=7, ratio=5)
    adapted = twin(folder, family, state, r=3, lora_alpha=7)
    optimizer = create_loraplus_optimizer(
        adapted, torch.optim.AdamW, lr=RATE, loraplus_lr_ratio=5, loraplus_weight_decay=0.1
    )
    assert_same_training(method, state, adapted, optimizer)


def test_lora_plus_first_step_moves_b_ratio_times_as_far(make_backbone: MakeBackbone) -> None:
    """Adam's first step is as long as the rate (but for its epsilon): B moves by ratio times it."""
    constant = {"learning_rate": RATE, "warmup_fraction": 0.0, "schedule": "constant"}
    runs = make_runs(
        "lora_plus",
        (0, 1),
        configs=[{"ratio": 3.0}, {"ratio": 0.5}],
        trainings=[constant],
        steps=1,
        evaluations=1,
    )
    trained = train(make_backbone("bert"), runs, random_data())
    (layer, *_) = (m for m in trained.state.model.modules() if isinstance(m, StackedLora))
    moved = layer.lora_B.detach().abs().amax(dim=(1, 2))
    torch.testing.assert_close(moved, torch.tensor([3.0, 0.5]).double() * RATE, rtol=0.05, atol=0)


def test_presets_lay_their_training_settings_over_the_suite() -> None:
    """Decay and patience come with the method; every other setting is the suite's."""
    suite, path = load("quickstart")
    names = ("lora", "lora_weight_decay", "lora_early_stop")
    suite = suite.model_copy(update={"methods": tuple(_entry(suite, name) for name in names)})
    cells = {p.run.cell.method: p.run.cell for p in expand(suite, Sources(), path)}
    plain = cells["lora"].training
    assert plain.weight_decay == 0.0
    assert plain.patience is None
    decayed, stopped = (cells[name].training for name in names[1:])
    assert decayed == plain.model_copy(update={"weight_decay": 0.1})
    assert stopped == plain.model_copy(update={"patience": 3})


def _entry(suite: Suite, name: str) -> MethodEntry:
    (lora,) = (entry for entry in suite.methods if entry.method == "lora")
    return lora.model_copy(update={"method": name})


def _curve(trained: Trained, position: int = 0) -> Sequence[CurvePoint]:
    return trained.trainer.traces[position].curve


def test_lora_ema_with_decay_zero_is_lora_bit_for_bit(make_backbone: MakeBackbone) -> None:
    """Without memory, curve, checkpoint and parameters are LoRA's."""
    folder, data = make_backbone("bert"), random_data()
    ema, lora = (
        train(folder, make_runs(name, (2,), configs=[config], evaluations=4), data)
        for name, config in (("lora_ema", {"decay": 0.0}), ("lora", {}))
    )
    assert _curve(ema) == _curve(lora)
    assert torch.equal(ema.state.bank.values, lora.state.bank.values)
    rows = [t.trainer.traces[0].best_row for t in (ema, lora)]
    assert torch.equal(*rows)


def test_lora_ema_scores_the_corrected_average(make_backbone: MakeBackbone) -> None:
    """The checkpoint holds the weighted mean of the numbers after each step, by its definition."""
    folder, data = make_backbone("bert"), random_data()
    decays = [0.9, 0.5]
    configs = [{"decay": decay} for decay in decays]
    runs = make_runs("lora_ema", (0, 1), configs=configs, steps=8, evaluations=1)
    ema = train(folder, runs, data)
    # Training is LoRA's; only what is scored differs.
    lora = train(folder, make_runs("lora", (0, 1), steps=8, evaluations=1), data)
    assert torch.equal(ema.state.bank.values, lora.state.bank.values)
    means = _averages(folder, decays, data)
    for trace, mean in zip(ema.trainer.traces, means, strict=True):
        torch.testing.assert_close(trace.best_row, mean, rtol=0, atol=1e-12)


def _averages(folder: Path, decays: list[float], data: TaskData) -> list[torch.Tensor]:
    """Return the weighted mean of LoRA's numbers after each of 8 steps, newest weighted most."""
    runs = make_runs("lora", (0, 1), steps=8, evaluations=1)
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    seen: list[torch.Tensor] = []
    inner = method.step

    def step(state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        report = inner(state, batches)
        seen.append(state.bank.values.clone())
        return report

    method.step = step
    Trainer(runs, method, state, data, lambda _: None).train()
    weights = [[decay ** (7 - i) for i in range(8)] for decay in decays]
    return [
        sum(w * values[run] for w, values in zip(weights[run], seen, strict=True))
        / sum(weights[run])
        for run in (0, 1)
    ]


def test_lora_ema_scoring_restores_the_numbers(make_backbone: MakeBackbone) -> None:
    """Averages are in place inside the context alone, and before any step there are none."""
    folder, data = make_backbone("bert"), random_data()
    runs = make_runs("lora_ema", (0, 1))
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    first = state.bank.values.clone()
    with method.scoring(state):
        assert torch.equal(state.bank.values, first)
    trained = train(folder, runs, data)
    after = trained.state.bank.values.clone()
    with trained.method.scoring(trained.state):
        assert not torch.allclose(trained.state.bank.values, after)
    assert torch.equal(trained.state.bank.values, after)


def test_lora_ema_keeps_each_runs_average_when_a_neighbour_leaves(
    make_backbone: MakeBackbone,
) -> None:
    """A run that loses patience takes nothing from the averages of the others."""
    folder, data = make_backbone("bert"), random_data()
    trainings = [{"learning_rate": 1e-12, "patience": 1}, {}]
    configs = [{"decay": 0.5}, {"decay": 0.9}]
    settings = {"trainings": trainings, "configs": configs, "evaluations": 10}
    runs = make_runs("lora_ema", (0, 1), **settings)
    together = train(folder, runs, data).trainer.traces
    assert [trace.steps for trace in together] == [4, 20]
    for trace, run in zip(together, runs, strict=True):
        (alone,) = train(folder, [run], data).trainer.traces
        torch.testing.assert_close(trace.best_row, alone.best_row, rtol=0, atol=1e-9)


@pytest.mark.parametrize("outputs", [3, 1])
def test_lora_ensemble_of_one_is_lora_bit_for_bit(
    outputs: int, make_backbone: MakeBackbone
) -> None:
    """A single member has LoRA's curve, parameters, counts and predictions."""
    folder, data = make_backbone("bert"), random_data(outputs=outputs)
    training = [{"weight_decay": 0.1, "max_grad_norm": 0.05}]
    one, lora = (
        train(
            folder,
            make_runs(name, (2, 3), configs=[config], trainings=training, outputs=outputs),
            data,
        )
        for name, config in (("lora_ensemble", {"members": 1}), ("lora", {}))
    )
    for position in (0, 1):
        assert _curve(one, position) == _curve(lora, position)
    assert torch.equal(one.state.bank.values, lora.state.bank.values)
    assert np.array_equal(one.logits(data), lora.logits(data))
    assert one.state.bank.trained_count(0) == lora.state.bank.trained_count(0)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_lora_ensemble_first_member_is_the_lora_of_the_seed(
    family: str, make_backbone: MakeBackbone
) -> None:
    """Members do not touch each other: the first trains as LoRA alone, decay and clipping too."""
    folder, data = make_backbone(family), random_data()
    training = [{"weight_decay": 0.1, "max_grad_norm": 0.05}]
    several = train(
        folder,
        make_runs("lora_ensemble", (2, 5), configs=[{"members": 3}], trainings=training),
        data,
        scored=False,
    )
    alone = train(folder, make_runs("lora", (2, 5), trainings=training), data, scored=False)
    theirs = dict(alone.state.model.named_modules())
    for name, module in several.state.model.named_modules():
        if isinstance(module, StackedLora | StackedLinear):
            for part, values in module.named_parameters(recurse=False):
                if values.requires_grad:
                    expected = theirs[name].get_parameter(part)
                    torch.testing.assert_close(values[:, 0], expected, rtol=0, atol=1e-9)
                    assert not torch.allclose(values[:, 1], expected)


def test_lora_ensemble_predicts_the_mean_probability(make_backbone: MakeBackbone) -> None:
    """Exponentials of its outputs are the mean of the members' probabilities."""
    folder, data = make_backbone("bert"), random_data(outputs=3)
    runs = make_runs("lora_ensemble", (0, 1), configs=[{"members": 3}], outputs=3, steps=6)
    trained = train(folder, runs, data)
    batch = collate(data.test, np.stack([np.arange(5)] * 2), CPU)
    with torch.no_grad():
        each = trained.state.model.eval()(**batch.replicated(2, 3).inputs).logits
        pooled = trained.method.predict(trained.state, batch)
    probabilities = each.view(2, 3, 5, 3).softmax(dim=-1)
    assert (probabilities[:, 0] - probabilities[:, 1]).abs().max() > 1e-3
    torch.testing.assert_close(pooled.exp().view(2, 5, 3), probabilities.mean(dim=1))


def test_lora_ensemble_of_a_regression_predicts_the_mean(make_backbone: MakeBackbone) -> None:
    """Outputs are averaged as they are."""
    folder, data = make_backbone("bert"), random_data(outputs=1)
    runs = make_runs("lora_ensemble", (0,), configs=[{"members": 2}], outputs=1, steps=6)
    trained = train(folder, runs, data)
    batch = collate(data.test, np.arange(5)[None], CPU)
    with torch.no_grad():
        each = trained.state.model.eval()(**batch.replicated(1, 2).inputs).logits
    pooled = Classification().outputs(trained.method, trained.state, EvalSubset.of(data.test, 5))[
        "logits"
    ]
    assert pooled.shape == (1, 5, 1)
    first = trained.method.predict(trained.state, batch).detach()
    torch.testing.assert_close(first[:, 0], each.view(2, 5).mean(dim=0))


def test_lora_ensemble_counts_and_costs_its_members(make_backbone: MakeBackbone) -> None:
    """Parameters and passes are those of so many LoRA runs."""
    folder, data = make_backbone("bert"), random_data()
    several, one = (
        train(folder, make_runs(name, (0,), configs=[config], steps=2), data, scored=False)
        for name, config in (("lora_ensemble", {"members": 3}), ("lora", {}))
    )
    counts = [t.state.bank.trained_count(0) for t in (several, one)]
    assert counts[0] == 3 * counts[1]
    passes = [t.trainer.traces[0].forward_passes for t in (several, one)]
    assert passes == [6, 2]
    assert registry.get("lora_ensemble").relative_cost(EnsembleConfig(members=3)) == 3


def test_lora_ensemble_at_equal_passes_deals_out_each_batch(make_backbone: MakeBackbone) -> None:
    """Members divide a run's examples, an uneven batch repeats some, and passes are LoRA's."""
    folder, data = make_backbone("bert"), random_data()
    name, config = "lora_ensemble_equal_passes", {"members": 3}
    runs = make_runs(name, (0, 1), configs=[config], steps=2)
    trained = train(folder, runs, data, scored=False)
    trace = trained.trainer.traces[0]
    assert (trace.forward_passes, trace.backward_passes) == (2, 2)
    assert registry.get(name).relative_cost(EnsembleConfig(members=3)) == 1
    drawn = np.stack([np.arange(8), np.arange(10, 18)])
    batch = collate(data.train, drawn, CPU)
    dealt = trained.method._dealt(batch)
    expected = np.concatenate([[*run, run[0]] for run in drawn])
    width = batch.inputs["input_ids"].shape[1]
    ids = collate(data.train, expected.reshape(2, 9), CPU).inputs["input_ids"]
    assert torch.equal(dealt.inputs["input_ids"], ids[:, :width])
    losses = trained.method._member_losses(trained.state, batch)
    whole = trained.state.model(**collate(data.train, drawn.repeat(3, 0), CPU).inputs).logits
    logits = whole.view(2, 3, 8, -1)
    for run in range(2):
        for member, places in enumerate(([0, 1, 2], [3, 4, 5], [6, 7, 0])):
            targets = torch.from_numpy(data.train.targets[drawn[run][places]])
            alone = torch.nn.functional.cross_entropy(logits[run, member, places], targets)
            torch.testing.assert_close(losses[run, member], alone, rtol=0, atol=1e-12)
