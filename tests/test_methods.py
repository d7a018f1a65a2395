"""What every method must do, whatever it is: one suite over all that are discovered."""

import numpy as np
import pytest
import torch

from bench import registry
from bench.batches import collate
from bench.errors import ConfigError
from bench.run import set_up
from bench.stack import StackedLinear
from tests.small_stack import (
    CPU,
    MakeBackbone,
    load_backbone,
    make_runs,
    make_task,
    random_data,
    train,
)

NAMES = [name if name != "peft" else "peft:LORA" for name in registry.discover()]
TRAINED = [name for name in NAMES if registry.get(name).trains]


def test_all_methods_are_discovered() -> None:
    """Discovery finds one class a public file of the package."""
    expected = {"bitfit", "full", "head", "lora", "majority", "peft", "untuned"}
    assert expected <= set(registry.discover())


@pytest.mark.parametrize("name", NAMES)
def test_method_states_its_source_and_documents_its_settings(name: str) -> None:
    """Each class has a docstring and a reference, each setting a description."""
    cls = registry.get(name)
    assert cls.__doc__
    assert cls.reference
    assert all(field.description for field in cls.Config.model_fields.values())
    assert set(cls.search_space()) <= set(cls.Config.model_fields)
    assert set(cls.Config.model_fields) >= cls.Config.PER_RUN


@pytest.mark.parametrize("name", [n for n in NAMES if n != "majority"])
def test_method_before_the_first_step_equals_the_backbone(
    name: str, make_backbone: MakeBackbone
) -> None:
    """Adapted outputs equal those of the frozen model with the same head."""
    folder, data = make_backbone("bert"), random_data()
    runs = make_runs(name, (5,))
    backbone = load_backbone(folder, runs)
    _, state = set_up(runs, backbone, data, CPU)
    batch = collate(data.test, np.arange(6)[None], CPU)
    plain = backbone.model()
    heads = [m for m in state.model.modules() if isinstance(m, StackedLinear)]
    plain.classifier.weight.data, plain.classifier.bias.data = heads[0].weight[0], heads[0].bias[0]
    expected = plain.eval()(**batch.inputs).logits
    actual = state.model.eval()(**batch.inputs).logits
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in TRAINED if n != "full"])
def test_method_leaves_the_pretrained_weights_bit_identical(
    name: str, make_backbone: MakeBackbone
) -> None:
    """Training changes no frozen weight, neither in the copy nor in the original."""
    folder, data = make_backbone("bert"), random_data()
    runs = make_runs(name, (0,))
    backbone = load_backbone(folder, runs)
    before = {k: v.clone() for k, v in backbone.model().state_dict().items()}
    trained = train(folder, runs, data)
    frozen = [p for p in trained.state.model.parameters() if not p.requires_grad]
    untouched = {v.numpy().tobytes() for v in before.values()}
    assert len(frozen) > 20
    assert all(p.numpy().tobytes() in untouched for p in frozen)
    after = backbone.model().state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_full_fine_tuning_leaves_the_original_backbone_alone(make_backbone: MakeBackbone) -> None:
    """The next run starts from the pretrained weights, not from the last run's."""
    folder, data = make_backbone("bert"), random_data()
    runs = make_runs("full", (0,))
    backbone = load_backbone(folder, runs)
    before = {k: v.clone() for k, v in backbone.model().state_dict().items()}
    method, state = set_up(runs, backbone, data, CPU)
    method.step(state, {"train": collate(data.train, np.arange(4)[None], CPU)})
    assert all(torch.equal(backbone.model().state_dict()[k], v) for k, v in before.items())


@pytest.mark.parametrize("name", TRAINED)
def test_method_lowers_its_training_loss(name: str, make_backbone: MakeBackbone) -> None:
    """Sixty steps bring the training loss below where it began."""
    runs = make_runs(name, (1,), steps=60, trainings=[{"learning_rate": 0.02}])
    (trace,) = train(make_backbone("bert"), runs, random_data()).trainer.traces
    assert trace.curve[-1].train_loss < 0.9 * trace.curve[0].train_loss


@pytest.mark.parametrize(
    ("name", "count"),
    [
        # Two layers of width 24 and 40: query and value; biases; the head is 24 * 2 + 2.
        ("lora", 4 * 8 * (24 + 24) + 50),
        ("bitfit", 2 * (3 * 24 + 24 + 24 + 40 + 24 + 24) + 24 + 24 + 50),
        ("head", 50),
    ],
)
def test_trained_parameters_are_counted_exactly(
    name: str, count: int, make_backbone: MakeBackbone
) -> None:
    """Counts equal those worked out by hand from the layer shapes."""
    runs = make_runs(name, (0, 1))
    _, state = set_up(runs, load_backbone(make_backbone("bert"), runs), random_data(), CPU)
    assert state.bank.trained_count(0) == count


