"""Adapters in PEFT's format: loaded by PEFT itself, they score what the engine scored."""

import json
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
from gapbench.bench.config.run import Run
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import MergeError, StoreError
from gapbench.bench.data.batching import collate
from gapbench.bench.execution import adapter_readme
from gapbench.bench.execution.export import write
from gapbench.bench.models.merge import Adapter
from gapbench.bench.store.record_io import read_record
from gapbench.bench.store.store import Store
from tests.support.causal_files import TELL
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
from tests.support.small_suite import CELL, SmallSuite, blank, call, make, rows
from tests.support.span_files import FIND
from tests.support.tiny_checkpoints import DECODERS, load, save

Capture = pytest.CaptureFixture[str]

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
    [(n, f) for n in NAMES for f in FAMILIES if f != "roberta" or n in {"lora", "dora"}],
)  # RoBERTa differs from BERT in its head, which is no method's own
def test_exported_adapter_scores_the_same_in_peft(
    name: str, family: str, make_backbone: MakeBackbone, tmp_path: Path
) -> None:
    """Logits of PEFT's model differ by less than 1e-5; what cannot be exported says why."""
    folder, data = make_backbone(family), random_data(outputs=3)
    if not registry.get(name).trains:
        pytest.skip("nothing is trained")
    runs = _prepared(name, folder, steps=4, evaluations=1, precision="fp32")
    if reason := _refusal(name):  # which no step changes
        method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
        with pytest.raises(MergeError, match=reason):
            method.export(state, 0)
        return
    trained = train(folder, runs, data)
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
    runs = _prepared(name, folder, steps=4, evaluations=1, precision="fp32")
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    if reason := _refusal(name):
        trained = train(folder, runs, data)
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
    trained = train(folder, make_runs(name, (0, 1), configs=configs, outputs=3), data)
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
    trained = train(folder, runs, data)
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


def _arguments(done: SmallSuite) -> tuple[object, ...]:
    return ("--results", done.results, "--data", done.data, "--backbone", done.backbone)


def _record(done: SmallSuite, method: str) -> Path:
    (path,) = (done.results / "runs").glob(f"animals/*/{method}/*/seed-1.json")
    return path


def test_export_command_writes_what_the_record_scored(done: SmallSuite, capsys: Capture) -> None:
    """The folder, loaded by PEFT, gives the stored test predictions from the plain text."""
    out, path = done.folder / "adapter", _record(done, "lora")
    before = done.records()
    answer = call(capsys, "export", path, *_arguments(done), "--out", out)
    assert answer.code == 0
    record = json.loads(path.read_text())
    score = record["splits"]["test"]["metrics"]["accuracy"]
    assert answer.out == f"{out}: test accuracy {score} in the record, {score} now\n"
    names = {"adapter_config.json", "adapter_model.safetensors", "gapbench.json", "README.md"}
    assert {p.name for p in out.iterdir()} == names | {"tokenizer.json", "tokenizer_config.json"}
    notes = json.loads((out / "gapbench.json").read_text())
    assert notes["run_hash"] == record["run_hash"]
    assert notes["labels"] == ["no", "yes"]
    assert notes["test_recorded"] == notes["test_now"] == {"accuracy": score}
    assert done.records() == before
    stored = Store(done.results).predictions(read_record(path).run)
    logits = _logits_of_text(out, rows("validation")["sentence"])
    expected = np.stack([stored[f"logit_{k}"].to_numpy() for k in (0, 1)], axis=1)
    np.testing.assert_allclose(logits, expected[stored["example_id"].to_numpy()], atol=1e-5)


