"""A results folder that version 0.1 wrote is read, continued and repeated by the code of today.

``results_0_1`` holds a suite with two tasks, two variants of LoRA and skipped runs, made by
``gapbench run tiny.yaml`` and ``gapbench tune tiny.yaml --methods lora --tasks syn_sentiment
--trials 8``.
"""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.reproduce import compare
from gapbench.bench.experiment import suite as suites
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store
from tests.support.small_suite import call

Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("one_thread")

MADE = Path(__file__).parent / "results_0_1"
TASKS = {"syn_sentiment": "tiny-encoder", "syn_choice": "tiny-decoder"}
LORA = "runs/syn_sentiment/tiny-encoder/lora/77cf7d807aab8ba4"  # not tuned


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the suite and its results, as the working directory."""
    monkeypatch.chdir(shutil.copytree(MADE, tmp_path / "old").parent / "old")
    return tmp_path / "old"


def records(root: Path) -> Iterator[Record]:
    """Yield every record below a results folder; all can be read."""
    for item in Store(root).records():
        assert isinstance(item, Record), item
        yield item


def test_suite_has_the_run_hashes_of_old() -> None:
    """The grid expands to the plan that is stored; a run of old is a run of today."""
    suite, path = suites.load(str(MADE / "tiny.yaml"))
    expanded = {entry.run.hash for entry in suites.expand(suite, Sources(), path)}
    plan = json.loads((MADE / "results" / "plans" / "tiny.json").read_text())["runs"]
    rows = {row["run_hash"]: row for row in plan}
    grid = {key for key, row in rows.items() if "tuned" not in row["variant"]}
    assert len(grid) == 24
    assert expanded == grid
    stored = {record.run_hash: record for record in records(MADE / "results")}
    assert stored.keys() == rows.keys()
    for record in stored.values():
        assert Run(record.cell, record.seed).hash == record.run_hash
        assert record.cell.hash == record.cell_hash
        assert rows[record.run_hash]["path"] == str(Store(Path()).record_path(record.run))


def test_status_counts_what_is_there(folder: Path, capsys: Capture) -> None:
    """Runs by status, studies with their trials, and the reasons of the skipped runs."""
    answer = call(capsys, "status", folder / "results", "--json")
    assert answer.code == 0
    assert answer.json[0] == {"suite": "tiny", "ok": 22, "skipped": 6}
    studies = [row for row in answer.json if "study" in row]
    assert [(row["trials"], row["spent"], row["left"]) for row in studies] == [(8, 8.0, 0.0)] * 2
    reasons = [row["cause"] for row in answer.json if "failure" in row]
    assert len(reasons) == 3
    assert "a llama backbone has no bias terms" in reasons


def test_report_shows_every_cell(folder: Path, capsys: Capture) -> None:
    """The page, the PDF and the tables are made; the leaderboard has a row a cell."""
    answer = call(capsys, "report", folder / "results", "--out", folder / "report")
    assert answer.code == 0
    for name in answer.out.split():
        assert Path(name).exists()
    with (folder / "report" / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    methods = ["head", "majority", "lora", "lora", "bitfit", "untuned"]
    assert Counter((row["task"], row["method"]) for row in rows) == Counter(
        [(task, method) for task in TASKS for method in methods] + [("syn_sentiment", "lora")] * 2
    )
    with (folder / "report" / "runs.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 28


def test_leaderboard_and_comparison_are_of_the_stored_scores(folder: Path, capsys: Capture) -> None:
    """A score of the leaderboard is the mean of two stored ones, and so are those compared."""
    rows = call(capsys, "leaderboard", folder / "results", "--json").json["rows"]
    mean = sum(
        record.splits["test"].metrics["accuracy"] or 0.0
        for record in records(folder / "results")
        if record.cell_hash == LORA.rpartition("/")[2]
    )
    found = {(row["task"], row["method"], row["variant"]): row["score"] for row in rows}
    assert len(found) == 14
    assert found["syn_sentiment", "lora", "default"] == pytest.approx(mean / 2)
    compared = call(capsys, "compare", "lora", "bitfit", folder / "results", "--json")
    assert compared.code == 0
    assert compared.json


def test_run_of_old_is_reproduced(folder: Path, capsys: Capture) -> None:
    """A stored run comes out with the same numbers; its adapter can be exported."""
    record = folder / "results" / LORA / "seed-1.json"
    place = ("--results", folder / "results")
    answer = call(capsys, "reproduce", record, *place, "--json")
    assert answer.code == 0
    assert answer.json["drifts"] == {}
    answer = call(capsys, "export", record, *place, "--out", folder / "adapter")
    assert answer.code == 0
    assert (folder / "adapter" / "adapter_model.safetensors").exists()


def test_finished_suite_is_left_alone_and_a_lost_run_is_made_again(
    folder: Path, capsys: Capture
) -> None:
    """The command of old finds all its runs done; of a record that is gone it makes that one."""
    store = Store(folder / "results")
    paths = sorted(store.root.glob("runs/**/*.*"))
    before = {path: path.read_bytes() for path in paths}
    expected = list(records(store.root))
    command = ("run", folder / "tiny.yaml", "--results", store.root)
    answer = call(capsys, *command, "--json")
    assert answer.code == 0
    assert answer.json == {"suite": "tiny", "runs": 24, "now": {}}
    assert "24 runs, 24 done before" in answer.err
    assert {path: path.read_bytes() for path in paths} == before
    lost = store.root / LORA / "seed-0.json"
    lost.unlink()
    answer = call(capsys, *command, "--json")
    assert answer.json["now"] == {"ok": 1}
    assert "24 runs, 23 done before" in answer.err
    unchanged = {path: data for path, data in before.items() if path.stem != "seed-0"}
    assert all(path.read_bytes() == data for path, data in unchanged.items())
    now = {record.run_hash: record for record in records(store.root)}
    assert now.keys() == {record.run_hash for record in expected}
    for record in expected:
        assert compare(record, now[record.run_hash]).same


def test_studies_of_old_are_spent(folder: Path, capsys: Capture) -> None:
    """The command that tuned finds its trials and the winners' runs, and makes nothing."""
    flags = ("--methods", "lora", "--tasks", "syn_sentiment", "--trials", "8")
    before = sorted((folder / "results").glob("**/runs/**/*.json"))
    answer = call(
        capsys, "tune", folder / "tiny.yaml", *flags, "--results", folder / "results", "--json"
    )
    assert answer.code == 0
    assert answer.json["now"] == {}
    assert sorted((folder / "results").glob("**/runs/**/*.json")) == before
