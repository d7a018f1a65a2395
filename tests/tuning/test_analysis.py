"""Analysis of trials against enumeration, simulation and planted stories; its files."""

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gapbench.bench.core.errors import RecordError, StoreError
from gapbench.bench.tuning.analysis import BAND, expected_best, summarise, write
from gapbench.bench.tuning.importance import FEWEST, importances
from gapbench.bench.tuning.schema import Dimension, TrialState
from gapbench.bench.tuning.summary import read_summaries
from tests.support.fabricated_studies import SPACE, make_study, make_trial, search

SCORES: list[list[float | None]] = [
    [0.7, 0.5, 0.9, 0.8],
    [0.7, 0.7, 0.2],
    [0.6, None, 0.8, 0.7],
    [None, None, 0.4],
    [0.3],
]


def bests(draws: Any, *, upward: bool) -> list[float]:
    """Return the best score of each draw that has any."""
    pick = max if upward else min
    scored = [[score for score in draw if score is not None] for draw in draws]
    return [pick(scores) for scores in scored if scores]


@pytest.mark.parametrize("upward", [True, False])
@pytest.mark.parametrize("scores", SCORES)
def test_expected_best_of_few_trials_equals_that_of_all_draws(
    scores: list[float | None], upward: bool
) -> None:
    """Mean, deviation and quantiles are those of every ordered draw with replacement, listed."""
    points = expected_best(scores, higher_is_better=upward)
    assert [point.trials for point in points] == list(range(1, len(scores) + 1))
    for point in points:
        found = bests(itertools.product(scores, repeat=point.trials), upward=upward)
        assert point.expected == pytest.approx(np.mean(found), rel=1e-12)
        assert point.deviation == pytest.approx(np.std(found), rel=1e-9, abs=1e-12)
        signed = np.array(found) if upward else -np.array(found)
        ends = np.quantile(signed, BAND, method="inverted_cdf") * (1 if upward else -1)
        assert [point.low, point.high] == pytest.approx(sorted(ends))


@pytest.mark.parametrize("upward", [True, False])
@pytest.mark.parametrize("scores", SCORES)
def test_unbiased_best_of_few_trials_equals_that_of_all_subsets(
    scores: list[float | None], upward: bool
) -> None:
    """The mean over draws without replacement is the mean over all subsets, listed."""
    for point in expected_best(scores, higher_is_better=upward):
        found = bests(itertools.combinations(scores, point.trials), upward=upward)
        assert point.unbiased == pytest.approx(np.mean(found), rel=1e-12)


def test_expected_best_of_many_trials_agrees_with_simulation() -> None:
    """The exact values lie within the error of a hundred thousand simulated searches."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0.7, 0.1, 40)
    points = expected_best(scores.tolist(), higher_is_better=True)
    for n in (1, 5, 20):
        drawn = rng.choice(scores, (100_000, n)).max(axis=1)
        error = drawn.std() / np.sqrt(len(drawn))
        assert points[n - 1].expected == pytest.approx(drawn.mean(), abs=4 * error)
        assert points[n - 1].deviation == pytest.approx(drawn.std(), rel=0.02)


def test_unbiased_best_over_many_studies_has_the_mean_of_fresh_searches() -> None:
    """Averaged over studies of uniform scores it is n / (n + 1), where Dodge's falls short."""
    rng = np.random.default_rng(1)
    studies = [expected_best(rng.random(6).tolist(), higher_is_better=True) for _ in range(4000)]
    for n in (1, 3, 6):
        truth = n / (n + 1)
        assert np.mean([points[n - 1].unbiased for points in studies]) == pytest.approx(
            truth, abs=0.015
        )
    assert np.mean([points[5].expected for points in studies]) < 6 / 7 - 0.03


def test_expected_best_never_falls_and_ends_at_the_best_trial() -> None:
    """More trials never hurt; without replacement all trials together hold the best one."""
    scores = np.random.default_rng(2).random(500).tolist()
    points = expected_best(scores, higher_is_better=True)
    assert (np.diff([point.expected for point in points]) >= -1e-12).all()
    assert (np.diff([point.unbiased for point in points]) >= -1e-12).all()
    assert points[-1].unbiased == pytest.approx(max(scores))
    assert points[0].expected == points[0].unbiased == pytest.approx(np.mean(scores))
    assert all(min(scores) <= point.low <= point.high <= max(scores) for point in points)


