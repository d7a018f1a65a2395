"""The gate on made-up runs: equal trainings, chance, moves, and how often chance is stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gapbench.bench.core.errors import StoreError
from gapbench.bench.store.record import Status
from gapbench.reports.prose.gate_text import content, format_gate
from gapbench.reports.results.load import LoadedResults, load
from gapbench.reports.results.rows import CURVE
from gapbench.reports.verdict.gate import CHOICE, gate
from tests.benchmarks import gate_chance
from tests.support.results_folder import fill, make_cell, make_record, put


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> LoadedResults:
    """Three methods, five seeds, two tasks."""
    root = tmp_path_factory.mktemp("gate")
    return load(fill(root, methods=("lora", "lora_dropout", "head"), seeds=5))


def shifted(
    before: LoadedResults, method: str, by: dict[str, float | np.ndarray], curve: float = 0.0
) -> LoadedResults:
    """Return the same runs with columns of a method shifted, and its curves."""
    runs = before.runs.copy()
    own = (runs["method"] == method) & (runs["task"] == "syn_sentiment")
    for name, shift in by.items():
        runs.loc[own, name] = runs.loc[own, name] + shift
    curves = dict(before.curves)
    for run_hash in runs.loc[own, "run_hash"]:
        curves[run_hash] = curves[run_hash] + np.array([0.0] + [curve] * (len(CURVE) - 1))
    return replace(before, runs=runs, curves=curves)


def test_equal_runs_pass(before: LoadedResults) -> None:
    """Nothing differs, and nothing is said of any row."""
    found = gate(before, before)
    assert (found.passed, found.n_runs, found.n_equal) == (True, 30, 30)
    assert found.changes == ()
    assert "nothing moved at all" in format_gate(found)


def test_shift_of_all_seeds_is_stopped(before: LoadedResults) -> None:
    """Method, task, outcome and interval are named; the other rows are not."""
    rng = np.random.default_rng(0)
    after = shifted(before, "lora", {"test_score": -0.1 + 0.01 * rng.normal(size=5)}, curve=0.01)
    found = gate(before, after)
    assert not found.passed
    score = next(each for each in found.moved if each.outcome == "test score")
    assert (score.name, score.place) == ("lora", "syn_sentiment on tiny-bert")
    assert score.high is not None
    assert score.low is not None
    assert score.low < score.difference < score.high < 0
    assert {each.name for each in found.changes} == {"lora"}
    assert content(found)["passed"] is False


def test_differences_both_ways_pass(before: LoadedResults) -> None:
    """What chance does to seeds is no move, however large."""
    swing = np.array([0.1, -0.12, 0.09, -0.1, 0.02])
    after = shifted(before, "lora", {"test_score": swing, "test_loss": -swing}, curve=0.0002)
    after.curves.update({key: curve + 0.01 * (place % 2 - 0.5) for place, (key, curve) in
                         enumerate(after.curves.items())})  # fmt: skip
    found = gate(before, after)
    assert found.passed
    assert found.n_equal < 30


@pytest.mark.parametrize("column", ["validation_score", "test_loss"])
def test_other_results_of_equal_trainings_are_stopped(before: LoadedResults, column: str) -> None:
    """One seed is enough, as there is no chance in choosing and scoring."""
    once = np.array([0.1, 0.0, 0.0, 0.0, 0.0])
    found = gate(before, shifted(before, "lora", {column: once}))
    (moved,) = found.moved
    assert (moved.outcome, moved.n_seeds, moved.low) == (CHOICE, 1, None)


def seldom(results: LoadedResults, chosen: int) -> LoadedResults:
    """Return runs whose curves of train and test have few points: the ends and the chosen one."""
    curves = {}
    for run_hash, curve in results.curves.items():
        few = np.repeat(curve, 4, axis=0)
        gaps = [place for place in range(1, len(few) - 1) if place != chosen]
        columns = [place for place, name in enumerate(CURVE) if name.startswith(("train", "test"))]
        few[np.ix_(gaps, columns)] = np.nan
        curves[run_hash] = few
    return replace(results, curves=curves)


def test_points_without_train_and_test_hide_no_move(before: LoadedResults) -> None:
    """Curves are compared where both have values, and another choice has them elsewhere."""
    rng = np.random.default_rng(0)
    shift = {"test_score": -0.1 + 0.01 * rng.normal(size=5)}
    moved = gate(seldom(before, 2), seldom(shifted(before, "lora", shift, curve=0.3), 2)).moved
    outcomes = {"test score", "train loss along training", "test loss along training"}
    assert outcomes <= {each.outcome for each in moved}
    steps = {"checkpoint_step": np.full(5, 20.0), "validation_score": np.full(5, -0.05)}
    (other,) = gate(seldom(before, 2), seldom(shifted(before, "lora", steps), 3)).moved
    assert (other.outcome, other.n_seeds) == (CHOICE, 5)


def test_one_seed_is_said_to_tell_nothing(before: LoadedResults) -> None:
    """A difference of one seed is shown, and it is no reason to stop."""
    runs = before.runs[before.runs["seed"] == 0]
    one = replace(before, runs=runs)
    after = shifted(before, "lora", {"test_score": 0.2}, curve=0.3)
    found = gate(one, replace(after, runs=after.runs[after.runs["seed"] == 0]))
    assert found.passed
    assert found.changes
    assert "one seed does not tell" in format_gate(found)
    many = shifted(before, "head", {"test_score": np.array([0.1, -0.12, 0.09, -0.1, 0.02])})
    many = shifted(many, "lora", {"test_score": -0.3})
    runs = many.runs[(many.runs["method"] != "lora") | (many.runs["seed"] == 0)]
    text = " ".join(format_gate(gate(before, replace(many, runs=runs))).split())
    assert "Passed: nothing moved beyond chance. But one seed does not tell" in text
    assert text.endswith("give two or more of lora.")


def test_single_items_and_ties_may_turn(before: LoadedResults) -> None:
    """An answer that rounding turns, or a tie of checkpoints, is chance."""
    once = np.array([0.0025, 0.0, 0.0, 0.0, 0.0])
    assert gate(before, shifted(before, "lora", {"test_score": once})).passed
    tie = {"checkpoint_step": np.array([20, 0, 0, 0, 0]), "test_loss": 3 * once}
    assert gate(before, shifted(before, "lora", tie)).passed


def test_run_that_fails_now_is_lost(tmp_path: Path) -> None:
    """A run that had a score and has none is stopped; one that was not run is counted."""
    store = fill(tmp_path / "before", methods=("lora", "head"), seeds=2)
    other = fill(tmp_path / "after", methods=("head",), seeds=2)
    put(other, make_record(make_cell("lora"), 0, status=Status.FAILED, detail="broken"))
    found = gate(load(store), load(other))
    assert found.lost == ("lora on syn_sentiment, seed 0",)
    assert (found.absent, found.passed) == (3, False)
    assert "1 run that had a score has none now" in format_gate(found)


def test_run_that_is_skipped_or_has_no_value_now_is_lost(before: LoadedResults) -> None:
    """Neither a method that refuses its task nor a metric that gives nothing passes."""
    for column, value in (("status", "skipped"), ("test_score", np.nan)):
        runs = before.runs.copy()
        runs.loc[runs["method"] == "lora", column] = value
        found = gate(before, replace(before, runs=runs))
        assert len(found.lost) == 10
        assert (found.absent, found.passed) == (0, False)


def test_folders_without_a_common_run_are_refused(tmp_path: Path) -> None:
    """With what to do."""
    folders = [fill(tmp_path / name, methods=(name,)) for name in ("lora", "head")]
    with pytest.raises(StoreError, match="no run in common"):
        gate(*map(load, folders))


def test_chance_is_seldom_stopped(before: LoadedResults) -> None:
    """At most 5 % of gates, up to chance; `tests/benchmarks/gate_chance.py` draws more."""
    gates = 20
    rate = gate_chance.rate(before, gates, seeds=3, rows=8)
    assert rate <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / gates)
