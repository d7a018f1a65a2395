"""What is special to single baselines: counts, constant predictions, skips, PEFT's types."""

from pathlib import Path

import numpy as np
import pytest

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.data.batching import collate
from tests.support import tiny_families
from tests.support.family_checks import trained
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    load_backbone,
    make_runs,
    make_task,
    random_data,
    train,
)


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


@pytest.mark.parametrize("family", ["jamba", "jetmoe"])
def test_bitfit_leaves_biases_that_belong_to_no_called_layer(family: str, tmp_path: Path) -> None:
    """State-space models read some directly, experts hold one for all; neither can be shifted."""
    backbone = tiny_families.load(family, tmp_path, SEQUENCE_CLASSIFICATION)
    reason = registry.get("bitfit").supports(make_task(), backbone, registry.get("bitfit").Config())
    assert reason == f"a {family} backbone has no bias terms"


@pytest.mark.parametrize("family", ["squeezebert", "markuplm", "mobilebert"])
def test_bitfit_moves_only_what_it_can(family: str, tmp_path: Path) -> None:
    """Features that come first, and layers that are never called, stay as they are."""
    backbone = tiny_families.load(family, tmp_path, SEQUENCE_CLASSIFICATION)
    assert trained(backbone, "bitfit").is_exact


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


def test_peft_type_that_cannot_adapt_a_backbone_is_a_config_error(
    make_backbone: MakeBackbone,
) -> None:
    """What PEFT has not implemented for a family ends with its reason, not with a traceback."""
    runs = make_runs("peft:LILY", precision="fp32")
    backbone = load_backbone(make_backbone("gpt2"), runs)
    with pytest.raises(ConfigError, match="'peft:LILY': PEFT refuses its settings"):
        set_up(runs, backbone, random_data(), CPU)


def test_peft_lora_reaches_the_training_loss_of_our_lora(make_backbone: MakeBackbone) -> None:
    """With initial values of its own, the reference adapter learns as fast as ours, on average."""
    data = random_data()
    losses = []
    reference = {"settings": {"r": 8, "lora_alpha": 16}}
    for name, config, size in (("lora", {}, 3), ("peft:LORA", reference, 1)):
        runs = make_runs(name, range(3), configs=[config], steps=40)
        stacks = [runs[first : first + size] for first in range(0, 3, size)]
        trainers = [train(make_backbone("bert"), stack, data).trainer for stack in stacks]
        finals = [trace.curve[-1] for trainer in trainers for trace in trainer.traces]
        assert len(finals) == 3
        losses.append(np.mean([point.train_loss for point in finals]))
    assert losses[0] == pytest.approx(losses[1], rel=0.2)


@pytest.mark.parametrize("name", ["peft", "peft:NOPE", "peft:ADALORA", "lora:8", "lroa"])
def test_unknown_names_are_refused_with_what_is_allowed(name: str) -> None:
    """A wrong name or argument is an error that lists the way out."""
    with pytest.raises(ConfigError, match=r"allowed|takes no argument"):
        registry.get(name)