def _logits_of_text(out: Path, sentences: list[str]) -> np.ndarray:
    """Return what a user of PEFT gets from the adapter's folder alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.AutoPeftModelForSequenceClassification.from_pretrained(out, num_labels=2)
        folder = json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"]
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        inputs = [tokenizer(text, return_tensors="pt") for text in sentences]
        return torch.cat([model.eval()(**each).logits for each in inputs]).numpy()


@pytest.mark.parametrize(
    ("family", "quantization"),
    [(name, None) for name in ("gpt2", "llama", "gpt_neox", "falcon", "bart", "modernbert")]
    + [("llama", "nf4"), ("modernbert", "nf4")],
)
def test_readme_loads_the_adapter_for_batches(
    family: str,
    quantization: str | None,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its code, run in the folder, scores a batch as the record did, padding included.

    The checkpoints have no padding token, or a head for three classes.
    """
    if quantization is not None:
        pytest.importorskip("bitsandbytes", reason="NF4 needs the extra 'quantized'")
    class_name = "AutoModelForSequenceClassification"
    folder = tmp_path / family
    # The library's own layers compute wrongly on CPUs where a block crosses the end of a row.
    wide = {"hidden_size": 64, "intermediate_size": 128} if quantization else {}
    if family in DECODERS:
        save(folder, family, "AutoModelForCausalLM", pad_token_id=None, **wide)
    else:
        save(folder, family, class_name, num_labels=3, **wide)
    method = {"method": "lora", "config": {"rank": 2, "targets": "all-linear"}}
    few_bits = {"quantization": quantization} if quantization else {}
    small = make(tmp_path / "small", folder, methods=[method], seeds=1, **few_bits)
    small.write_task(max_length=48)
    assert call(capsys, "run", *small.running).code == 0
    (path,) = (small.results / "runs").rglob("seed-0.json")
    out = tmp_path / "adapter"
    arguments = ("--results", small.results, "--data", small.data, "--backbone", folder)
    assert call(capsys, "export", path, *arguments, "--out", out).code == 0
    monkeypatch.chdir(out)
    page = (out / "README.md").read_text()
    load, use = (part.partition("```")[0] for part in page.split("```python")[1:])
    names: dict[str, Any] = {"sentences": rows("validation")["sentence"]}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exec(load + use, names)  # noqa: S102 - what a reader would type
    stored = Store(small.results).predictions(read_record(path).run).sort_by("example_id")
    expected = np.stack([stored[f"logit_{k}"].to_numpy() for k in (0, 1)], axis=1)
    # Without gradients, bitsandbytes may multiply in bfloat16.
    off = 2e-5 if quantization is None else 2e-2
    np.testing.assert_allclose(names["outputs"].logits.numpy(), expected, atol=off)
    assert json.loads((out / "gapbench.json").read_text())["padding_token"] in {"[SEP]", "[PAD]"}
    assert str(tmp_path) not in (out / "tokenizer_config.json").read_text()


@pytest.mark.parametrize("kind", ["generation", "span"])
def test_readme_of_other_kinds_of_task(kind: str, tmp_path: Path) -> None:
    """Language models have no number of labels; span models of decoders need other names."""
    content = FIND if kind == "span" else TELL
    cell = CELL.model_copy(update={"task": Task.model_validate(content)})
    folder = save(tmp_path / "llama", "llama", "AutoModelForCausalLM")
    backbone = load(folder, cell.task.head)
    base = {"base_model_name_or_path": "owner/llama", "revision": "0" * 40}
    page = adapter_readme.page(blank(Run(cell, 0)), backbone, base)
    assert f"'owner/llama', revision='{'0' * 40}'" in page
    assert ("num_labels=2, key_mapping={" in page) == (kind == "span")
    expected = (
        "tokenizer(questions, contexts, padding" if kind == "span" else "tokenizer(prompts, p"
    )
    assert expected in page


def test_export_command_with_json_reports_a_drift(done: SmallSuite, capsys: Capture) -> None:
    """A record whose numbers were changed is exported, and the difference shown."""
    path = _record(done, "lora")
    content = json.loads(path.read_text())
    content["splits"]["test"]["metrics"]["accuracy"] += 0.125
    path.write_text(json.dumps(content))
    out = done.folder / "adapter"
    answer = call(capsys, "export", content["run_hash"], *_arguments(done), "--out", out, "--json")
    assert answer.code == 0
    assert answer.json["folder"] == str(out)
    assert answer.json["score_before"] == pytest.approx(answer.json["score_now"] + 0.125)
    assert list(answer.json["outcome"]["drifts"]) == ["test.accuracy"]
    text = call(capsys, "export", path, *_arguments(done), "--out", done.folder / "again").out
    assert "drifted: test.accuracy: " in text


@pytest.mark.parametrize("method", ["head", "majority"])
def test_export_command_refuses_what_peft_cannot_hold(
    method: str, done: SmallSuite, capsys: Capture
) -> None:
    """The reason is one line, and nothing is written."""
    out = done.folder / "adapter"
    answer = call(capsys, "export", _record(done, method), *_arguments(done), "--out", out)
    assert answer.code == 2
    assert answer.err.startswith("gapbench: error: ")
    assert not out.exists()


def test_export_command_refuses_a_folder_that_holds_something(
    done: SmallSuite, capsys: Capture
) -> None:
    """Nothing is overwritten; the message names the way out."""
    out = done.folder / "adapter"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    answer = call(capsys, "export", _record(done, "lora"), *_arguments(done), "--out", out)
    assert answer.code == 2
    assert "is not empty; give a new or empty folder with --out" in answer.err
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


def test_export_command_refuses_a_run_that_is_not_ok(done: SmallSuite, capsys: Capture) -> None:
    """A diverged run has no adapter, and the message says what it is."""
    path = _record(done, "lora")
    content = json.loads(path.read_text()) | {"status": "diverged"}
    path.write_text(json.dumps(content))
    out = done.folder / "adapter"
    answer = call(capsys, "export", path, *_arguments(done), "--out", out)
    assert answer.code == 2
    assert "is diverged; only a run that is ok has an adapter" in answer.err


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