def test_majority_predicts_the_training_frequencies(make_backbone: MakeBackbone) -> None:
    """Its probabilities are the class shares of the training set, for every example."""
    data = random_data(outputs=3)
    runs = make_runs("majority", (0,), outputs=3)
    method, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
    logits = method.predict(state, collate(data.test, np.arange(5)[None], CPU))
    shares = np.bincount(data.train.targets, minlength=3) / len(data.train)
    np.testing.assert_allclose(logits.softmax(1).numpy(), np.tile(shares, (5, 1)))


def test_majority_of_a_regression_predicts_the_mean(make_backbone: MakeBackbone) -> None:
    """The best constant under squared error is the mean."""
    data = random_data(outputs=1)
    runs = make_runs("majority", (0,), outputs=1)
    method, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
    logits = method.predict(state, collate(data.test, np.arange(5)[None], CPU))
    np.testing.assert_allclose(logits.numpy(), data.train.targets.mean(dtype=float))


def test_bitfit_skips_a_backbone_without_biases(make_backbone: MakeBackbone) -> None:
    """Llama has no bias terms, and the reason says so."""
    runs = make_runs("bitfit")
    backbone = load_backbone(make_backbone("llama"), runs)
    reason = registry.get("bitfit").supports(make_task(), backbone, registry.get("bitfit").Config())
    assert reason == "a llama backbone has no bias terms"


@pytest.mark.parametrize("family", ["roberta", "gpt2", "llama"])
def test_lora_and_head_train_on_other_families(family: str, make_backbone: MakeBackbone) -> None:
    """Two-layer heads, Conv1D layers, grouped queries and last-token pooling all work."""
    for name in ("lora", "head"):
        runs = make_runs(name, (0, 1), steps=4, outputs=3)
        trained = train(make_backbone(family), runs, random_data(outputs=3))
        assert np.isfinite(trained.logits(random_data(outputs=3))).all()


def test_regression_trains_on_squared_error(make_backbone: MakeBackbone) -> None:
    """A single output learns a real target."""
    runs = make_runs("lora", (0, 1), outputs=1, steps=60)
    for trace in train(make_backbone("bert"), runs, random_data(outputs=1)).trainer.traces:
        assert trace.curve[-1].train_loss < 0.7 * trace.curve[0].train_loss


@pytest.mark.parametrize("kind", ["LORA", "IA3", "VERA", "LOHA", "OFT"])
def test_peft_types_train_in_the_plain_loop(kind: str, make_backbone: MakeBackbone) -> None:
    """Different PEFT adapters run and change the model's outputs."""
    settings = {"IA3": {"feedforward_modules": []}, "OFT": {"oft_block_size": 4, "r": 0}}
    runs = make_runs(
        f"peft:{kind}",
        (0,),
        steps=5,
        precision="fp32",
        configs=[{"settings": settings.get(kind, {})}],
    )
    trained = train(make_backbone("bert"), runs, random_data())
    assert trained.trainer.traces[0].steps == 5
    moved = (trained.state.bank.values != 0).any()
    assert bool(moved)


def test_peft_lora_reaches_the_training_loss_of_our_lora(make_backbone: MakeBackbone) -> None:
    """With initial values of its own, the reference adapter learns as fast as ours, on average."""
    data = random_data()
    losses = []
    for name, config in (("lora", {}), ("peft:LORA", {"settings": {"r": 8, "lora_alpha": 16}})):
        runs = make_runs(name, range(3), configs=[config], steps=40)
        finals = [
            train(make_backbone("bert"), [run], data).trainer.traces[0].curve[-1] for run in runs
        ]
        losses.append(np.mean([point.train_loss for point in finals]))
    assert losses[0] == pytest.approx(losses[1], rel=0.2)


@pytest.mark.parametrize("name", ["peft", "peft:NOPE", "peft:ADALORA", "lora:8", "lroa"])
def test_unknown_names_are_refused_with_what_is_allowed(name: str) -> None:
    """A wrong name or argument is an error that lists the way out."""
    with pytest.raises(ConfigError, match=r"allowed|takes no argument"):
        registry.get(name)