@pytest.mark.parametrize("scores", [[], [None], [None, None]])
def test_expected_best_without_any_score_has_no_point(scores: list[float | None]) -> None:
    """Where nothing was scored there is nothing to expect."""
    assert expected_best(scores, higher_is_better=True) == ()


def test_expected_best_of_equal_scores_has_no_spread() -> None:
    """A flat study has a flat curve."""
    points = expected_best([0.6] * 5, higher_is_better=False)
    assert all(point.low == point.high == 0.6 for point in points)
    assert all(point.expected == pytest.approx(0.6) for point in points)
    assert all(point.deviation == pytest.approx(0, abs=1e-12) for point in points)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_importances_of_a_planted_story_follow_it(direction: str) -> None:
    """Over ten studies the learning rate has most, and the rank, which does nothing, least."""
    found = [importances(search(48, seed=seed, direction=direction)) for seed in range(10)]
    assert {each.top for each in found} == {5}
    shares = [each.shares for each in found if each.shares is not None]
    assert len(shares) == 10
    assert all(sum(each.values()) == pytest.approx(1) for each in shares)
    mean = {name: np.mean([each[name] for each in shares]) for name in SPACE}
    assert mean["learning_rate"] > 0.6 > mean["dropout"] > 0.1 > mean["rank"]


def test_importances_do_not_depend_on_the_order_of_trials() -> None:
    """The shares are a function of the set of trials."""
    study = search(40)
    turned = study.model_copy(update={"trials": study.trials[::-1]})
    first, second = importances(study).shares, importances(turned).shares
    assert first is not None
    assert second is not None
    assert first == pytest.approx(second)


def test_importances_leave_out_trials_beyond_the_space() -> None:
    """A default outside the ranges is no draw from the space, and changes no share."""
    study = search(40)
    outside = make_trial(0, 0.99, params={"learning_rate": 0.5, "rank": 64, "dropout": None})
    changed = study.model_copy(update={"trials": (outside, *study.trials[1:])})
    without = study.model_copy(update={"trials": study.trials[1:]})
    assert importances(changed) == importances(without)


@pytest.mark.parametrize(
    ("trials", "reason"),
    [
        (search(FEWEST - 1).trials, "10 needed"),
        (tuple(make_trial(place, None) for place in range(20)), "0 scored trials"),
        (tuple(make_trial(place, 0.5) for place in range(20)), "cannot be separated"),
        (tuple(make_trial(place, place / 20) for place in range(20)), "fewer than two"),
    ],
)
def test_importances_that_trials_cannot_give_are_absent_with_a_reason(
    trials: tuple[Any, ...], reason: str
) -> None:
    """Few, failed, equal or unvaried trials give no shares, no warning, and the cause."""
    found = importances(make_study(trials=trials))
    assert found.shares is None
    assert reason in str(found.absent)


def test_importances_of_whole_numbers_and_choices_are_worked_out() -> None:
    """Ranges of whole numbers, by order too, and choices that hold None are legal dimensions."""
    space = {
        "rank": Dimension(where="config", kind="int", low=2, high=64, log=True),
        "layers": Dimension(where="config", kind="int", low=1, high=6),
        "penalty": Dimension(where="config", kind="choice", choices=(None, "l1", "l2")),
    }
    rng = np.random.default_rng(3)
    trials = []
    for number in range(40):
        rank = int(2 ** rng.uniform(1, 6))
        penalty = (None, "l1", "l2")[rng.integers(3)]
        params = {"rank": rank, "layers": int(rng.integers(1, 7)), "penalty": penalty}
        trials.append(make_trial(number, -abs(rank - 30) / 100, params=params))
    found = importances(make_study(trials=tuple(trials), space=space))
    assert found.shares is not None
    assert next(iter(found.shares)) == "rank"


def test_tally_charges_every_trial_whatever_became_of_it() -> None:
    """Failed, pruned and running trials count in full beside the complete ones."""
    states = {1: TrialState.PRUNED, 2: TrialState.FAILED, 3: TrialState.RUNNING}
    trials = [make_trial(0), *(make_trial(place, state=states[place]) for place in states)]
    tally = summarise(make_study(trials=tuple(trials))).tally
    assert (tally.trials, tally.seconds, tally.steps) == (4, 8.0, 160)
    assert (tally.examples, tally.flops) == (2560, 4e9)
    assert tally.states == {"complete": 1, "failed": 1, "pruned": 1, "running": 1}


