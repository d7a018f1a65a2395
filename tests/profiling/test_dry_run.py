"""`check` tries the longest inputs of every cell; what would fail is a reason in its table."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import Method
from gapbench.bench.profiling import dry_run
from gapbench.bench.tasks import eval_subset
from gapbench.methods._shared.lowrank import StackedLora
from gapbench.methods.lora import Lora
from tests.support import causal_files
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    load_backbone,
    make_runs,
    make_task,
    random_data,
)
from tests.support.small_suite import call, make
from tests.support.tiny_checkpoints import load, save

Capture = pytest.CaptureFixture[str]
METHODS = [name for name in registry.discover() if name != "peft"] + ["peft:LORA"]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_passes_on_a_sound_backbone(name: str, make_backbone: MakeBackbone) -> None:
    """Each phase makes its step; the method is told nothing else than in a run."""
    runs = make_runs(name, outputs=3, precision="fp32")
    backbone, cell = load_backbone(make_backbone("bert"), runs), runs[0].cell
    method, config = registry.of_cell(cell)
    if reason := method.unsupported_reason(make_task(3), backbone, config):
        pytest.skip(reason)
    assert dry_run.failure(runs[0], backbone, random_data(outputs=3), CPU) is None


def test_wrong_start_is_found_before_any_run_is(
    make_backbone: MakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dry run compares the adapted model with the plain one, as a run does."""
    runs = make_runs("lora", outputs=3, precision="fp32")
    backbone = load_backbone(make_backbone("bert"), runs)
    adapt = Lora.adapt

    def wrong(self: Lora, *given: Any) -> Any:
        model = adapt(self, *given)
        for module in model.modules():
            if isinstance(module, StackedLora):
                torch.nn.init.ones_(module.lora_B)
        return model

    monkeypatch.setattr(Lora, "adapt", wrong)
    found = dry_run.failure(runs[0], backbone, random_data(outputs=3), CPU)
    assert found is not None
    assert "before the first step its logits" in found


@pytest.mark.parametrize("task", [causal_files.TELL, causal_files.CHOOSE, causal_files.TALK])
def test_language_models_pass(task: dict[str, Any], tmp_path: Path) -> None:
    """Packed rows are scored as runs do."""
    folder = causal_files.make_decoder(tmp_path / "gpt2", "gpt2")
    made = causal_files.make(folder, causal_files.make_task(task))
    (run,) = causal_files.make_runs(made.task)
    assert dry_run.failure(run, made.backbone, made.data, CPU) is None


def test_widest_row_of_scoring_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of many short sequences is wider than the longest sequence."""
    folder = causal_files.make_decoder(tmp_path / "gpt2", "gpt2")
    made = causal_files.make(folder, causal_files.make_task(causal_files.CHOOSE))
    (run,) = causal_files.make_runs(made.task, "untuned")
    monkeypatch.setattr(eval_subset, "_CPU_TOKENS", 100)
    shapes: list[tuple[int, ...]] = []
    predict = Method.predict

    def noting(self: Any, state: Any, batch: Any) -> Any:
        shapes.append(tuple(batch.inputs["input_ids"].shape))
        return predict(self, state, batch)

    monkeypatch.setattr(Method, "predict", noting)
    made.untuned()
    whole = max(shapes, key=lambda shape: shape[1])
    shapes.clear()
    assert dry_run.failure(run, made.backbone, made.data, CPU) is None
    assert whole in shapes
    assert whole[1] > made.data.test.lengths.max()


def test_first_batch_of_scoring_is_as_large_as_in_a_run(
    make_backbone: MakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds as many of the longest texts as a batch takes, and the shortest text."""
    runs, data = make_runs("untuned", outputs=3), random_data(outputs=3)
    _, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
    every = sorted(data.test.lengths)
    monkeypatch.setattr(eval_subset, "_CPU_TOKENS", 3 * every[-1])
    found = data.test.lengths[dry_run._first_scored(state, data.test)]
    assert sorted(found) == [every[0], *every[-3:]]


def test_texts_that_cannot_be_written_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prediction of a method's own may not know the cache of decoding."""
    folder = causal_files.make_decoder(tmp_path / "gpt2", "gpt2")
    made = causal_files.make(folder, causal_files.make_task(causal_files.TELL))
    (run,) = causal_files.make_runs(made.task)
    predict = Method.predict

    def without_cache(self: Any, state: Any, batch: Any) -> Any:
        if batch.inputs.get("use_cache"):
            raise TypeError("no cache here")
        return predict(self, state, batch)

    monkeypatch.setattr(Method, "predict", without_cache)
    reason = dry_run.failure(run, made.backbone, made.data, CPU)
    assert reason is not None
    assert "TypeError: no cache here" in reason


