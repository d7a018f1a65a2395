"""The answer of a race: what is checked, and what is said."""

from dataclasses import replace
from typing import Any

import pytest

from gapbench.bench.advice.state import Departure, State
from gapbench.bench.api.advising import course, start
from gapbench.bench.store.store import Store
from tests.api.advising.conftest import advised, records
from tests.support.small_suite import SmallSuite, call

Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("one_thread")
ARMS = ["--arms", "3"]


def test_check_is_of_the_arms_of_this_answer(small: SmallSuite) -> None:
    """Other repeats train no final run anew; arms that a limit refuses are in no check."""
    first = advised(small.path, data=small.data, results=small.results)
    before = {each.run.hash for each in records(small.results)}
    again = advised(small.path, data=small.data, results=small.results, repeats=3)
    assert {each.seed for each in records(small.results)} == {1000, 1001}
    assert again.tested.keys() >= {again.winner}
    assert before <= {each.run.hash for each in records(small.results)}
    assert first.test is not None
    assert {each.name for each in first.test.entries} == first.tested.keys()
    one = replace(first, tested={first.winner: first.tested[first.winner]})
    assert one.test is not None
    assert [each.name for each in one.test.entries] == [first.winner]


def test_check_is_of_the_runs_of_this_answer(small: SmallSuite, capsys: Capture) -> None:
    """Other seeds of its cells, and other suites that share them, may be in the folder too."""
    small.write_suite(name="another")
    assert call(capsys, "run", *small.running).code == 0
    small.write_suite(name="small")
    assert call(capsys, "run", *small.running).code == 0
    advice = advised(small.path, data=small.data, results=small.results)
    assert advice.test is not None
    assert advice.test.suite == advice.suite == "small"
    assert {each.levels["score"].n_seeds for each in advice.test.entries} == {2}


def test_final_runs_of_a_tie_may_be_missing(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check stands without an arm that the time did not suffice for."""
    advice = advised(small.path, data=small.data, results=small.results)
    others = [arm for arm in advice.tested if arm not in {advice.winner, advice.reference}]
    needed = {advice.winner, advice.reference}
    assert others
    monkeypatch.setattr(course.Course, "final", lambda *_: course.CallOutcome())
    for arm in [*others, advice.reference]:
        lost = [e for e in records(small.results) if e.run.hash in advice.tested[arm]]
        Store(small.results).record_path(lost[0].run).unlink()
        left = advised(small.path, data=small.data, results=small.results)
        assert left.final == (arm not in needed)
        assert arm not in left.tested


def test_winner_and_reference_are_scored_before_others(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a check stands though the time ends before the best of each other family has."""
    whole = course.Course._train
    asked: list[set[str]] = []
    small.write_suite(methods=["lora", "head", "label_smoothing"])

    def train(self: course.Course, planned: Any, *given: Any, **named: Any) -> Any:
        if given[0] == small.results:
            asked.append({each.run.cell.method for each in planned})
            if len(asked) == 2:
                return course.CallOutcome(runs=1, left=1)
        return whole(self, planned, *given, **named)

    monkeypatch.setattr(course.Course, "_train", train)
    advice = advised(small.path, data=small.data, results=small.results)
    assert asked[0] == {name.partition(" / ")[0] for name in (advice.winner, advice.reference)}
    assert asked[0] < asked[1]
    assert advice.final
    assert {*advice.tested} == {advice.winner, advice.reference}


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
