"""The command `export`: its files, what it says, and what it refuses."""

import json
import warnings
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
import transformers

from gapbench.bench.store.record_io import read_record
from gapbench.bench.store.store import Store
from tests.support.small_suite import SmallSuite, call, rows

Capture = pytest.CaptureFixture[str]


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
    assert answer.out == f"{out}: trained again; test accuracy {score} in the record, {score} now\n"
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


def test_export_refuses_a_backbone_that_a_run_would_refuse(
    done: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trains again, and checks what it trains on as a run does."""
    monkeypatch.setattr("gapbench.bench.execution.export.checked_backbone", lambda *_: "too old")
    out = done.folder / "adapter"
    answer = call(capsys, "export", _record(done, "lora"), *_arguments(done), "--out", out)
    assert answer.code == 2
    assert "cannot be trained again here: too old" in answer.err
    assert not out.exists()


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