@pytest.mark.parametrize("family", ["roberta", "camembert", "mpnet", "xlm-roberta", "xlnet", "t5"])
def test_window_is_as_long_as_the_model_reads(family: str, tmp_path: Path, capsys: Capture) -> None:
    """Positions that begin after the padding token are not counted; -1 means no bound."""
    folder = save(tmp_path / family, family)
    (folder / "tokenizer_config.json").write_text(
        (folder / "tokenizer_config.json").read_text().replace('"model_max_length": 64', '"x": 1')
    )
    reader = load(folder).reader
    assert reader.window in {64, 63, 62} or reader.positions is None
    small = make(tmp_path / "small", folder, methods=["untuned", "head"])
    small.write_task(max_length=512)
    long = {"sentence": ["cat " * 300, *["dog"] * 39], "label": [0, 1] * 20}
    small.write_rows("train", long)
    small.write_rows("validation", long)
    answer = call(capsys, "check", *small.planning, "--json")
    assert [row["verdict"] for row in answer.json] == ["ok", "ok"]


def test_failure_is_a_verdict_and_makes_the_suite_invalid(tmp_path: Path, capsys: Capture) -> None:
    """A head that cannot be drawn is told by the table, with the number of runs."""
    folder = save(tmp_path / "perceiver", "perceiver", "AutoModelForSequenceClassification")
    small = make(tmp_path / "small", folder, methods=["untuned", "head"])
    answer = call(capsys, "check", *small.planning, "--json")
    assert answer.code == 2
    for row in answer.json:
        assert row["verdict"].startswith("fails: backbone 'perceiver': its head has perceiver.dec")
    assert "is not valid: 4 runs would fail (see their verdict); 4 runs" in answer.err


def test_index_beyond_an_embedding_is_told(make_backbone: MakeBackbone) -> None:
    """Whatever the model raises on the longest input is the reason."""
    runs = make_runs("head", outputs=3, precision="fp32")
    data = random_data(outputs=3)
    longest = np.flatnonzero(data.train.lengths == data.train.lengths.max())
    data.train.input_ids[data.train.offsets[longest]] = 999
    backbone = load_backbone(make_backbone("bert"), runs)
    reason = dry_run.failure(runs[0], backbone, data, CPU)
    assert reason == "on the longest inputs, IndexError: index out of range in self"


def test_loss_that_is_no_number_is_told(
    make_backbone: MakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from weights that overflow."""
    losses = Method.losses
    monkeypatch.setattr(Method, "losses", lambda *args: losses(*args) * torch.nan)
    runs = make_runs("head", outputs=3)
    reason = dry_run.failure(
        runs[0], load_backbone(make_backbone("bert"), runs), random_data(outputs=3), CPU
    )
    assert reason == "the loss of the first step is not a finite number"


def test_cells_that_differ_in_the_optimiser_alone_share_a_dry_run(
    tmp_path: Path,
    make_backbone: MakeBackbone,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A grid of learning rates costs one."""
    tried = []

    def noting(run: Any, *_: Any) -> None:
        tried.append(run.cell.method)

    monkeypatch.setattr(dry_run, "failure", noting)
    rates = [
        {"method": "lora", "variant": f"{rate}", "training": {"learning_rate": rate}}
        for rate in (0.001, 0.01)
    ]
    small = make(tmp_path / "small", make_backbone("bert"), methods=["head", *rates])
    assert len(call(capsys, "check", *small.planning, "--json").json) == 3
    assert tried == ["head", "lora"]


@pytest.mark.parametrize("size", [1, 2, 8, 1000])
def test_a_whole_batch_of_the_longest_is_tried(size: int) -> None:
    """It has the size of a real batch, the longest examples and the shortest."""
    train = random_data().train
    (batch,) = dry_run._longest_batch(train, size)
    longest = np.sort(train.lengths)[::-1]
    assert len(set(batch)) == len(batch) == min(size, len(train))
    if size == 1:
        assert train.lengths[batch] == longest[:1]
    else:
        expected = [*longest[: len(batch) - 1], longest[-1]]
        assert sorted(train.lengths[batch]) == sorted(expected)


def test_precision_that_a_method_lacks_is_told(make_backbone: MakeBackbone) -> None:
    """PEFT's AdaMSS multiplies its input in float32 with rounded weights."""
    (run,) = make_runs("peft:ADAMSS", precision="bf16")
    backbone = load_backbone(make_backbone("bert"), [run])
    reason = dry_run.failure(run, backbone, random_data(), CPU)
    assert reason is not None
    assert reason.startswith("with precision bf16, on the longest inputs, RuntimeError")
    assert reason.endswith("set field 'precision' to fp32")


def test_longest_and_shortest_are_tried() -> None:
    """Each is found among the examples of a split."""
    split = random_data().test
    found = split.lengths[dry_run._extremes(split)]
    assert {*found} == {split.lengths.min(), split.lengths.max()}
