"""A batch that is taken part by part makes the step of the whole batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gapbench.bench.adaptation.accumulation import accumulated
from gapbench.bench.adaptation.build import set_up, unsupported_reason
from gapbench.bench.adaptation.losses import run_means
from gapbench.bench.config.run import Cell
from gapbench.bench.data.batching import Batch, collate
from gapbench.bench.data.encoded import IGNORED
from gapbench.bench.models.run_axis import RunAxis
from tests.support import causal_files
from tests.support.causal_files import TELL, make_decoder
from tests.support.conformance import quick_runs
from tests.support.less_memory import TRAINED, assert_same_numbers, changed
from tests.support.small_stack import CPU, MakeBackbone, load_backbone, random_data, train
from tests.support.small_suite import call
from tests.support.small_suite import make as make_suite

WHOLE_BATCH = {"mixup_hidden", "lora_ensemble_equal_passes"}


class Weights(nn.Module):
    """Two runs' weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 5, 3, dtype=torch.float64))


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 20])
def test_tokens_count_alike_in_all_parts(parts: int) -> None:
    """Not a mean of means: runs and parts with other numbers of targets, and a factor a run."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(14, 4, 5, dtype=torch.float64, generator=generator)
    targets = torch.randint(0, 3, (14, 4), generator=generator)
    targets[torch.rand(14, 4, generator=generator) < 0.5] = IGNORED
    targets[:, 0] = 1
    batch = Batch({"x": x, "flag": True}, targets, np.zeros(2, np.int64))
    axis = RunAxis([0, 1], CPU, torch.float64)
    model, sizes = Weights(), []

    def losses(part: Batch) -> Tensor:
        sizes.append(len(part.targets))
        rows = part.inputs["x"].view(2, -1, 5)
        logits = (rows @ model.weight).view(*part.targets.shape, 3)
        each = nn.functional.cross_entropy(
            logits.flatten(0, 1), part.targets.flatten(), reduction="none", ignore_index=IGNORED
        )
        return run_means(each.view_as(part.targets), part.targets, 2)

    factor = torch.tensor([1.0, 3.0], dtype=torch.float64)
    whole = losses(batch)
    (whole * factor).sum().backward()
    expected, model.weight.grad = model.weight.grad, None
    sizes.clear()
    made = accumulated(losses, batch, parts, model, axis)
    (made * factor).sum().backward()
    torch.testing.assert_close(made, whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(model.weight.grad, expected, rtol=0, atol=1e-14)
    assert sum(sizes) == 14
    assert len(sizes) == min(parts, 7)


@pytest.mark.parametrize("name", TRAINED)
def test_training_gives_the_same_numbers(name: str, make_backbone: MakeBackbone) -> None:
    """With every method that does not refuse: 8 examples in 3 parts, with masks."""
    if name in WHOLE_BATCH:
        pytest.skip("it is refused")
    assert_same_numbers(make_backbone("bert"), name, {"accumulation": 3})


@pytest.mark.parametrize("name", ["lora_dropout", "unified_dropout"])
def test_both_settings_give_the_same_numbers(name: str, make_backbone: MakeBackbone) -> None:
    """Layers of a part are repeated with the masks of the part."""
    fields = {"accumulation": 4, "gradient_checkpointing": True}
    assert_same_numbers(make_backbone("llama"), name, fields)


def test_ragged_last_batches_give_the_same_numbers(make_backbone: MakeBackbone) -> None:
    """Of 43 examples, one batch of every epoch has 3, fewer than there are parts."""
    runs, data = quick_runs("lora", (0, 1), steps=8, evaluations=1), random_data(train=43)
    plain = train(make_backbone("bert"), runs, data).state.bank.values
    again = train(make_backbone("bert"), changed(runs, accumulation=5), data).state.bank.values
    torch.testing.assert_close(again, plain, rtol=0, atol=1e-11)


@pytest.mark.parametrize("method", ["lora", "hiddenkey", "lora_dropout"])
def test_generation_weights_tokens(method: str, tmp_path: Path) -> None:
    """Texts of different lengths: the gradients are those of the mean over all target tokens."""
    task = causal_files.make_task(TELL)
    made = causal_files.make(make_decoder(tmp_path / "llama", "llama"), task)
    runs = causal_files.make_runs(task, method, (0, 1))
    found = []
    for each in (runs, changed(runs, accumulation=3)):
        own, state = set_up(each, made.backbone, made.data, CPU)
        own.begin(state, own.phases(own.configs[0])[0], [run.cell.training for run in each], 6)
        state.model.train()
        batch = collate(made.data.train, np.arange(8).reshape(2, 4), CPU)
        counts = {int(row) for row in (batch.targets != IGNORED).sum(dim=1)}
        assert len(counts) > 1
        report = own.step(state, {"train": batch})
        found.append((report.losses, report.gradient_norms, state.bank.values))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_a_part_is_in_memory_at_a_time(make_backbone: MakeBackbone) -> None:
    """Four parts keep rows of a quarter of the batch."""
    (run,) = quick_runs("lora")
    data, kept = random_data(), []
    for each in (run, *changed([run], accumulation=4)):
        method, state = set_up([each], load_backbone(make_backbone("bert"), [run]), data, CPU)
        state.model.train()
        batch = collate(data.train, np.arange(8)[None], CPU)
        sizes: list[int] = []

        def note(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            if tensor.dim() == 3 and tensor.shape[0] != 1:  # hidden states, not numbers of the run
                sizes.append(len(tensor))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            method.batch_losses(state, batch)
        kept.append(max(sizes))
    assert kept[0] == 4 * kept[1]


@pytest.mark.parametrize(
    ("name", "config", "told"),
    [
        ("mixup_hidden", {}, "mixes examples of the whole batch"),
        ("lora_ensemble_equal_passes", {}, "divided between the members"),
        ("bilora", {"estimator": "unrolled"}, "differentiates steps twice"),
        ("flexora", {"estimator": "unrolled"}, "differentiates steps twice"),
        ("peft:LORA", {"settings": {"lora_dropout": 0.1}}, "lora_dropout"),
    ],
)
def test_what_looks_at_the_whole_batch_is_refused(
    name: str, config: dict[str, Any], told: str, make_backbone: MakeBackbone
) -> None:
    """With the reason, and the way out."""
    runs = changed(quick_runs(name, configs=[config]), accumulation=2)
    reason = unsupported_reason(runs[0].cell, load_backbone(make_backbone("bert"), runs))
    assert told in str(reason)
    assert "accumulation is 2" in str(reason)


def test_only_settings_that_are_set_count_for_the_hash() -> None:
    """Runs without them keep their hashes; the records of others say them."""
    (run,) = quick_runs("lora")
    cell = run.cell
    assert not {"accumulation", "gradient_checkpointing"} & cell.model_dump(mode="json").keys()
    own: list[dict[str, Any]] = [{}, {"accumulation": 2}, {"gradient_checkpointing": True}]
    cells = [cell.changed(fields) for fields in own]
    assert len({each.hash for each in cells}) == 3
    assert Cell.model_validate(cell.model_dump() | {"accumulation": 1}).hash == cell.hash
    assert [each.memory_format for each in cells] == [
        *("fp64", "fp64, accumulation 2", "fp64, gradient checkpointing")
    ]


def test_suite_runs_resumes_and_reproduces(
    tmp_path: Path, make_backbone: MakeBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scores are those of the plain suite; refused methods are skipped with the reason."""
    folder = make_backbone("bert")
    small = make_suite(tmp_path, folder, methods=["lora", "mixup_hidden"], seeds=2)
    assert call(capsys, "run", *small.running).code == 0
    small.write_suite(accumulation=2, gradient_checkpointing=True)
    checked = call(capsys, "check", *small.planning, "--json")
    verdicts = {row["method"]: row["verdict"] for row in checked.json}
    assert verdicts["lora"] == "ok"
    assert "mixes examples" in verdicts["mixup_hidden"]
    assert call(capsys, "run", *small.running).code == 0
    records = small.records()
    assert len(records) == 8
    own = [n for n, text in records.items() if b'"accumulation":2' in text.replace(b" ", b"")]
    assert len(own) == 4
    stored = small.results / next(name for name in own if "/lora/" in name)
    again = call(capsys, "reproduce", stored, "--data", small.data, "--backbone", small.backbone)
    assert again.code == 0


def test_more_parts_than_examples_are_refused(
    tmp_path: Path, make_backbone: MakeBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names both fields."""
    small = make_suite(tmp_path, make_backbone("bert"), accumulation=1000)
    told = call(capsys, "check", *small.planning)
    assert told.code == 2
    assert "field 'accumulation' is 1000, but a batch has" in told.err
    assert "batch_size" in told.err
    small.write_suite(accumulation=0)
    assert "accumulation" in call(capsys, "check", *small.planning).err


@pytest.mark.parametrize("name", ["lora", "drop_lora"])
def test_positions_that_no_example_has_are_masked_as_in_the_whole_batch(
    name: str, make_backbone: MakeBackbone
) -> None:
    """DeBERTa projects its relative positions once for all examples, by layers that drop."""
    for parts, count in ((2, 1), (2, 2), (8, 1), (8, 2)):
        folder, fields = make_backbone("deberta-v2"), {"accumulation": parts}
        assert_same_numbers(folder, name, fields, runs_at_once=count)
