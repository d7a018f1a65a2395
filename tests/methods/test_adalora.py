"""AdaLoRA: against PEFT from the same state, its budget by hand, and its runs in a stack."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.train_state import Phase, TrainState
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.data.batching import collate, training_batches
from gapbench.bench.models.run_axis import RunAxis, StackedLinear
from gapbench.methods._shared.adalora_layer import StackedAdaLora
from gapbench.methods._shared.adaptive_rank import AdaLoraConfig
from gapbench.methods._shared.rank_allocation import Schedule
from gapbench.methods.adalora import AdaLora
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    Trained,
    load_backbone,
    make_runs,
    make_task,
    random_data,
    train,
)
from tests.support.solo_runs import assert_same_alone

STEPS = 50
TARGETS = ["intermediate.dense", "output.dense"]  # 24 to 40, 24 to 24 and 40 to 24, in two layers
SETTINGS: dict[str, Any] = {
    "rank": 2,
    "alpha": 24,
    "init_rank": 5,
    "tinit": 0.1,
    "tfinal": 20,
    "delta_t": 3,
    "beta1": 0.8,
    "beta2": 0.9,
    "orthogonality": 0.3,
    "targets": TARGETS,
}
VARIED = [
    SETTINGS | {"rank": 1, "init_rank": 2, "delta_t": 1, "beta1": 0.5, "beta2": 0.6},
    SETTINGS | {"alpha": 7, "tinit": 0, "tfinal": 0, "orthogonality": 0.0},
    SETTINGS | {"rank": 3, "init_rank": 9, "tinit": 3, "tfinal": 0.5, "dropout": 0.2},
    SETTINGS | {"rank": 4, "init_rank": 4},
]


def test_adalora_equals_peft_step_by_step_and_keeps_the_same_ranks(
    make_backbone: MakeBackbone,
) -> None:
    """Over 50 AdamW steps, losses, parameters and kept triplets are those of PEFT."""
    folder, data = make_backbone("bert"), random_data(outputs=3)
    training = {"weight_decay": 0.1, "schedule": "constant", "max_grad_norm": None}
    runs = make_runs("adalora", (4,), configs=[SETTINGS], trainings=[training], outputs=3)
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    assert isinstance(method, AdaLora)
    method.begin(state, Phase(), [runs[0].cell.training], STEPS)
    reference = _peft_model(folder, state)
    trained = [p for p in reference.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in trained if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=runs[0].cell.training.learning_rate)
    schedule = transformers.get_constant_schedule_with_warmup(optimizer, 3)
    order = training_batches(data.train.lengths, 8, "toy", 4)
    for step in range(STEPS):
        batch = collate(data.train, next(order)[None], CPU)
        loss = reference.base_model(**batch.inputs, labels=batch.targets).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        reference.base_model.update_and_allocate(step + 1)
        penalty = method.penalty(state).item()
        report = method.step(state, {"train": batch})
        method.axis.step += 1
        assert report.losses.item() + penalty == pytest.approx(loss.item(), abs=1e-9)
        assert _kept(reference) == [layer.lora_E[0].ne(0).tolist() for layer in method.layers]
    for ours, theirs in _pairs(state, reference):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
    ranks = list(method.diagnostic_values(state, 0)["kept_ranks"].values())
    assert sum(ranks) == 2 * 6
    assert len(set(ranks)) > 1


def _peft_model(folder: Path, state: TrainState) -> Any:
    """Return PEFT's model with the numbers of our first step."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder,
        num_labels=3,
        dtype=torch.float64,
        attn_implementation="sdpa",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config = peft.AdaLoraConfig(
        target_r=2,
        init_r=5,
        lora_alpha=24,
        tinit=5,
        tfinal=20,
        deltaT=3,
        beta1=0.8,
        beta2=0.9,
        orth_reg_weight=0.3,
        total_step=STEPS,
        target_modules=TARGETS,
        modules_to_save=["classifier"],
    )
    adapted = peft.get_peft_model(model, config).double()  # it makes its own numbers float32
    for name, parameter in adapted.named_parameters():
        if "ranknum" in name:  # PEFT forgets that it is a constant where it changes the type
            parameter.requires_grad_(False)
    pairs = list(_pairs(state, adapted))
    assert len(pairs) == 3 * 6 + 2
    with torch.no_grad():
        for ours, theirs in pairs:
            theirs.copy_(ours)
    return adapted


