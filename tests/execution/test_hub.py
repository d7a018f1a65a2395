"""Pushing adapters: to a hub on this computer, with its token kept out of everything."""

import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml

from gapbench.bench.execution import export as exporting
from tests.support.fake_hub import COMMIT, GATED, TOKEN, Hub, running
from tests.support.small_stack import MakeBackbone
from tests.support.small_suite import SmallSuite, call, make, rows

Capture = pytest.CaptureFixture[str]
HUB_ID = {"base_model_name_or_path": "owner/tiny", "revision": "0" * 40}


@pytest.fixture(scope="module")
def done(
    tmp_path_factory: pytest.TempPathFactory, make_backbone: MakeBackbone
) -> Iterator[SmallSuite]:
    """A suite with the runs of two seeds of LoRA done."""
    small = make(tmp_path_factory.mktemp("hub") / "small", make_backbone("bert"))
    from gapbench.bench.cli.main import main

    assert main(["run", *small.running, "--methods", "lora"]) == 0
    return small


@pytest.fixture(name="hub")
def _hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the client's variables name."""
    with running() as started:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", started.address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield started


# Several commands in one process, since it takes seconds to start.
ASKING = """
import json, sys
from gapbench.bench.cli.main import main
from gapbench.bench.execution import hub

hub.check("owner/name")
for command in json.load(sys.stdin):
    assert main(command) == 2, command
"""


def arguments(done: SmallSuite, out: Path) -> list[object]:
    """Return the arguments of an export of the first seed's run."""
    (path,) = (done.results / "runs").rglob("seed-0.json")
    where = ["--results", done.results, "--data", done.data, "--backbone", done.backbone]
    return ["export", path, *where, "--out", out]


def as_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the backbone have a hub id, as one that was downloaded from there has."""
    monkeypatch.setattr(exporting, "_base_model", lambda *_: HUB_ID)


def test_pushed_folder_is_the_exported_one(
    done: SmallSuite, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """One commit to a private repository; the token is in none of its files and in no log."""
    as_of_the_hub(monkeypatch)
    out = tmp_path / "adapter"
    answer = call(capsys, *arguments(done, out), "--push", "owner/name", "--yes")
    assert answer.code == 0, answer.err
    assert f"pushed: {hub.address}/owner/name/commit/{COMMIT}" in answer.out
    assert hub.repositories == {"owner/name": "private"}
    assert hub.files == {path.name: path.read_bytes() for path in out.iterdir()}
    everything = [
        *hub.files.values(),
        *(p.read_bytes() for p in done.folder.rglob("*") if p.is_file()),
    ]
    assert not any(TOKEN.encode() in content for content in everything)
    texts = [content for name, content in hub.files.items() if not name.endswith("safetensors")]
    assert not any(str(done.folder.parent).encode() in content for content in texts)
    assert TOKEN not in answer.out + answer.err


def test_card_holds_the_numbers_of_the_record_and_its_code_runs(
    done: SmallSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """What the hub reads is valid; scores, gap and calibration are those that were stored."""
    out = tmp_path / "adapter"
    call(capsys, *arguments(done, out))
    record = json.loads(next((done.results / "runs").rglob("seed-0.json")).read_text())
    page = (out / "README.md").read_text()
    front = yaml.safe_load(page.split("---\n")[1])
    assert front["library_name"] == "peft"
    assert front["tags"] == ["gapbench", "lora"]
    assert front["pipeline_tag"] == "text-classification"
    (result,) = front["model-index"][0]["results"]
    accuracy = record["splits"]["test"]["metrics"]["accuracy"]
    assert result["metrics"] == [{"type": "accuracy", "value": accuracy}]
    assert result["dataset"] == {"name": "animals", "split": "validation", "type": "animals"}
    score, gap = f"{accuracy:.4f}", f"{record['gaps']['accuracy']:.4f}"
    assert f"{score} | {gap} |" in page
    ece = record["calibration"]["ece"], record["calibration"]["ece_calibrated"]
    assert f"| ECE | {ece[0]:.4f} | {ece[1]:.4f} |" in page
    assert "trained with 2 seeds" in page
    assert f"step {record['checkpoint']['step']}, of {len(record['curve'])} evaluation" in page
    assert "`default`, which are those of the suite" in page
    monkeypatch.chdir(out)
    load, use = (part.partition("```")[0] for part in page.split("```python")[1:])
    names: dict[str, Any] = {"sentences": rows("validation")["sentence"]}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exec(load + use, names)  # noqa: S102 - what a reader would type
    assert isinstance(names["model"].base_model.model, transformers.BertForSequenceClassification)
    assert names["outputs"].logits.shape == (16, 2)


@pytest.mark.parametrize(("typed", "code", "said"), [("n\n", 0, "nothing"), ("", 2, "give --yes")])
def test_pushing_asks_first(
    typed: str,
    code: int,
    said: str,
    done: SmallSuite,
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    """Without a yes nothing is trained, written or asked of the hub."""
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    answer = call(capsys, *arguments(done, tmp_path / "adapter"), "--push", "owner/name")
    assert answer.code == code
    assert "Push the adapter, its tokenizer and a card" in answer.err
    assert said in answer.err
    assert not hub.paths
    assert not (tmp_path / "adapter").exists()


@pytest.mark.usefixtures("hub")
def test_push_that_cannot_be_is_refused_before_training(
    done: SmallSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A backbone that only this computer has, an id that is none, no token, no network."""
    out = tmp_path / "adapter"

    def error(*more: str) -> str:
        answer = call(capsys, *arguments(done, out), "--yes", *more)
        assert answer.code == 2
        assert not out.exists()
        return answer.err

    assert "adapts a backbone that is no repository of the hub" in error("--push", "owner/name")
    assert "give OWNER/NAME" in error("--push", "name")
    assert "--push a//b: give OWNER" in error("--push", "a//b")
    assert "leave out one of the two" in error("--push", "owner/name", "--offline")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    said = error("--push", "owner/name")
    assert "the hub does not know you" in said
    assert "hf_wrong" not in said