def test_summary_takes_scores_of_complete_trials_alone() -> None:
    """A pruned trial's interim score is none; a running trial is not yet a trial."""
    pruned = make_trial(1, 0.99, state=TrialState.PRUNED)
    running = make_trial(2, 0.98, state=TrialState.RUNNING)
    study = make_study(trials=(make_trial(0, 0.6), pruned, running))
    points = summarise(study).expected_best
    assert [point.expected for point in points] == [0.6, 0.6]


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_optimism_and_gain_are_above_zero_where_validation_flatters_and_tuning_helps(
    direction: str, sign: int
) -> None:
    """Both are differences in the direction of better; without fresh runs there are none."""
    scores: list[float | None] = [0.6, 0.7, 0.65]
    best = 0.7 if sign > 0 else 0.6
    tests = {"tuned_test": 0.62, "default_test": 0.61}
    study = make_study(scores, direction=direction, default_validation=0.64, **tests)
    summary = summarise(study)
    assert summary.optimism == pytest.approx(sign * ((best - 0.62) - (0.64 - 0.61)))
    assert summary.gain == pytest.approx(sign * 0.01)
    bare = summarise(make_study(scores))
    assert (bare.optimism, bare.gain) == (None, None)
    failed = summarise(make_study([None], tuned_test=0.5))
    assert failed.optimism is None
    assert summarise(make_study(scores, **tests)).optimism is None  # a study of 0.1


def test_write_then_read_returns_the_same_summary(tmp_path: Path) -> None:
    """Every number survives the files, studies come in a fixed order, and writing repeats."""
    folder = tmp_path / "tuning"
    second = write(folder / "b", search(12, method="dora", name="b"))
    first = write(folder / "a", search(12, seed=1, name="a"))
    assert read_summaries(tmp_path) == [second, first]
    assert second == summarise(search(12, method="dora", name="b"))
    again = write(folder / "a", search(24, seed=1, name="a"))
    assert read_summaries(tmp_path) == [second, again]
    files = sorted(path.name for path in (folder / "a").iterdir())
    assert files == ["summary.json", "trials.csv"]


def test_write_makes_a_table_with_a_row_for_each_trial(tmp_path: Path) -> None:
    """The CSV holds all digits of every trial, and blanks where there is nothing."""
    study = search(24)
    write(tmp_path, study)
    with (tmp_path / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["number"]) for row in rows] == list(range(24))
    for row, trial in zip(rows, study.trials, strict=True):
        assert row["state"] == trial.state.value
        assert float(row["param/learning_rate"]) == trial.params["learning_rate"]
        score = row["validation_score"]
        assert (float(score) if score else None) == trial.validation_score
    assert {f"param/{name}" for name in SPACE} <= rows[0].keys()


@pytest.mark.parametrize("scores", [[], [0.5], [None], [0.5, 0.5, 0.5]])
def test_write_of_a_study_that_says_little_succeeds(
    tmp_path: Path, scores: list[float | None]
) -> None:
    """No trial, one, failures alone and equal scores are stored as what they are."""
    write(tmp_path / "tuning" / "x", make_study(scores))
    [summary] = read_summaries(tmp_path)
    assert summary.tally.trials == len(scores)
    assert summary.importances.shares is None


def test_read_of_a_folder_without_studies_is_empty(tmp_path: Path) -> None:
    """Where nothing was tuned there is nothing to read."""
    assert read_summaries(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "truncated"),
        ("[]", "schema_version"),
        ('{"schema_version": 99}', "99"),
        ('{"schema_version": 1}', "'study' is required"),
    ],
)
def test_read_of_a_broken_summary_says_which_and_what_to_do(
    tmp_path: Path, text: str, says: str
) -> None:
    """The error names the file and the command that writes it anew."""
    path = tmp_path / "tuning" / "x" / "summary.json"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=says) as caught:
        read_summaries(tmp_path)
    assert str(path) in str(caught.value)
    assert "gapbench tune" in str(caught.value)


def test_read_of_a_summary_with_an_unknown_field_refuses(tmp_path: Path) -> None:
    """The schema is checked at every depth."""
    write(tmp_path / "tuning" / "x", make_study([0.5]))
    path = tmp_path / "tuning" / "x" / "summary.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["tally"]["luck"] = 1
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RecordError, match="luck"):
        read_summaries(tmp_path)


def test_write_into_an_unwritable_place_names_it(tmp_path: Path) -> None:
    """A folder that is a file is an error that names it."""
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(StoreError, match="file: cannot be written"):
        write(blocked, make_study([0.5]))