def _pairs(state: TrainState, adapted: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield our trained tensors (of the only run) beside PEFT's."""
    for name, module in state.model.named_modules():
        if not isinstance(module, StackedAdaLora | StackedLinear):
            continue
        theirs = adapted.get_submodule("base_model.model." + name)
        if isinstance(module, StackedAdaLora):
            for matrix in ("lora_A", "lora_E", "lora_B"):
                yield getattr(module, matrix)[0], getattr(theirs, matrix)["default"]
        else:
            yield module.weight[0], theirs.modules_to_save["default"].weight
            yield module.bias[0], theirs.modules_to_save["default"].bias


def _kept(adapted: Any) -> list[list[list[bool]]]:
    """Return which singular values of PEFT's layers are not zero."""
    return [p.ne(0).tolist() for name, p in adapted.named_parameters() if "lora_E.default" in name]


@pytest.mark.parametrize(
    ("step", "budget"),
    # Between 10 and 30, a quarter of the way leaves (3/4)^3 = 27/64 of the 20 surplus triplets.
    [(5, None), (10, None), (12, None), (15, 18), (20, 12), (25, 10), (30, 10), (31, None)],
)
def test_budget_follows_the_cubic_schedule(step: int, budget: int | None) -> None:
    """Budgets equal those worked out by hand from equation 12, at the steps that allocate."""
    schedule = Schedule(initial=30, target=10, warmup=10, end=30, interval=5)
    assert schedule.budget(step) == budget


def test_last_allocation_happens_off_the_interval_too() -> None:
    """The target is reached at the end of pruning, whatever the interval."""
    schedule = Schedule(initial=30, target=10, warmup=0, end=31, interval=5)
    assert [schedule.budget(step) for step in (30, 31, 32)] == [10, 10, None]


def test_phases_are_shares_of_the_steps_or_numbers_of_steps() -> None:
    """Below 1 a length is a share, rounded down; from 1 on it is a number."""
    shares = AdaLoraConfig(rank=3, tinit=0.15, tfinal=0.45).schedule(layers=4, steps=50)
    assert shares == Schedule(initial=20, target=12, warmup=7, end=28, interval=1)
    numbers = AdaLoraConfig(rank=3, tinit=1, tfinal=10, init_rank=6).schedule(layers=4, steps=50)
    assert numbers == Schedule(initial=24, target=12, warmup=1, end=40, interval=1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rank": 8, "init_rank": 7}, "init_rank must be at least rank = 8"),
        ({"tinit": 0.5, "tfinal": 0.5}, "sum must be < 1"),
        ({"tinit": 2.5}, "must be whole"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, Any], words: str
) -> None:
    """The message says what would be legal."""
    with pytest.raises(ConfigError, match=words):
        registry.resolve_config("adalora", settings, "here")


def test_phases_longer_than_the_training_are_refused() -> None:
    """Numbers of steps are checked as soon as the length of the training is known."""
    with pytest.raises(ConfigError, match="tinit = 30 and tfinal = 20 steps leave none"):
        AdaLoraConfig(tinit=30, tfinal=20).schedule(layers=1, steps=50)


def test_initial_rank_above_the_width_is_refused_with_the_reason(
    make_backbone: MakeBackbone,
) -> None:
    """The rank of before pruning is what has to fit."""
    backbone = load_backbone(make_backbone("bert"), make_runs("adalora"))
    reason = AdaLora.supports(make_task(), backbone, AdaLoraConfig(rank=20))
    assert reason is not None
    assert reason.startswith("initial rank is 30")
    assert AdaLora.supports(make_task(), backbone, AdaLoraConfig(rank=16)) is None


def test_orthogonality_is_the_distance_of_own_vectors_from_orthonormal_ones() -> None:
    """Orthonormal rows cost nothing, rows twice as long 3 each, padding nothing."""
    axis = RunAxis([0, 1], CPU, torch.float64)
    layer = StackedAdaLora(
        axis,
        torch.nn.Linear(7, 5).double(),
        "site",
        ranks=[2, 3],
        scalings=[1.0, 1.0],
        dropouts=[0.0, 0.0],
        members=1,
    )
    for run, length in enumerate((1, 2)):
        own = layer.ranks[run]
        layer.lora_A.data[run, :own] = length * torch.eye(7).double()[:own]
        layer.lora_B.data[run, :, :own] = torch.eye(5).double()[:, :own]
    expected = torch.tensor([[0.0, (3 * 3.0**2) ** 0.5], [0.0, 0.0]]).double()
    torch.testing.assert_close(layer.skewness(), expected)
    layer.skewness().sum().backward()
    assert layer.lora_A.grad is not None
    assert layer.lora_A.grad[0].abs().sum() == 0


def test_each_run_of_a_stack_keeps_its_own_budget(make_backbone: MakeBackbone) -> None:
    """Ranks, schedules and smoothing of four runs give in a stack what they give alone."""
    folder, data = make_backbone("bert"), random_data()
    runs = make_runs("adalora", range(4), configs=VARIED, steps=30)
    stacked = train(folder, runs, data, scored=False)
    solos = assert_same_alone(folder, runs, stacked, data, scored=False)
    for position, solo in enumerate(solos):
        assert stacked.method.diagnostic_values(
            stacked.state, position
        ) == solo.method.diagnostic_values(solo.state, 0)
    assert [sum(_ranks(stacked, position)) for position in range(4)] == [6, 12, 18, 24]
    assert any(len(set(_ranks(stacked, position))) > 1 for position in range(3))


def _ranks(trained: Trained, position: int) -> list[int]:
    return list(trained.method.diagnostic_values(trained.state, position)["kept_ranks"].values())


def test_run_that_leaves_the_stack_takes_no_budget_along(make_backbone: MakeBackbone) -> None:
    """When the second of three runs stops early, its neighbours prune as they would alone."""
    folder, data = make_backbone("bert"), random_data()
    trainings: list[dict[str, Any]] = [{}, {"learning_rate": 1e-12, "patience": 1}, {}]
    runs = make_runs(
        "adalora", range(3), configs=VARIED[:3], trainings=trainings, steps=30, evaluations=10
    )
    stacked = train(folder, runs, data)
    assert [trace.steps for trace in stacked.trainer.traces] == [30, 6, 30]
    assert stacked.state.axis.active == (0, 2)
    for position, solo in enumerate(assert_same_alone(folder, runs, stacked, data)):
        assert _ranks(stacked, position) == _ranks(solo, 0)


def test_parameters_are_counted_at_the_initial_rank(make_backbone: MakeBackbone) -> None:
    """P, Q and Lambda of every layer count with the ranks that train, padding apart."""
    configs = [SETTINGS, SETTINGS | {"init_rank": 3}]
    runs = make_runs("adalora", (0, 1), configs=configs)
    _, state = set_up(runs, load_backbone(make_backbone("bert"), runs), random_data(), CPU)
    layer = 2 * (24 + 40 + 1) + (24 + 24 + 1)
    counts = [state.bank.trained_count(run) for run in range(2)]
    assert counts == [2 * rank * layer + 50 for rank in (5, 3)]


def test_pruned_run_folds_into_plain_weights(make_backbone: MakeBackbone) -> None:
    """The folded layer acts as the adapted one, and its update has the kept rank."""
    runs = make_runs("adalora", (3,), configs=[SETTINGS], steps=30)
    trained = train(make_backbone("bert"), runs, random_data(), scored=False)
    assert isinstance(trained.method, AdaLora)
    kept = trained.method.diagnostic_values(trained.state, 0)["kept_ranks"]
    for name, layer in trained.method.adapters.items():
        x = torch.randn(3, 4, layer.in_features, generator=torch.manual_seed(0)).double()
        folded = layer.plain(0)
        expected = torch.nn.functional.linear(x, folded["weight"], folded["bias"])
        torch.testing.assert_close(layer.eval()(x), expected)
        assert len(layer.factors(0)[0]) == kept[name]
        assert torch.linalg.matrix_rank(folded["weight"] - layer.weight, atol=1e-9) == kept[name]


def test_run_whose_schedule_does_not_fit_ends_alone(make_backbone: MakeBackbone) -> None:
    """Settings that leave no step for pruning stop their own run; its neighbour equals solo."""
    folder, data = make_backbone("bert"), random_data()
    runs = make_runs("adalora", (0, 1), configs=[{}, {"tinit": 15, "tfinal": 15}])
    stacked, solo = (train(folder, each, data, scored=False) for each in (runs, runs[:1]))
    assert "leave none for pruning" in (stacked.trainer.traces[1].diverged or "")
    assert stacked.trainer.traces[0].diverged is None
    torch.testing.assert_close(stacked.state.bank.values, solo.state.bank.values, rtol=0, atol=1e-9)


def test_schedule_without_a_step_to_observe_is_refused() -> None:
    """The last allocation needs importance that was seen at least once before it."""
    with pytest.raises(ConfigError, match="leave none for pruning"):
        AdaLoraConfig(tinit=0, tfinal=9).schedule(layers=4, steps=10)
