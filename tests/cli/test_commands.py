"""The command line from end to end, on a suite of a few small runs."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.support.small_suite import SmallSuite, call, make

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of 6 runs, none of them done."""
    return make(tmp_path / "small", make_backbone("bert"))


@pytest.mark.usefixtures("memory_measured")
def test_check_reports_every_cell(small: SmallSuite, capsys: Capture) -> None:
    """`check` loads data and backbone, counts the splits and trains nothing."""
    answer = call(capsys, "check", *small.planning, "--json")
    assert answer.code == 0
    assert [row["method"] for row in answer.json] == ["majority", "head", "lora"]
    for row in answer.json:
        assert (row["train"], row["validation"], row["test"]) == (32, 8, 16)
        assert (row["steps"], row["verdict"]) == (4, "ok")
    estimate, memory, valid = answer.err.splitlines()[-3:]
    assert memory.startswith("memory of a worker")
    assert re.match(r"about \d+ s with 1 worker; measured on this machine", estimate)
    assert valid == "suite 'small' is valid: 6 runs"
    assert not small.results.exists()


def test_check_says_what_will_be_skipped(small: SmallSuite, capsys: Capture) -> None:
    """A method that cannot do a case is announced with its reason."""
    small.write_suite(methods=[{"method": "lora", "config": {"rank": 25}}])
    answer = call(capsys, "check", *small.planning, "--json")
    assert answer.err.endswith("is valid: 2 runs, of which 2 will be skipped (see their verdict)\n")
    (row,) = answer.json
    assert row["verdict"].startswith("rank is 25, but layer ")
    assert row["verdict"].endswith(" allows 1 to 24")


def test_check_goes_on_after_a_broken_backbone(small: SmallSuite, capsys: Capture) -> None:
    """What is wrong with one is the verdict of its rows and a line; the other rows are checked."""
    broken = Path(shutil.copytree(small.backbone, small.folder / "broken"))
    weights = load_file(broken / "model.safetensors")
    lost = next(name for name in weights if name.endswith("attention.self.query.bias"))
    del weights[lost]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    small.write_suite(backbones=[small.backbone, str(broken)], methods=["lora"])
    answer = call(capsys, "check", *small.planning, "--json")
    assert answer.code == 2
    verdicts = {row["backbone"]: row["verdict"] for row in answer.json}
    assert verdicts.pop("broken").startswith("fails: ")
    assert list(verdicts.values()) == ["ok"]
    assert f"{lost};" in answer.err
    assert "is not valid: 2 runs would fail (see their verdict); 4 runs" in answer.err


def test_plan_of_runs_that_train_nothing_has_a_time(small: SmallSuite, capsys: Capture) -> None:
    """They say nothing of others' time, and yet their own is known."""
    small.write_suite(methods=["untuned", "majority"])
    answer = call(capsys, "plan", *small.running)
    assert answer.code == 0
    assert re.search(r"about \d+ s with 1 worker", answer.err)


@pytest.mark.usefixtures("memory_measured")
def test_plan_counts_what_is_left(small: SmallSuite, capsys: Capture) -> None:
    """`plan` writes nothing, and shows what is done and how long the rest will take."""
    answer = call(capsys, "plan", *small.running, "--json")
    assert answer.code == 0
    assert [(row["runs"], row["done"]) for row in answer.json] == [(2, 0)] * 3
    assert all(row["seconds_left"] >= 0 for row in answer.json)
    count, estimate, memory = answer.err.splitlines()[-3:]
    assert count == "6 runs, 6 to do"
    assert re.match(r"memory of a worker, beside that of a bare process: up to \d+ MiB", memory)
    assert all(row["memory_mib"] > 0 for row in answer.json)
    assert re.fullmatch(r"about \d+ s with 1 worker; measured on this machine by .*", estimate)
    assert not small.results.exists()
    assert call(capsys, "run", *small.running, "--methods", "head", "--seeds", "1").code == 0
    answer = call(capsys, "plan", *small.running, "--json")
    rows = {row["method"]: row for row in answer.json}
    assert (rows["head"]["runs"], rows["head"]["done"]) == (2, 1)
    assert rows["head"]["seconds_left"] >= 0
    assert rows["lora"]["seconds_left"] > 0
    assert answer.err.splitlines()[-3] == "6 runs, 5 to do"


