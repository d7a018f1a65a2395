"""The state that a run ended in, kept beside its record: exported without training again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gapbench.bench.core.errors import SettledError
from gapbench.bench.execution.engines.base import Settings
from gapbench.bench.store.record_io import checkpoint_path, read_record
from gapbench.bench.store.store import Store
from gapbench.bench.training.trainer import Trainer
from tests.support.small_suite import SmallSuite, call, make, planned

Capture = pytest.CaptureFixture[str]

METHODS = [
    "lora",
    {"method": "lora", "variant": "rank 1", "config": {"rank": 1}},
    "head",
    "adalora",
    {"method": "lora_early_stop", "training": {"learning_rate": 1e-2, "patience": 1}},
    "majority",
]


@pytest.fixture(scope="module")
def kept(
    tmp_path_factory: pytest.TempPathFactory, make_backbone: Callable[[str], Path]
) -> SmallSuite:
    """A suite whose runs are done and kept; some of them ended before their budget."""
    small = make(tmp_path_factory.mktemp("kept") / "small", make_backbone("bert"))
    budget = {"steps": 12, "batch_size": 4, "evaluations": 6}
    small.write_suite(methods=METHODS, keep="checkpoint", budget=budget)
    from gapbench.bench.cli.main import main

    assert main(["run", *small.running]) == 0
    return small


def _exported(small: SmallSuite, capsys: Capture, record: Path, out: Path) -> Any:
    where = ("--results", small.results, "--data", small.data, "--backbone", small.backbone)
    answer = call(capsys, "export", record, *where, "--out", out, "--json")
    assert answer.code == 0, answer.err
    return answer.json


@pytest.mark.parametrize(
    ("method", "rank"), [("lora", 8), ("lora", 1), ("adalora", 8), ("lora_early_stop", 8)]
)
def test_kept_run_is_exported_as_it_was_scored_without_a_step(
    method: str,
    rank: int,
    kept: SmallSuite,
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores are the record's, and the adapter is the one that training again gives."""
    records = (kept.results / "runs").glob(f"*/*/{method}/*/seed-1.json")
    record = next(path for path in records if read_record(path).cell.config["rank"] == rank)
    file = checkpoint_path(record)
    hidden = file.rename(tmp_path / "hidden")
    again = _exported(kept, capsys, record, tmp_path / "again")
    hidden.rename(file)
    assert not again["kept"]

    def stepped(*_: Any) -> None:
        raise AssertionError("it was trained again")

    monkeypatch.setattr(Trainer, "_step", stepped)
    found = _exported(kept, capsys, record, tmp_path / "kept")
    assert found["kept"]
    assert found["outcome"]["drifts"] == {}
    assert found["outcome"]["largest"] < 1e-6  # scored in a stack, and alone
    tensors = [
        load_file(tmp_path / each / "adapter_model.safetensors") for each in ("again", "kept")
    ]
    for name, values in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], values)


def test_damaged_or_foreign_file_costs_only_another_training(
    kept: SmallSuite, capsys: Capture, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """The log says so, and the export is that of a run that was not kept."""
    first, second, *_ = sorted((kept.results / "runs").glob("*/*/lora/*/seed-*.json"))
    file, other = checkpoint_path(first), checkpoint_path(second)
    whole = file.read_bytes()
    for place, content in enumerate((whole[:500], b"", other.read_bytes())):
        file.write_bytes(content)
        found = _exported(kept, capsys, first, tmp_path / str(place))
        assert not found["kept"]
        assert found["outcome"]["drifts"] == {}
        assert f"{file}: " in caplog.text
        caplog.clear()
    file.write_bytes(whole)


def test_only_what_trains_is_kept_and_only_where_the_suite_asks(
    kept: SmallSuite, done: SmallSuite
) -> None:
    """A file for each trained run; hashes do not depend on the setting."""
    named = {path.relative_to(kept.results).parts[3] for path in _files(kept)}
    assert named == {"lora", "adalora", "lora_early_stop"}
    assert len(_files(kept)) == 8
    assert not _files(done)
    before = [run.hash for run in planned(kept)[0]]
    kept.write_suite(keep=None)
    assert [run.hash for run in planned(kept)[0]] == before
    kept.write_suite(keep="checkpoint")


def test_ray_sends_what_is_kept_to_the_results_folder(kept: SmallSuite, tmp_path: Path) -> None:
    """The tasks of a cluster write nothing themselves."""
    from gapbench.bench.execution.engines.ray import do

    runs, sources = planned(kept)
    mine = [run for run in runs if run.cell.method == "lora"]
    settings = Settings(tmp_path / "far", sources, "cpu", 1, 1, "ray", keeps=True)
    sent = do(mine[:1], settings, 1, None)
    ((record, _, content),) = sent.records
    run, store = mine[0], Store(tmp_path / "far")
    assert not checkpoint_path(store.record_path(run)).exists()
    store.write(record, {}, content)
    assert (
        load_file(checkpoint_path(store.record_path(run))).keys()
        == load_file(checkpoint_path(Store(kept.results).record_path(run))).keys()
    )


def test_state_of_an_attempt_that_was_killed_does_not_pass_for_that_of_a_record(
    done: SmallSuite,
) -> None:
    """A record that is stored without its state has none beside it."""
    (path, *_) = sorted((done.results / "runs").glob("*/*/lora/*/seed-*.json"))
    record = read_record(path)
    path.unlink()
    checkpoint_path(path).write_bytes(b"of another attempt")
    Store(done.results).write(record, {}, b"its own")
    with pytest.raises(SettledError):
        Store(done.results).write(record)
    assert checkpoint_path(path).read_bytes() == b"its own"
    path.unlink()
    Store(done.results).write(record)
    assert not checkpoint_path(path).exists()


def _files(small: SmallSuite) -> list[Path]:
    return list((small.results / "runs").rglob("*.safetensors"))