@pytest.mark.usefixtures("hub")
def test_refused_push_keeps_the_folder(
    done: SmallSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The message says how to send it later."""
    as_of_the_hub(monkeypatch)
    out = tmp_path / "adapter"
    monkeypatch.setattr(
        "gapbench.bench.execution.hub.HfApi.create_repo",
        lambda *_, **__: (_ for _ in ()).throw(ConnectionError("gone")),
    )
    answer = call(capsys, *arguments(done, out), "--push", "owner/name", "--yes")
    assert answer.code == 2
    assert f"gone; send it later with: hf upload owner/name {out}" in answer.err
    assert (out / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("proxied", [False, True])
def test_real_process_asks_its_endpoint_and_tells_the_way_into_gated_repositories(
    proxied: bool, hub: Hub, tmp_path: Path, make_backbone: MakeBackbone
) -> None:
    """Backbone and data, read and fetched, by somebody who is logged in but has no access.

    The token is where `hf auth login` puts it; without `HF_HOME` nobody would be logged in.
    """
    small = make(tmp_path / "small", make_backbone("bert"))
    pinned = f"{GATED}@{'0' * 40}"
    out = ["--out", str(tmp_path / "mirror")]
    gated_backbone = [
        ["check", *small.planning, "--backbone", pinned],
        ["fetch", *small.planning, "--backbone", pinned, *out],
    ]
    gated = tmp_path / "gated.yaml"
    (tmp_path / "tasks").mkdir()
    task = yaml.safe_load(small.task_path.read_text()) | {"name": "kept"}
    task["source"] = {"hub": GATED, "revision": "0" * 40}
    (tmp_path / "tasks" / "kept.yaml").write_text(yaml.safe_dump(task))
    gated.write_text(yaml.safe_dump(yaml.safe_load(small.path.read_text()) | {"tasks": ["kept"]}))
    gated_data = [["check", str(gated)], ["fetch", str(gated), *out]]
    home = {name: str(tmp_path / "home") for name in ("HF_HOME", "XDG_CACHE_HOME")}
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text(TOKEN)
    place = "http://hub.invalid" if proxied else ""
    reached = {"HF_ENDPOINT": place or hub.address, "NO_PROXY": "", "no_proxy": ""}
    reached |= {"HTTP_PROXY": hub.address, "http_proxy": hub.address} if proxied else {}
    online = {f"{name}_OFFLINE": "0" for name in ("HF_HUB", "HF_DATASETS", "TRANSFORMERS")}
    done = subprocess.run(
        [sys.executable, "-c", ASKING],
        input=json.dumps(gated_backbone + gated_data),
        env={k: v for k, v in os.environ.items() if k != "HF_TOKEN"} | home | online | reached,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("log in with `hf auth login` or set HF_TOKEN") == 4, done.stderr
    assert {f"{place}/api/whoami-v2"} < set(hub.paths)
    assert any(path.startswith(f"{place}/{GATED}/resolve/") for path in hub.paths)
    assert any(path.startswith(f"{place}/datasets/{GATED}/") for path in hub.paths)
    assert TOKEN not in done.stdout + done.stderr