def test_plan_shows_what_will_be_skipped_and_counts_no_time_for_it(
    tmp_path: Path, make_backbone: Callable[[str], Path], capsys: Capture
) -> None:
    """The reason is that of `check`, also beside a variant of the same method that will run."""
    beyond = {"method": "hiddenkey", "variant": "beyond", "config": {"layers": [0, 99]}}
    small = make(tmp_path / "small", make_backbone("bert"), methods=["hiddenkey", beyond])
    able, skipped = call(capsys, "plan", *small.running, "--json").json
    verdict = call(capsys, "check", *small.planning, "--json").json[1]["verdict"]
    assert "layers ends at 99" in verdict
    assert (skipped["skipped"], skipped["seconds_left"]) == (verdict, 0)
    assert able["seconds_left"] > 0
    assert "skipped" not in able
    answer = call(capsys, "plan", *small.running)
    assert "; 2 of the runs will be skipped and take none; measured" in answer.err
    alone = make(tmp_path / "alone", make_backbone("bert"), methods=[beyond])
    assert "no time: all 2 will be skipped" in call(capsys, "plan", *alone.running).err


def test_run_prints_results_to_stdout_and_progress_to_stderr(
    small: SmallSuite, capsys: Capture
) -> None:
    """The leaderboard is the result; counts and the bar with its estimate are progress."""
    answer = call(capsys, "run", *small.running)
    assert answer.code == 0
    assert all(method in answer.out for method in ("majority", "head", "lora"))
    assert "runs" not in answer.out
    assert "6 runs, 0 done before" in answer.err
    assert "6.0/6 runs" in answer.err
    assert " left" in answer.err


def test_run_with_json_prints_one_object(small: SmallSuite, capsys: Capture) -> None:
    """A program reads counts by status from stdout."""
    answer = call(capsys, "run", *small.running, "--json")
    assert answer.json == {"suite": "small", "runs": 6, "now": {"ok": 6}}
    assert call(capsys, "run", *small.running, "--json").json["now"] == {}


