"""The course of a race: blocks, failures, time, and calls that go on."""

import json
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gapbench.bench.advice.arms import Arm
from gapbench.bench.api.advising import start
from gapbench.bench.api.advising.expected_time import ExpectedTime
from gapbench.bench.config.run import NestedFolds
from gapbench.bench.config.task_files import load
from gapbench.bench.experiment import scaffold
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store
from gapbench.methods.lora import Lora
from tests.api.advising.conftest import advised, records
from tests.support.small_suite import CELL, PROCESSES, SmallSuite, call, run_command

Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("one_thread")
ARMS = ["--arms", "3"]


def test_a_suite_ends_with_a_winner_scored_on_sealed_rows(small: SmallSuite) -> None:
    """The race never sees the test rows; the final runs have seeds that no block had."""
    advice = advised(small.path, data=small.data, results=small.results)
    assert advice.final
    assert advice.winner in {row.arm for row in advice.rows}
    assert [row.arm for row in advice.rows][:2] == ["lora", "head"]
    raced = records(small.results / "race")
    assert len(raced) == advice.runs <= advice.grid == 12
    assert {each.seed for each in raced} <= set(range(4))
    assert {each.cell.resample for each in raced} == {NestedFolds(folds=2, nested=True)}
    pool = range(len(pd.read_parquet(small.data / "animals" / "train.parquet")))
    assert all(sorted(folds) == [*pool] for folds in scored_rows(raced, small.results / "race"))
    final = records(small.results)
    assert {each.seed for each in final} == {1000, 1001}
    assert all("test" in each.splits for each in final)
    assert "== CHECK: " in repr(advice)
    assert repr(advice).count("ANSWER") == 1
    assert advice.winner in repr(advice)
    page = (small.results / "advice.html").read_text().replace("<wbr>", "")  # where names may break
    assert all(f">{row.arm}</th>" in page for row in advice.rows)
    assert advice.headline in page
    assert advice.checked is not None
    assert advice.checked.headline in page
    assert advice.content["test"]["headline"] == advice.checked.headline
    assert {each["name"] for each in advice.content["test"]["entries"]} >= {advice.winner}
    stored = json.loads((small.results / "advice.json").read_text())
    assert stored == json.loads(json.dumps(advice.content))


