"""`advise` from rows to an answer: on a suite, on own rows, resumed, and on bad input."""

import csv
import json
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import gapbench
from gapbench.bench.advice.arms import Arm
from gapbench.bench.advice.state import Departure, State
from gapbench.bench.api.advising import course, start
from gapbench.bench.api.advising.expected_time import ExpectedTime
from gapbench.bench.api.training import spelled
from gapbench.bench.config.run import NestedFolds
from gapbench.bench.core.errors import ConfigError, DataError
from gapbench.bench.experiment import scaffold
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store
from gapbench.methods.lora import Lora
from tests.support.small_suite import PROCESSES, SmallSuite, call, make, run_command

Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("one_thread")
ARMS = ["--arms", "3"]


@pytest.fixture
def small(
    tmp_path: Path, make_backbone: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> SmallSuite:
    """A suite of a method that trains and one that does not."""
    monkeypatch.setattr(start, "SEEDS", 2)
    return make(tmp_path / "small", make_backbone("bert"), methods=["majority", "lora", "head"])


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of 100 rows, whose runs take few steps."""
    monkeypatch.setattr(scaffold, "UPDATES", {"tiny": 5, "other": 5})
    monkeypatch.setattr(start, "SEEDS", 2)
    draw = random.Random(0)  # noqa: S311 - not for secrets
    path = tmp_path / "my reviews.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["review", "stars"])
        for _ in range(100):
            words = draw.choices(["the", "cat", "dog", "red"], k=6)
            table.writerow([" ".join(words), "yes" if "cat" in words else "no"])
    return path


def advised(source: object, **given: object) -> gapbench.Advice:
    """Call `advise` with few arms and blocks."""
    return gapbench.advise(
        source, **{"arms": 3, "folds": 2, "repeats": 2, "progress": False, **given}
    )


def records(folder: Path) -> list[Record]:
    """Return the records of a results folder."""
    return [each for each in Store(folder).records() if isinstance(each, Record)]


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
    race = Store(small.results / "race")
    scored = [race.predictions(each.run) for each in raced if each.cell.method == "head"]
    folds = [set(table["example_id"].to_pylist()) for table in scored if table is not None]
    pool = len(pd.read_parquet(small.data / "animals" / "train.parquet"))
    assert all(fold < set(range(pool)) for fold in folds)
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
    assert (again.saved or 0.0, again.seconds_left) == (0.0, 0.0)
    open_race = replace(again.state, decided=False, futile=False)
    assert "--repeats" in replace(again, state=open_race).changes  # the same call would do nothing


def test_check_is_of_the_arms_of_this_answer(small: SmallSuite) -> None:
    """Other repeats train no final run anew; arms that a limit refuses are in no check."""
    first = advised(small.path, data=small.data, results=small.results)
    before = {each.run.hash for each in records(small.results)}
    again = advised(small.path, data=small.data, results=small.results, repeats=3)
    assert {each.seed for each in records(small.results)} == {1000, 1001}
    assert again.tested.keys() >= {again.winner}
    assert before <= {each.run.hash for each in records(small.results)}
    whole = {each.config_hash for each in first.test.entries} if first.test else set()
    assert whole == set(first.tested.values())
    one = replace(first, tested={first.winner: first.tested[first.winner]})
    assert one.test is not None
    assert [each.name for each in one.test.entries] == [first.winner]


def test_final_runs_of_a_tie_may_be_missing(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check stands without an arm that the time did not suffice for."""
    advice = advised(small.path, data=small.data, results=small.results)
    others = [arm for arm in advice.tested if arm not in {advice.winner, advice.reference}]
    needed = {advice.winner, advice.reference}
    monkeypatch.setattr(course.Course, "final", lambda *_: course.CallOutcome())
    for arm in [*others, advice.reference]:
        lost = [e for e in records(small.results) if e.cell.hash == advice.tested[arm]]
        Store(small.results).record_path(lost[0].run).unlink()
        left = advised(small.path, data=small.data, results=small.results)
        assert left.final == (arm not in needed)
        assert arm not in left.tested


def test_race_that_no_arm_survives_ends_in_one_sentence(small: SmallSuite) -> None:
    """A limit that nothing keeps is no crash."""
    advice = advised(small.path, data=small.data, results=small.results, at_most_seconds=1e-9)
    assert not advice.winner
    assert advice.headline.startswith("No arm is left")
    assert not records(small.results)


def test_what_left_for_another_reason_is_not_called_worse(small: SmallSuite) -> None:
    """Bounds speak of arms that may be used, and of plain LoRA at its best setting."""
    advice = advised(small.path, data=small.data, results=small.results)
    tuned = State(
        blocks=4,
        left=("head", "lora / rate 0.009"),
        out=(Departure("lora", 2, "0.1 worse than head, at least 0.05", "head"),),
        losses={"lora": 0.3, "head": 0.1, "lora / rate 0.009": 0.11},
        winner="head",
        at_most=0.013,
    )
    assert {*advice.card.heads} >= {(advice.winner, "advised")}
    plain = replace(advice, state=replace(tuned, winner="lora", left=("lora", "head"), out=()))
    assert replace(plain, reference="lora").card.heads[1] == ("head", "best other")
    assert replace(plain, reference="lora").card.measures
    rated = replace(advice, state=tuned, reference="lora / rate 0.009")
    assert rated.headline.endswith("lora is beaten, but lora / rate 0.009 is not.")
    assert rated.certainty.startswith("No other arm is better by more than 0.013")
    dear = replace(tuned, out=(Departure("lora", 2, "costs 4.0 times as much as lora"),))
    said = replace(rated, state=dear).certainty
    assert said.startswith("No other arm that may be used is better by more than 0.013")


def test_time_that_ends_first_gives_an_unfinished_answer(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test rows stay sealed, and the answer says what more time would do."""
    monkeypatch.setattr(course.Course, "final", lambda *_: course.CallOutcome())
    advice = advised(small.path, data=small.data, results=small.results)
    assert not advice.final
    assert advice.content["test"] is None
    assert "test rows stay sealed" in repr(advice)
    assert not records(small.results)
    monkeypatch.undo()
    monkeypatch.setattr(start, "SEEDS", 2)
    assert advised(small.path, data=small.data, results=small.results).final


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


def test_call_is_stored_as_it_was_made(rows: Path, tmp_path: Path) -> None:
    """With the file, the methods and the backbone, though it ran as a suite."""
    with pytest.raises(ConfigError, match="folds is 1; rows are cut into 2 folds or more"):
        advised(rows, text="review", label="stars", folds=1, results=tmp_path / "out")
    given = {"text": "review", "label": "stars", "methods": "lora,head"}
    call = spelled(gapbench.advise, {"source": rows, "arms": None, **given})
    assert call == (
        f"gapbench.advise({str(rows)!r}, text='review', label='stars', methods='lora,head')"
    )


def test_frame_with_values_of_several_types_is_refused(tmp_path: Path) -> None:
    """By the library's reason, with a way out."""
    frame = pd.DataFrame({"t": ["a", 1] * 40, "y": ["a", "b"] * 40})
    with pytest.raises(DataError, match="give each column values of one type"):
        advised(frame, text="t", label="y", results=tmp_path / "out")


def test_own_rows_as_a_file_and_as_a_frame(
    rows: Path, tmp_path: Path, make_backbone: Callable[[str], Path]
) -> None:
    """Both are read alike; the adapter of the winner is written where it is wanted."""
    given = {"text": "review", "label": "stars", "backbone": make_backbone("bert")}
    given |= {"methods": "lora", "precision": "fp32"}
    given |= {"quantization": "int8"}
    of_file = advised(rows, results=tmp_path / "one", export=tmp_path / "adapter", **given)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    assert list((tmp_path / "one" / "runs").rglob("*.safetensors"))  # so that none trains again
    for folder in ("one", "one/race"):
        assert {each.cell.quantization for each in records(tmp_path / folder)} == {"int8"}
    assert of_file.task == "my_reviews"
    assert of_file.final
    of_frame = advised(pd.read_csv(rows), results=tmp_path / "two", **given)
    assert of_frame.task == "rows"
    assert [row.arm for row in of_frame.rows] == [row.arm for row in of_file.rows]


def test_rows_of_a_test_file_that_are_trained_on_are_told(
    rows: Path, tmp_path: Path, capsys: Capture
) -> None:
    """The check on them stands, with a caution."""
    lines = rows.read_text().splitlines()
    test = tmp_path / "test.csv"
    test.write_text(
        "\n".join([lines[0], *lines[1:11], *(f"a new {k},no" for k in range(10))]) + "\n"
    )
    words = ["--data", rows, "--test", test, "--text", "review", "--label", "stars"]
    where = [*ARMS, "--arms", "2", "--folds", "2", "--repeats", "1", "--results", tmp_path / "r"]
    answer = call(capsys, "advise", *words, *where)
    assert answer.code == 0, answer.err
    assert f"{test}: 10 rows have texts that are in {rows} too" in answer.err
    assert "10 test rows have texts that are among" in " ".join(answer.out.split())


def test_column_that_is_no_name_is_refused(tmp_path: Path) -> None:
    """A frame's columns may be numbers, which the message says how to rename."""
    frame = pd.DataFrame({"t": TEXTS, 1: TWO})
    with pytest.raises(ConfigError, match=r"label is 1, which is no text; .*rename\(columns=str\)"):
        gapbench.advise(frame, text="t", label=1, results=tmp_path)  # type: ignore[arg-type]


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


def test_the_command_prints_the_card_or_json(small: SmallSuite, capsys: Capture) -> None:
    """Both hold the winner."""
    words = ["advise", small.path, "--data", small.data, "--results", small.results, *ARMS]
    printed = call(capsys, *words)
    assert printed.code == 0, printed.err
    assert "ANSWER: animals" in printed.out
    content = call(capsys, *words, "--json").json
    assert content["winner"] in printed.out
    assert len(content["arms"]) == 3
    assert all(f"animals {each['arm']}, seed" in printed.err for each in content["arms"])
    assert content["final"] is True


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


def bad(path: Path, frame: pd.DataFrame) -> Path:
    """Write a file of rows."""
    frame.to_csv(path, index=False)
    return path


TEXTS = [f"text {number}" for number in range(80)]
TWO = ["a", "b"] * 40
MANY_LONG = {"t": [f"{'word ' * 60}{number}" for number in range(800)], "y": ["a", "b"] * 400}


@pytest.mark.parametrize(
    ("frame", "words", "said"),
    [
        ({"t": TEXTS, "y": TWO}, ["--label", "z"], "no column 'z'"),
        ({"t": TEXTS, "y": ["a"] * 80}, ["--label", "y"], "only 'a'; give at least two classes"),
        (
            {"t": TEXTS[:20], "y": TWO[:20]},
            ["--label", "y"],
            "20 rows with 20 different texts; fewer than 50",
        ),
        ({"t": [""] * 60 + TEXTS[:20], "y": TWO}, ["--label", "y"], "no text in 60 of 80 rows"),
        (MANY_LONG, ["--label", "y", "--budget", "1s"], "--budget 1 s: one block of"),
        ({"t": TEXTS, "y": TWO}, [], "one of --label and --target"),
        (
            {"t": TEXTS, "y": [str(k / 7) for k in range(80)]},
            ["--label", "y", "--at-most-ece", "0.1"],
            "--at-most-ece: task 'rows' is regression, which has no calibration error",
        ),
        ({"t": TEXTS, "y": TWO}, ["--label", "y", "--methods", "nothing"], "nothing"),
        (
            {"t": TEXTS, "y": TWO},
            ["--label", "y", "--methods", "lora,head,dora", "--arms", "2"],
            "--arms 2: 3 methods are named; give at least as many arms",
        ),
        (
            {"t": TEXTS, "y": TWO, "who": [f"user {k % 5}" for k in range(80)]},
            ["--label", "y", "--group", "who"],
            "rows to cut make only 4 groups",
        ),
        ({"t": TEXTS[:40] * 2, "y": TWO}, ["--label", "y"], "80 rows with 40 different texts"),
        ({"t": TEXTS, "y": TWO}, ["--label", "y", "--repeats", "300"], "at most 1000 blocks"),
    ],
)
def test_bad_input_gets_one_clear_line(
    frame: dict[str, list[str]], words: list[str], said: str, tmp_path: Path, capsys: Capture
) -> None:
    """Nothing is trained, and the message names what is wrong."""
    path = bad(tmp_path / "rows.csv", pd.DataFrame(frame))
    answer = call(
        capsys, "advise", "--data", path, "--text", "t", *words, "--results", tmp_path / "r"
    )
    assert answer.code == 2
    last = answer.err.strip().splitlines()[-1]
    assert last.startswith("gapbench: error: ")
    assert said in last
    assert not records(tmp_path / "r" / "race")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"group": "author"}, "a suite cannot be given group; for own rows, name the columns"),
        ({"test": "held out.csv", "label": "y"}, "a suite cannot be given label, test"),
        ({"text": "t", "label": "y", "tasks": "animals"}, "own rows cannot be given tasks"),
    ],
)
def test_what_the_other_form_alone_is_given_is_refused(
    small: SmallSuite, given: dict[str, str], said: str
) -> None:
    """A suite has its own columns and test rows, and own rows are one task; nothing is dropped."""
    with pytest.raises(ConfigError, match=said):
        advised(small.path, data=None if "text" in given else small.data, **given)
    assert not small.results.exists()


def test_protocol_that_validates_on_test_rows_is_refused(small: SmallSuite) -> None:
    """The race would choose by what the final scores are of."""
    small.write_suite(protocol="paper")
    with pytest.raises(ConfigError, match="protocol 'paper' validation is the test split"):
        advised(small.path, data=small.data, results=small.results)
    assert not records(small.results / "race")


def test_what_is_missing_is_said(capsys: Capture) -> None:
    """Neither rows nor a suite."""
    assert "SUITE" in call(capsys, "advise", "--budget", "10m").err
    assert call(capsys, "advise").code == 2