def test_second_run_trains_nothing(
    done: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Running a finished suite again touches no file of a run and loads no backbone."""
    paths = sorted(path for path in (done.results / "runs").rglob("*") if path.is_file())
    before = [(path, path.stat().st_mtime_ns, path.read_bytes()) for path in paths]
    assert len(before) == 4 * 6  # a record, and outputs of three splits
    monkeypatch.setattr("gapbench.bench.models.loading.load", None)
    answer = call(capsys, "run", *done.running)
    assert answer.code == 0
    assert "6 runs, 6 done before" in answer.err
    assert [(path, path.stat().st_mtime_ns, path.read_bytes()) for path in paths] == before
    assert sorted(path for path in (done.results / "runs").rglob("*") if path.is_file()) == paths


def test_run_of_a_part_does_only_that_part(small: SmallSuite, capsys: Capture) -> None:
    """Flags choose methods, tasks and seeds; the rest stays to be done."""
    arguments = ("--methods", "head,majority", "--tasks", "animals", "--seeds", "1")
    answer = call(capsys, "run", *small.running, *arguments, "--json")
    assert answer.json["now"] == {"ok": 2}
    assert call(capsys, "run", *small.running, "--json").json["now"] == {"ok": 4}


def test_status_counts_by_suite_and_names_failures(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status` tells done, failed and missing apart, and gives the cause of a failure."""
    with monkeypatch.context() as patch:
        patch.setattr("gapbench.methods.head.Head.adapt", _fail)
        arguments = ("--methods", "head,majority", "--seeds", "1")
        assert call(capsys, "run", *small.running, *arguments).code == 3
    answer = call(capsys, "status", small.results, "--json")
    assert answer.code == 0
    assert answer.json[0] == {"suite": "small", "ok": 1, "failed": 1}
    failure, way_out = answer.err.splitlines()
    assert failure.startswith("failed: ")
    assert "seed-0.json: " in failure
    assert failure.endswith("broken on purpose")
    assert way_out.startswith(f"  try again: gapbench run {small.path} ")
    assert way_out.endswith(" --methods head,majority --seeds 1 --retry failed")


def _fail(*_: object) -> None:
    raise RuntimeError("broken on purpose")


def test_status_of_an_unreadable_record_names_the_file(small: SmallSuite, capsys: Capture) -> None:
    """A damaged record counts as missing, and is shown with the way out."""
    assert call(capsys, "run", *small.running, "--methods", "majority").code == 0
    path = next((small.results / "runs").rglob("*.json"))
    path.write_text(path.read_text()[:100])
    answer = call(capsys, "status", small.results, "--json")
    assert answer.json[0] == {"suite": "small", "ok": 1, "missing": 1}
    assert f"unreadable: {path}: truncated or not JSON; delete it" in answer.err
    assert f"  try again: gapbench run {small.path} " in answer.err


def test_report_writes_its_files_and_prints_their_paths(done: SmallSuite, capsys: Capture) -> None:
    """`report` leaves a page, a PDF, tables (a row a cell, a row a run) and figures."""
    out = done.folder / "out"
    answer = call(capsys, "report", done.results, "--out", out)
    assert answer.code == 0
    tables = ["leaderboard.csv", "runs.csv", "curves.csv", "columns.json"]
    names = ["report.html", "report.pdf", *tables, "figures"]
    assert answer.out.split() == [str(out / name) for name in names]
    with (out / "leaderboard.csv").open() as file:
        methods = [row["method"] for row in csv.DictReader(file)]
        assert sorted(methods) == ["head", "lora", "majority"]
    with (out / "runs.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6
    assert "<html" in (out / "report.html").read_text()
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.usefixtures("page_alone")
def test_report_goes_beside_the_results_by_default(done: SmallSuite, capsys: Capture) -> None:
    """Without `--out` the report lies in the results folder, where nobody takes it for a run."""
    assert call(capsys, "report", done.results).code == 0
    assert (done.results / "report" / "report.html").is_file()
    assert call(capsys, "status", done.results, "--json").json[0] == {"suite": "small", "ok": 6}


def test_start_of_several_hashes_is_refused(done: SmallSuite, capsys: Capture) -> None:
    """It is not guessed which run was meant."""
    for path in (done.results / "runs").glob("*/*/*/*/seed-*.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"run_hash": "77" + content["run_hash"][2:]}))
    answer = call(capsys, "reproduce", "77", "--results", done.results)
    assert answer.code == 2
    assert "6 run hashes under " in answer.err
    assert "begin with '77'; give more characters" in answer.err


@pytest.mark.parametrize("method", ["majority", "lora"])
def test_reproduce_finds_the_same_numbers(done: SmallSuite, capsys: Capture, method: str) -> None:
    """A record named by its hash, the start of it, or its file comes out the same, run alone."""
    before = done.records()
    path = next((done.results / "runs").glob(f"animals/*/{method}/*/seed-1.json"))
    run_hash = json.loads(path.read_text())["run_hash"]
    arguments = ("--results", done.results, "--data", done.data, "--backbone", done.backbone)
    answer = call(capsys, "reproduce", run_hash, *arguments, "--json")
    assert answer.code == 0
    assert answer.json["status_now"] == "ok"
    assert answer.json["drifts"] == {}
    assert answer.json["largest"] < 1e-6
    answer = call(capsys, "reproduce", run_hash[:8], *arguments)
    assert answer.code == 0
    assert "same: no number differs by more than" in answer.out
    answer = call(capsys, "reproduce", path, *arguments)
    assert answer.code == 0
    assert "same: no number differs by more than" in answer.out
    assert done.records() == before


def test_reproduce_shows_what_drifted(done: SmallSuite, capsys: Capture) -> None:
    """A record whose numbers were changed does not come out the same."""
    path = next((done.results / "runs").glob("animals/*/head/*/seed-0.json"))
    content = json.loads(path.read_text())
    true_loss = content["splits"]["test"]["loss"]
    content["splits"]["test"]["loss"] = true_loss + 0.01
    path.write_text(json.dumps(content))
    sources = ("--results", done.results, "--data", done.data, "--backbone", done.backbone)
    answer = call(capsys, "reproduce", content["run_hash"], *sources, "--json")
    assert answer.code == 3
    assert answer.json["drifts"].keys() == {"test.loss"}
    assert answer.json["drifts"]["test.loss"] == pytest.approx([true_loss + 0.01, true_loss])
    text = call(capsys, "reproduce", content["run_hash"], *sources).out
    assert "drifted: test.loss: " in text