def scored_rows(raced: Sequence[Record], folder: Path) -> list[list[int]]:
    """Return the rows that each arm was scored on in each whole repeat of two folds."""
    found: dict[tuple[str, int], dict[int, list[int]]] = {}
    for each in raced:
        table = Store(folder).predictions(each.run)
        assert table is not None
        repeat = found.setdefault((each.cell.hash, each.seed // 2), {})
        repeat[each.seed] = table["example_id"].to_pylist()
    whole = [folds.values() for folds in found.values() if len(folds) == 2]
    return [list(chain.from_iterable(folds)) for folds in whole]


def test_the_same_call_again_trains_nothing(small: SmallSuite) -> None:
    """What is stored decides: the answer is the same and no record changes."""
    first = advised(small.path, data=small.data, results=small.results)
    before = {p: p.read_bytes() for p in small.results.rglob("seed-*.json")}
    second = advised(small.path, data=small.data, results=small.results)
    assert {p: p.read_bytes() for p in small.results.rglob("seed-*.json")} == before
    assert (second.winner, second.state) == (first.winner, first.state)


def test_a_folder_may_hold_several_backbones_and_settings(
    small: SmallSuite, make_backbone: Callable[[str], Path]
) -> None:
    """The check is on the rows of this answer; a shorter race later has saved nothing, not less."""
    advised(small.path, data=small.data, results=small.results)
    for change in ({"backbone": make_backbone("roberta")}, {"quantization": "int8"}):
        advice = advised(small.path, data=small.data, results=small.results, **change)
        assert advice.test is not None
        hashes = {each.config_hash for each in advice.test.entries}
        cells = [each.cell for each in records(small.results) if each.cell.hash in hashes]
        assert {cell.backbone.name for cell in cells} == {advice.backbone}
        assert {cell.quantization for cell in cells} == {change.get("quantization")}
        assert advice.winner in repr(advice.checked)
    again = advised(small.path, data=small.data, results=small.results, repeats=1)
    assert again.state.blocks > 2
    assert (again.saved, again.seconds_left) == (0.0, 0.0)
    open_race = replace(again.state, decided=False, futile=False)
    assert "--repeats" in replace(again, state=open_race).changes  # the same call would do nothing


def test_failed_run_is_tried_again_before_its_arm_is_out(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One failure may be chance; LoRA that fails always leaves, and the answer stands without."""
    losses, failures = Lora.losses, [1]

    def fail(self: Lora, *given: Any) -> Any:
        if failures and failures.pop() > 0:
            raise RuntimeError("no luck")
        return losses(self, *given)

    monkeypatch.setattr(Lora, "losses", fail)
    advice = advised(small.path, data=small.data, results=small.results, arms=2)
    assert not failures
    assert not advice.state.out
    monkeypatch.setattr(Lora, "losses", lambda *_: failures[0])
    advice = advised(small.path, data=small.data, results=small.folder / "other", arms=2)
    assert [each.arm for each in advice.state.out] == ["lora"]
    assert (advice.winner, advice.final) == ("head", True)


def test_race_is_cut_to_its_time_and_stays_so(
    rows: Path,
    tmp_path: Path,
    make_backbone: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same call with more time goes on with the same arms; what was cut is in the answer."""

    def forecast(self: ExpectedTime, arms: Sequence[Arm]) -> dict[str, float]:
        self.seconds = {arm.name: arm.cell.budget.epochs or 0.0 for arm in arms}
        return self.seconds

    monkeypatch.setattr(ExpectedTime, "forecast", forecast)
    monkeypatch.setattr(scaffold, "UPDATES", {"tiny": 32, "other": 32})
    given = {"text": "review", "label": "stars", "backbone": make_backbone("bert")}
    given |= {"methods": "lora", "precision": "fp32", "arms": None, "results": tmp_path / "out"}
    first = advised(rows, budget=34, **given)
    assert [row.arm for row in first.rows] == ["lora", "lora / rate 0.001", "lora / rate 0.009"]
    assert first.cut.startswith("runs have 4 epochs instead of 8; left out: lora / rank 2, ")
    assert first.cut in " ".join(repr(first).split())
    assert first.content["cut"] == first.cut
    again = advised(rows, **given)
    assert ([row.arm for row in again.rows], again.cut) == ([r.arm for r in first.rows], first.cut)
    assert {each.cell.budget.epochs for each in records(tmp_path / "out" / "race")} == {4}
    assert again.final


@pytest.mark.slow
def test_a_killed_call_resumes_to_the_same_answer(
    small: SmallSuite, tmp_path: Path, capsys: Capture
) -> None:
    """After kill -9 the same command ends as if it had never been killed."""
    words = ["advise", small.path, "--data", small.data, *ARMS, "--matters", "0.2", "--json"]
    cut = (tmp_path / "out", *words, "--results", small.results)
    process = PROCESSES.Process(target=run_command, args=cut)
    process.start()
    while not records(small.results / "race"):
        assert process.is_alive()
        time.sleep(0.05)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    resumed = call(capsys, *words, "--results", small.results).json
    whole = call(capsys, *words, "--results", tmp_path / "whole").json
    # Measured times differ between calls, and so may which of equal arms is the cheapest.
    for name in ("blocks", "left", "out", "resolved"):
        assert resumed["race"][name] == whole["race"][name]
    assert [a["score"] for a in resumed["arms"]] == [a["score"] for a in whole["arms"]]


@pytest.mark.parametrize(("task", "repeats"), [("wikitext2", 1), ("syn_text", 4)])
def test_parts_of_a_text_are_raced_for_one_repeat(task: str, repeats: int) -> None:
    """Every cut makes other parts, so that repeats would not show what of them lasts."""
    limits = dict.fromkeys(("at_most_ece", "at_most_cost", "at_most_seconds"))
    given = {"matters": 0.1, "folds": 5, "repeats": 4, **limits}
    assert start._rules(given, [Arm(CELL.changed({"task": load(task)}))]).repeats == repeats
