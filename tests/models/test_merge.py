"""Folding a trained run into plain weights, for every method that has them."""

import copy

import numpy as np
import peft
import pytest
import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import Method
from gapbench.bench.core.errors import MergeError
from gapbench.bench.data.batching import collate
from gapbench.bench.models.merge import head_parts, plain_weights
from tests.support.small_stack import (
    AT_THE_MEAN,
    CPU,
    MakeBackbone,
    Trained,
    load_backbone,
    make_runs,
    make_task,
    random_data,
    train,
)

PEFT_KINDS = ["peft:LORA", "peft:IA3", "peft:OFT"]
NAMES = [n for n in registry.discover() if n != "peft"] + PEFT_KINDS
CONFIGS = {
    "peft:IA3": [{"settings": {"feedforward_modules": []}}],
    "peft:OFT": [{"settings": {"oft_block_size": 4, "r": 0}}],
}


def _trained(name: str, folder, precision: str, data, *, trains: bool) -> Trained:
    """Return two runs after a few steps, if they train; one where runs share no backbone."""
    cls = registry.get(name)
    seeds = (3, 4) if cls.stackable else (3,)
    runs = make_runs(
        name,
        seeds,
        configs=CONFIGS.get(name, [{}]),
        precision=precision,
        steps=4 if trains else 1,
        outputs=3,
    )
    backbone = load_backbone(folder, runs)
    config = cls.Config.model_validate(runs[0].cell.config)
    reason = cls.supports(make_task(3), backbone, config)
    if reason is not None:
        pytest.skip(reason)
    if trains:
        return train(folder, runs, data, scored=False)
    method, state = set_up(runs, backbone, data, CPU)
    return Trained(method, state, None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("family", "precision", "tolerance"),
    [
        ("bert", "fp64", 1e-9),
        ("gpt2", "fp64", 1e-9),
        ("llama", "fp64", 1e-9),
        ("bert", "fp32", 1e-5),
    ],
)
def test_merged_model_gives_the_scored_outputs(
    name: str, family: str, precision: str, tolerance: float, make_backbone: MakeBackbone
) -> None:
    """A plain model with the merged weights answers as the adapted one does in evaluation."""
    folder, data = make_backbone(family), random_data(outputs=3)
    if name == "peft:OFT" and family == "gpt2":
        pytest.skip("PEFT's OFT adapts no Conv1D layers")
    cls = registry.get(name)
    own = cls.predict is not Method.predict and name not in AT_THE_MEAN
    # A refusal after training is the same on every family.
    trains = cls.trains and (not own or (family, precision) == ("bert", "fp64"))
    trained = _trained(name, folder, precision, data, trains=trains)
    runs = make_runs(name, (0,), configs=CONFIGS.get(name, [{}]), precision=precision, outputs=3)
    plain = copy.deepcopy(load_backbone(folder, runs).model())  # whose weights are not shared
    logits = trained.logits(data)
    batch = collate(data.test, np.arange(30)[None], CPU)
    if own:  # no single model gives what is scored
        with pytest.raises(MergeError) as refusal:
            trained.method.merge(trained.state, 0)
        pytest.skip(str(refusal.value))
    for position in range(trained.state.axis.size):
        weights = trained.method.merge(trained.state, position)
        plain.load_state_dict(weights, strict=True)
        actual = plain(**batch.inputs).logits.detach().numpy()
        np.testing.assert_allclose(actual, logits[position], rtol=0, atol=tolerance)


def test_merging_leaves_the_run_as_it_was(make_backbone: MakeBackbone) -> None:
    """Merging is a copy: writing into the merged weights changes neither stack nor backbone."""
    folder, data = make_backbone("bert"), random_data()
    for name in ("lora", "dora", "bitfit", "peft:LORA", "full"):
        runs = make_runs(name, (0,), steps=2)
        trained = train(folder, runs, data, scored=False)
        before = trained.logits(data)
        for values in trained.method.merge(trained.state, 0).values():
            values.fill_(7)
        assert np.array_equal(trained.logits(data), before)


def test_merge_of_an_ensemble_says_what_to_do(make_backbone: MakeBackbone) -> None:
    """An ensemble is refused with the way out; a single member merges like LoRA."""
    folder, data = make_backbone("bert"), random_data()
    several = train(folder, make_runs("lora_ensemble", (0,), steps=2), data, scored=False)
    with pytest.raises(MergeError, match="4 members cannot be written as one model; use 'lora'"):
        several.method.merge(several.state, 0)
    with pytest.raises(MergeError, match="several"):
        plain_weights(several.state.model, 0)
    config = [{"members": 1}]
    runs = make_runs("lora_ensemble", (0,), configs=config, steps=2)
    single = train(folder, runs, data, scored=False)
    assert single.method.merge(single.state, 0)


def test_merge_of_a_peft_type_without_a_plain_form_gives_pefts_reason(
    make_backbone: MakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEFT itself knows which of its types cannot be folded in, and why."""

    def refuse(_: object) -> None:
        raise NotImplementedError("it has no plain form")

    runs = make_runs("peft:LORA", precision="fp32")
    backbone = load_backbone(make_backbone("gpt2"), runs)
    method, state = set_up(runs, backbone, random_data(), CPU)
    monkeypatch.setattr(peft.PeftModel, "merge_and_unload", refuse, raising=False)
    with pytest.raises(MergeError, match="'peft:LORA': it has no plain form"):
        method.merge(state, 0)


def test_merge_of_a_constant_prediction_is_refused(make_backbone: MakeBackbone) -> None:
    """What is scored without the model has no weights."""
    runs = make_runs("majority")
    backbone = load_backbone(make_backbone("bert"), runs)
    method, state = set_up(runs, backbone, random_data(), CPU)
    with pytest.raises(MergeError, match="has its own prediction rule"):
        method.merge(state, 0)


@pytest.mark.parametrize(
    ("family", "parts"),
    [("bert", ["classifier"]), ("roberta", ["classifier"]), ("gpt2", ["score"])],
)
def test_head_parts_are_the_outermost(
    family: str, parts: list[str], make_backbone: MakeBackbone
) -> None:
    """A head of several layers is named once, by what holds all of it."""
    runs = make_runs("lora")
    backbone = load_backbone(make_backbone(family), runs)
    _, state = set_up(runs, backbone, random_data(), CPU)
    assert head_parts(state.model) == parts == list(backbone.head)


def test_merged_weights_are_those_of_the_bank(make_backbone: MakeBackbone) -> None:
    """Numbers that stand in the bank are folded: the first values change nothing."""
    runs = make_runs("lora", (0, 1))
    backbone = load_backbone(make_backbone("bert"), runs)
    method, state = set_up(runs, backbone, random_data(), CPU)
    plain = backbone.model().state_dict()
    merged = method.merge(state, 1)
    assert merged.keys() == plain.keys()
    body = [name for name in plain if not name.startswith("classifier")]
    assert all(torch.equal(merged[name], plain[name]) for name in body)
