"""A backbone that cannot compute in the precision asked for is skipped, with the way out."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gapbench.bench.config.head import LANGUAGE_MODEL, SEQUENCE_CLASSIFICATION
from gapbench.bench.config.run import Cell
from gapbench.bench.data.sources import Sources
from gapbench.bench.profiling import auto_precision, precision_check
from gapbench.bench.store.store import Store
from tests.support import tiny_families
from tests.support.small_suite import call, make, numbers, planned

CPU = torch.device("cpu")


def cell_of(family: str, precision: str, folder: Path) -> tuple[Cell, Sources]:
    """Return the cell of a classifier of a family in a precision."""
    backbone = tiny_families.save(family, folder / family, SEQUENCE_CLASSIFICATION)
    small = make(folder / "small", backbone, methods=["head"])
    (run, _), sources = planned(small)
    return Cell.model_validate(run.cell.model_dump() | {"precision": precision}), sources


@pytest.mark.parametrize("family", ["mra", "minimax", "openai-gpt"])
def test_check_and_run_skip_with_the_field_and_the_way_out(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table of `check` and the records of `run` give the same reason; no run fails."""
    backbone = tiny_families.save(family, tmp_path / family, SEQUENCE_CLASSIFICATION)
    small = make(
        tmp_path / "small",
        backbone,
        methods=["untuned", "head", "full"],
        precision="bf16",
        seeds=1,
    )
    checked = call(capsys, "check", *small.planning, "--json")
    (reason,) = {row["verdict"] for row in checked.json}
    assert reason.startswith(f"backbone '{family}': field 'precision' is bf16, in which its layers")
    assert "RuntimeError: " in reason
    assert reason.endswith("set it to fp32")
    assert "is valid: 3 runs, of which 3 will be skipped" in checked.err
    assert call(capsys, "run", *small.running).code == 0
    records = numbers(Store(small.results)).values()
    assert {(each["status"], each["detail"]) for each in records} == {("skipped", reason)}
    assert len(records) == 3
    assert call(capsys, "plan", *small.running, "--json").json[0]["done"] == 1
    way_out = call(capsys, "check", *small.planning, "--precision", "fp32", "--json")
    assert {row["verdict"] for row in way_out.json} == {"ok"}


def test_bench_names_the_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Times of a precision that fails end in a message, and in no traceback."""
    folder = tiny_families.save("openai-gpt", tmp_path, SEQUENCE_CLASSIFICATION)
    size = ["--stacks", "1", "--batch-size", "2", "--tokens", "8"]
    answer = call(capsys, "bench", "--backbone", folder, "--precision", "bf16", *size)
    assert answer.code == 2
    assert f"backbone '{folder}', method 'lora': with precision bf16, Runtime" in answer.err
    assert "give --precision fp32" in answer.err


@pytest.mark.parametrize("family", ["bert", "mixtral", "minimax", "gpt_oss", "qwen3_moe"])
def test_experts_compute_in_double_precision(family: str, tmp_path: Path) -> None:
    """The library's fused product of experts knows no float64; its plain one does."""
    assert precision_check.unsupported_reason(*cell_of(family, "fp64", tmp_path), CPU) is None


@pytest.mark.parametrize(
    ("family", "precision"),
    [("xglm", "bf16"), ("xglm", "fp64"), ("xlnet", "fp64"), ("mra", "fp64")],
)
def test_other_families_that_mix_types(family: str, precision: str, tmp_path: Path) -> None:
    """Sinusoids, masks and weights that the library keeps in float32 whatever is asked for."""
    head = LANGUAGE_MODEL if family == "xglm" else SEQUENCE_CLASSIFICATION
    backbone = tiny_families.load(family, tmp_path, head, precision=precision)
    assert precision_check._error(backbone, precision, CPU)
    assert precision_check._error(backbone, "fp32", CPU) is None


@pytest.mark.parametrize("family", ["bert", "t5", "mixtral", "mamba", "xlnet"])
def test_families_that_compute_in_bf16(family: str, tmp_path: Path) -> None:
    """Nothing is skipped that would run."""
    head = LANGUAGE_MODEL if family == "mamba" else SEQUENCE_CLASSIFICATION
    assert precision_check._error(tiny_families.load(family, tmp_path, head), "bf16", CPU) is None


@pytest.mark.parametrize(("family", "chosen"), [("mra", "fp32"), ("bert", "bf16")])
def test_auto_takes_a_precision_that_every_backbone_has(
    family: str,
    chosen: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A faster precision in which all runs would be skipped is of no use."""
    monkeypatch.setattr(auto_precision, "choose", lambda *_: "bf16")
    backbone = tiny_families.save(family, tmp_path / family, SEQUENCE_CLASSIFICATION)
    small = make(tmp_path / "small", backbone, methods=["head"], precision="auto", seeds=1)
    answer = call(capsys, "check", *small.planning, "--json")
    assert answer.json[0]["verdict"] == "ok"
    why = ", as backbone 'mra' cannot compute in bf16" if family == "mra" else ""
    assert f"precision auto: {chosen} on this machine{why}\n" in answer.err


def test_result_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same backbone is tried once in each precision."""
    asked = cell_of("mra", "bf16", tmp_path)
    reason = precision_check.unsupported_reason(*asked, CPU)
    monkeypatch.setattr(precision_check, "_error", None)
    assert reason is not None
    assert precision_check.unsupported_reason(*asked, CPU) == reason


def test_failure_in_every_precision_is_no_matter_of_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs report it; it is not remembered as the precision's."""
    tried: list[Any] = []

    def fail(_backbone: object, precision: str, _device: object) -> str:
        tried.append(precision)
        return "RuntimeError: whatever the type"

    monkeypatch.setenv("GAPBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(precision_check, "_error", fail)
    asked = cell_of("bert", "bf16", tmp_path)
    for _ in range(2):
        assert precision_check.unsupported_reason(*asked, CPU) is None
    assert tried == ["bf16", "fp32"] * 2
