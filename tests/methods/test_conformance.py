"""What every method must do, whatever it is: one suite over all that are discovered."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.data.batching import collate
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.run_axis import StackedLinear
from gapbench.bench.tasks import kinds
from gapbench.bench.training.trainer import Trainer
from tests.support.conformance import NAMES, quick_runs
from tests.support.counting import counting, counting_once
from tests.support.setting_variations import others
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    Trained,
    load_backbone,
    make_task,
    random_data,
    train,
)
from tests.support.solo_runs import assert_same_alone

TRAINED = [name for name in NAMES if registry.get(name).trains]
STACKABLE = [name for name in TRAINED if registry.get(name).stackable]
FAMILIES = ["bert", "roberta", "gpt2", "llama", "deberta-v2"]
STACKED_ON = {"bert": (4, 12), "llama": (2, 6), "deberta-v2": (2, 6)}  # runs and steps
TRAININGS: list[dict[str, Any]] = [
    {"learning_rate": 0.01},
    {"learning_rate": 0.003, "weight_decay": 0.1},
    {"learning_rate": 0.02, "max_grad_norm": 0.05, "schedule": "cosine"},
    {"learning_rate": 0.005, "warmup_fraction": 0.5, "schedule": "constant", "max_grad_norm": None},
]

# Settings at which a method is LoRA bit for bit: every rate, penalty and extra switched off.
_NO_DROPPING = {"logit_rate": 0.0, "weight_rate": 0.0, "ffn_rate": 0.0, "dropout": 0.0}
NEUTRAL: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora_plus": {"ratio": 1.0},
    "lora_ema": {"decay": 0.0},
    "lora_swa": {"start": 1.0},
    "neftune": {"noise_alpha": 0.0},
    "label_smoothing": {"smoothing": 0.0},
    "mixup_hidden": {"mixing": 0.0},
    "drop_lora": {"rank_rate": 0.0},
    "sam_lora": {"radius": 0.0},
    "flat_lora": {"radius": 0.0},
    "lora_ensemble": {"members": 1},
    "lora_ensemble_equal_passes": {"members": 1},
    "lora_early_stop": {},
    "lora_weight_decay": {},
    "lora_dropout": {"rate": 0.0, "instances": 1},
    "unified_dropout": {},
    "dropkey": _NO_DROPPING,
    "dropattention": _NO_DROPPING,
    "hiddencut": _NO_DROPPING,
    "hiddenkey_minus": _NO_DROPPING,
    "hiddenkey": _NO_DROPPING | {"consistency_weight": 0.0},
    "r_drop": _NO_DROPPING | {"consistency": "none"},
    "flexora_random": {"blocks": 2},
}

# Settings at which a method that learns slowly on a small random backbone, or by design learns only
# from a part of the examples, can fit 32 of them: (learning rate, config).
EAGER: dict[str, tuple[float, dict[str, Any]]] = {
    "dora": (0.04, {}),
    "adalora": (0.05, {}),
    "lora_dropout": (0.05, {}),
    "adalora_dropout": (0.05, {"rate": 0.3}),
    "bilora": (0.02, {"split": False, "orthogonality": 0.0}),
    "bilora_joint": (0.02, {"orthogonality": 0.0}),
    "bidora": (0.05, {"split": False}),
    "neftune": (0.02, {"noise_alpha": 0.1}),  # a random backbone's embeddings are small
    "ivon": (0.2, {}),  # its steps are the rate times the clipping radius
}

# Reasons why a method cannot fit 32 examples with any settings.
CANNOT_MEMORISE = {
    "head": "a linear layer on a random backbone's features",
    "bitfit": "biases of a random backbone",
}


def test_all_methods_are_discovered() -> None:
    """Discovery finds one class a public file of the package."""
    files = {p.stem for p in Path("methods").glob("[a-z]*.py")}
    assert files
    assert files <= set(registry.discover())


@pytest.mark.parametrize("name", NAMES)
def test_method_states_its_source_and_documents_its_settings(name: str) -> None:
    """Each class has a docstring and a reference, each setting a description."""
    cls = registry.get(name)
    assert cls.__doc__
    assert cls.reference
    assert all(field.description for field in cls.Config.model_fields.values())
    assert set(cls.search_space()) <= set(cls.Config.model_fields)
    assert set(cls.Config.model_fields) >= cls.Config.PER_RUN


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [n for n in NAMES if n != "majority"])
def test_method_before_the_first_step_equals_the_backbone(
    name: str, family: str, make_backbone: MakeBackbone
) -> None:
    """Adapted outputs equal those of the frozen model with the same head, bit for bit or nearly."""
    folder, data = make_backbone(family), random_data()
    runs = quick_runs(name, (5,))
    backbone = load_backbone(folder, runs)
    _skip_unsupported(name, backbone)
    method, state = set_up(runs, backbone, data, CPU)
    batch = collate(data.test, np.arange(6)[None], CPU)
    plain = backbone.model().eval()
    for path, module in state.model.named_modules():
        if isinstance(module, StackedLinear):
            target = plain.get_submodule(path.removeprefix("base_model.model."))
            head = module.weight[0] if module.weight.dim() == 3 else module.weight[0, 0]
            target.weight.data = head.detach()
            if module.bias is not None:
                target.bias.data.zero_()
    expected = plain(**batch.inputs).logits
    state.model.eval()
    if method.members > 1:  # its other members have heads of their own
        batch = batch.replicated(1, method.members)
    actual = state.model(**batch.inputs).logits[: len(expected)]
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "family"),
    [(n, f) for n in TRAINED for f in FAMILIES if n not in STACKABLE or f not in STACKED_ON],
)
def test_method_trains_on_every_family(name: str, family: str, make_backbone: MakeBackbone) -> None:
    """Two-layer heads, Conv1D layers, grouped queries and last-token pooling all work.

    `test_stacked_runs_equal_solo_runs_in_float64` trains on the other families.
    """
    runs = quick_runs(name, (0,), steps=4, outputs=3, evaluations=1)
    _skip_unsupported(name, load_backbone(make_backbone(family), runs))
    with counting_once():
        trained = train(make_backbone(family), runs, random_data(outputs=3))
    _assert_healthy(trained)


def _assert_healthy(trained: Trained) -> None:
    assert np.isfinite(trained.logits(random_data(outputs=3))).all()
    assert [trace.diverged for trace in trained.trainer.traces if trace.diverged] == []


@dataclass(frozen=True)
class Training:
    """One run of a method after 20 steps, and the weights of its backbone before the first."""

    backbone: Backbone
    before: dict[str, torch.Tensor]
    trained: Trained


@pytest.fixture(scope="module", params=TRAINED)
def training(request: pytest.FixtureRequest, make_backbone: MakeBackbone) -> Training:
    """Train one run of each method, once for all that is asked of it."""
    folder, runs = make_backbone("bert"), quick_runs(request.param, (0,))
    backbone = load_backbone(folder, runs)
    before = {k: v.clone() for k, v in backbone.model().state_dict().items()}
    with counting():
        trained = train(folder, runs, random_data())
    return Training(backbone, before, trained)


def test_method_leaves_the_pretrained_weights_bit_identical(training: Training) -> None:
    """Training changes no frozen weight of the copy, and none at all of the original."""
    state, before = training.trained.state, training.before
    frozen = [p for p in state.model.parameters() if not p.requires_grad]
    untouched = {v.numpy().tobytes() for v in before.values()}
    assert (len(frozen) > 20) == (training.trained.method.name != "full")
    assert all(p.numpy().tobytes() in untouched for p in frozen)
    assert all(p.grad is None for p in frozen)
    after = training.backbone.model().state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_relative_cost_is_what_the_steps_report(training: Training) -> None:
    """The cost that `list methods` shows is the number of passes that a training counts."""
    method, (trace,) = training.trained.method, training.trained.trainer.traces
    assert trace.steps == 20
    claimed = method.relative_cost(method.configs[0])
    passes = trace.forward_passes + trace.backward_passes
    assert claimed == pytest.approx(passes / 2 / trace.steps, rel=0.02)


@pytest.mark.parametrize("name", TRAINED)
def test_method_memorises_32_examples(name: str, make_backbone: MakeBackbone) -> None:
    """A small training set is fitted perfectly: nothing in the method stands in the way."""
    if name in CANNOT_MEMORISE:
        pytest.skip(CANNOT_MEMORISE[name])
    rate, config = EAGER.get(name, (0.02, {}))
    training = {"learning_rate": rate, "warmup_fraction": 0.1}
    runs = quick_runs(
        name,
        (1,),
        configs=[config],
        trainings=[training],
        steps=240,
        evaluations=12,
        precision="fp32",
    )
    data = random_data(train=32)
    method, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
    trainer = Trainer(runs, method, state, data, lambda _: None, step_callback=_stop_when_fitted)
    with pytest.raises(_FittedError):
        trainer.train()


class _FittedError(Exception):
    """All examples of the training set are answered as they should be."""


def _stop_when_fitted(trainer: Trainer) -> None:
    if trainer.traces[0].curve[-1].train_score == 1.0:
        raise _FittedError


def _varied(name: str) -> list[dict[str, Any]]:
    """Return four settings of a method that differ in every field that a stack lets differ."""
    per_run = registry.get(name).Config.PER_RUN
    mixed: list[dict[str, Any]] = [{}, {}, {}, {}]
    for field in sorted(per_run):
        values = others(name, field)
        for number in range(1, 4):
            mixed[number][field] = values[number % len(values)]
    return mixed


@pytest.mark.parametrize("family", STACKED_ON)
@pytest.mark.parametrize("name", STACKABLE)
def test_stacked_runs_equal_solo_runs_in_float64(
    name: str, family: str, make_backbone: MakeBackbone
) -> None:
    """Runs of different seeds and settings train to the same numbers together and alone.

    Four runs try more values of the settings. What another family changes are the layers, and two
    runs that differ in every setting already meet in all of them.
    """
    folder, data = make_backbone(family), random_data(outputs=3)
    (size, steps), varied = STACKED_ON[family], {"configs": _varied(name), "trainings": TRAININGS}
    runs = quick_runs(name, range(size), **varied, steps=steps, outputs=3, evaluations=2)
    _skip_unsupported(name, load_backbone(folder, runs))
    with counting_once():
        stacked = train(folder, runs, data)
    _assert_healthy(stacked)
    for position, solo in enumerate(assert_same_alone(folder, runs, stacked, data)):
        _assert_same(stacked, position, solo)


def _assert_same(stacked: Trained, position: int, solo: Trained) -> None:
    together, alone = stacked.trainer.traces[position], solo.trainer.traces[0]
    losses = [[p.train_loss, p.test_loss] for t in (together, alone) for p in t.curve]
    half = len(together.curve)
    np.testing.assert_allclose(losses[:half], losses[half:], rtol=0, atol=1e-9)
    assert together.tokens == alone.tokens
    np.testing.assert_equal(together.work, alone.work)
    counts = [t.state.bank.trained_count(i) for t, i in ((stacked, position), (solo, 0))]
    assert counts[0] == counts[1]
    notes = [t.method.diagnostic_values(t.state, i) for t, i in ((stacked, position), (solo, 0))]
    assert notes[0].keys() == notes[1].keys()


@pytest.mark.parametrize("name", STACKABLE)
def test_stacked_parameters_equal_solo_parameters_in_float32(
    name: str, make_backbone: MakeBackbone
) -> None:
    """In float32, parameters after 20 steps differ by less than 1e-4, at the end of a stack too.

    That each place in a stack gets its own settings is seen better in float64.
    """
    folder, data = make_backbone("bert"), random_data()
    training = {"learning_rate": 0.003}
    runs = quick_runs(name, range(2), precision="fp32", trainings=[training], evaluations=1)
    *_, stacked = train(folder, runs, data).parameters()
    (solo,) = train(folder, runs[-1:], data).parameters()
    torch.testing.assert_close(stacked, solo, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_chosen_checkpoint_predicts_what_it_predicted_when_chosen(
    name: str, make_backbone: MakeBackbone
) -> None:
    """Predictions follow from parameters and settings; the step at which they are made is none."""
    runs = quick_runs(name, (1,), trainings=[{"warmup_fraction": 0.0}], steps=8, evaluations=4)
    data = random_data()
    method, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
    trainer = Trainer(runs, method, state, data, lambda _: None)
    kept: list[tuple[torch.Tensor, np.ndarray]] = []
    kind, validation = kinds.get(state.task.kind), trainer.subsets["validation"]
    choose = trainer._choose

    def choosing(position: int, trace: Any, scores: Any, outputs: Any) -> None:
        row = state.bank.values[position].clone()
        kept.append((row, outputs["validation"]["logits"]))
        choose(position, trace, scores, outputs)

    trainer._choose = choosing  # type: ignore[method-assign]
    trainer.train()
    state.model.eval()
    assert len(kept) > 2
    for row, logits in kept:
        state.bank.load(row[None])
        with trainer._few_members():
            again = kind.outputs(method, state, validation)["logits"][0]
        np.testing.assert_allclose(again, logits, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", TRAINED)
def test_same_seed_gives_same_numbers_and_another_seed_does_not(
    name: str, make_backbone: MakeBackbone
) -> None:
    """Training twice from one seed is bit-identical; a second seed gives other numbers."""
    folder, data = make_backbone("bert"), random_data()
    first, again, other = (
        train(folder, quick_runs(name, (seed,), steps=6, evaluations=1), data).logits(data)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.fixture(scope="module")
def lora(make_backbone: MakeBackbone) -> Trained:
    """One run of LoRA, for all methods that must equal it."""
    return train(make_backbone("bert"), quick_runs("lora", (2,)), random_data())


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_method_without_its_extras_is_lora_bit_for_bit(
    name: str, lora: Trained, make_backbone: MakeBackbone
) -> None:
    """With every rate, penalty and extra at zero, parameters and curve are those of LoRA."""
    runs = quick_runs(name, (2,), configs=[NEUTRAL[name]])
    ours = train(make_backbone("bert"), runs, random_data())
    assert ours.trainer.traces[0].curve == lora.trainer.traces[0].curve
    assert torch.equal(ours.state.bank.values, lora.state.bank.values)


@pytest.mark.parametrize("name", NAMES)
def test_method_has_a_page(name: str) -> None:
    """Each method is documented, under the same headings."""
    page = Path("docs/methods") / f"{name.partition(':')[0]}.md"
    assert page.is_file(), f"write {page}, with the headings of docs/methods/lora.md"
    text = page.read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings[0] == f"# {page.stem}"
    wanted = ["Equations", "Settings", "Deviations", "Cost", "Published figures", "Measured here"]
    assert [f"## {heading}" for heading in wanted] == [h for h in headings if h.startswith("## ")]
    cls = registry.get(name)
    assert all(f"`{field}`" in text for field in cls.Config.model_fields)


def _skip_unsupported(name: str, backbone: Any) -> None:
    cls = registry.get(name)
    config = cls.Config.model_validate(registry.resolve_config(name, {}, "test"))
    reason = cls.supports(make_task(), backbone, config)
    if reason is not None:
        pytest.skip(reason)
