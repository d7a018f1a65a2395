"""Adapters in PEFT's format: loaded by PEFT itself, they score what the engine scored."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.core.errors import MergeError, StoreError
from gapbench.bench.data.batching import collate
from gapbench.bench.execution.export import write
from gapbench.bench.models.merge import Adapter
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

FAMILIES = ["bert", "roberta", "gpt2", "llama"]
PEFT_KINDS = ["peft:LORA", "peft:IA3", "peft:VERA"]
NAMES = [n for n in registry.discover() if n != "peft"] + PEFT_KINDS
CONFIGS = {"peft:IA3": {"settings": {"feedforward_modules": []}}}
# Why PEFT cannot hold what a method trains, or a single adapter what it scores.
REFUSED = {
    "full": "backbone's own parameters trained",
    "head": "only the head trained",
    "bitfit": "is not a low-rank update",
}


def _prepared(name: str, folder: Path, **settings: Any) -> list[Any]:
    """Return runs of a method that its backbone can do; one where runs cannot be stacked."""
    cls = registry.get(name)
    configs = [CONFIGS.get(name, {})]
    runs = make_runs(
        name, (3, 4) if cls.stackable else (3,), configs=configs, outputs=3, **settings
    )
    backbone = load_backbone(folder, runs)
    reason = cls.supports(make_task(3), backbone, cls.Config.model_validate(runs[0].cell.config))
    if reason is not None:
        pytest.skip(reason)
    return runs


def _load(folder: Path, out: Path, dtype: torch.dtype) -> torch.nn.Module:
    """Return the backbone with an adapter folder, as a user of PEFT loads it."""
    config = transformers.AutoConfig.from_pretrained(folder, num_labels=3, pad_token_id=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, dtype=dtype
        )
        return peft.PeftModel.from_pretrained(base, out).eval()


def _refusal(name: str) -> str | None:
    own = registry.get(name).predict is not registry.get("lora").predict
    if own and name not in AT_THE_MEAN:
        return "has its own prediction rule|cannot be written as one model|test time"
    return REFUSED.get(name)


@pytest.mark.parametrize(
    ("name", "family"),
    [(n, f) for f in FAMILIES for n in NAMES if f != "roberta" or n in {"lora", "dora"}],
)  # RoBERTa differs from BERT in its head, which is no method's own
def test_exported_adapter_scores_the_same_in_peft(
    name: str, family: str, make_backbone: MakeBackbone, tmp_path: Path
) -> None:
    """Logits of PEFT's model differ by less than 1e-5; what cannot be exported says why."""
    folder, data = make_backbone(family), random_data(outputs=3)
    if not registry.get(name).trains:
        pytest.skip("nothing is trained")
    runs = _prepared(name, folder, steps=4, precision="fp32")
    if reason := _refusal(name):  # which no step changes
        method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
        with pytest.raises(MergeError, match=reason):
            method.export(state, 0)
        return
    trained = train(folder, runs, data, scored=False)
    position = trained.state.axis.size - 1
    write(tmp_path / "out", trained.method.export(trained.state, position), {})
    model = _load(folder, tmp_path / "out", torch.float32)
    _assert_same_logits(trained, position, model, 1e-5)


def _assert_same_logits(
    trained: Trained, position: int, model: torch.nn.Module, tolerance: float
) -> None:
    data = random_data(outputs=3)
    batch = collate(data.test, np.arange(30)[None], CPU)
    with torch.no_grad():
        actual = model(**batch.inputs).logits
    expected = trained.logits(data)[position]
    np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", [n for n in NAMES if registry.get(n).trains])
def test_export_before_the_first_step_is_possible_or_refused_as_after_training(
    name: str, make_backbone: MakeBackbone
) -> None:
    """What is refused before any training is refused after it, and for no other reason."""
    folder, data = make_backbone("bert"), random_data(outputs=3)
    runs = _prepared(name, folder, steps=4, precision="fp32")
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    if reason := _refusal(name):
        trained = train(folder, runs, data, scored=False)
        for refusing, its_state in ((method, state), (trained.method, trained.state)):
            with pytest.raises(MergeError, match=reason):
                refusing.export(its_state, 0)
    else:
        assert method.export(state, 0).tensors


@pytest.mark.parametrize("name", ["lora", "dora", "rslora"])
def test_adapter_keeps_the_settings_of_each_run(
    name: str, make_backbone: MakeBackbone, tmp_path: Path
) -> None:
    """Rank and alpha in the file are those that were set, and scores agree to 1e-9 in float64."""
    folder, data = make_backbone("bert"), random_data(outputs=3)
    configs = [{"rank": 3, "alpha": 7}, {"rank": 6, "alpha": 0.3}]
    trained = train(folder, make_runs(name, (0, 1), configs=configs, outputs=3), data, scored=False)
    for position, config in enumerate(configs):
        adapter = trained.method.export(trained.state, position)
        assert adapter.config["r"] == config["rank"]
        assert adapter.config["lora_alpha"] == config["alpha"]
        assert adapter.config["rank_pattern"] == adapter.config["alpha_pattern"] == {}
        assert adapter.config["use_dora"] == (name == "dora")
        assert adapter.config["use_rslora"] == (name == "rslora")
        assert adapter.config["modules_to_save"] == ["classifier"]
        write(tmp_path / str(position), adapter, {})
        model = _load(folder, tmp_path / str(position), torch.float64)
        _assert_same_logits(trained, position, model, 1e-9)


def test_adapter_with_a_rank_of_its_own_in_each_layer(
    make_backbone: MakeBackbone, tmp_path: Path
) -> None:
    """Layers of other ranks are listed with rank and alpha; a layer of rank 0 is left out."""
    folder, data = make_backbone("bert"), random_data(outputs=3)
    runs = make_runs("lora", (0,), configs=[{"rank": 4, "alpha": 10}], outputs=3)
    trained = train(folder, runs, data, scored=False)
    for number, layer in enumerate(trained.method.adapters.values()):
        layer.ranks = ((4, 2, 4, 0)[number],)
        layer.lora_A.data[:, layer.ranks[0] :] = 0
    adapter = trained.method.export(trained.state, 0)
    names = list(trained.method.adapters)
    assert adapter.config["target_modules"] == names[:3]
    assert adapter.config["rank_pattern"] == {names[1]: 2}
    assert adapter.config["alpha_pattern"] == {names[1]: 5.0}
    write(tmp_path / "out", adapter, {})
    _assert_same_logits(trained, 0, _load(folder, tmp_path / "out", torch.float64), 1e-9)


def test_adapter_names_are_those_that_peft_saves(
    make_backbone: MakeBackbone, tmp_path: Path
) -> None:
    """PEFT writes the loaded adapter back under the same tensor names."""
    folder, data = make_backbone("roberta"), random_data(outputs=3)
    trained = train(folder, make_runs("dora", (0,), steps=2, outputs=3), data)
    adapter = trained.method.export(trained.state, 0)
    write(tmp_path / "out", adapter, {})
    model = _load(folder, tmp_path / "out", torch.float64)
    saved = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    assert saved.keys() == adapter.tensors.keys()


def test_write_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    """A folder appears whole or not at all, and an empty one is filled."""
    adapter = Adapter({"r": 1}, {"a": torch.zeros(2)})
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write(tmp_path / "file" / "out", adapter, {})
    with pytest.raises(TypeError):
        write(tmp_path / "out", adapter, {"not": {"json", "able"}})
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", adapter, {})
    assert (tmp_path / "empty" / "adapter_config.json").is_file()
