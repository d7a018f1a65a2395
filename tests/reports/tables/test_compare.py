"""Two methods side by side: the tests of scipy, one row a task, and a way out of every error."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gapbench.reports.tables.compare import Compared, compare
from scipy import stats as reference
from statsmodels.stats.multitest import multipletests

from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import ConfigError, StoreError
from gapbench.bench.store.record import SplitScores, Status
from gapbench.bench.store.store import Store
from gapbench.reports.prose.comparison_text import content, format_comparison, verdict
from gapbench.reports.results.selection import EVERYTHING, Selection
from gapbench.reports.tables.terminal import WIDTH
from tests.support.results_folder import make_cell, make_record, make_task

SENTIMENT, SIMILARITY = "syn_sentiment", "syn_similarity"
SEEDS = 6

KINDS = {SIMILARITY: "regression"}

Scores = dict[str, list[float]]


def stored(root: Path, scores: dict[str, Scores], suite: str = "mine") -> Store:
    """Write a results folder with these scores, by task, method (or method / variant) and seed."""
    store = Store(root)
    store.open_for_writing()
    wanted = []
    for task_name, by_name in scores.items():
        task = make_task(task_name, kind=KINDS.get(task_name, "classification"))
        for name, values in by_name.items():
            method, _, variant = name.partition(" / ")
            cell = make_cell(method, task=task, config={"rank": 8, "alpha": len(variant) + 1})
            for seed, value in enumerate(values):
                splits = {"test": SplitScores(metrics={task.metrics[0]: value}, loss=1, examples=9)}
                store.write(make_record(cell, seed, splits=splits))
                wanted.append((Run(cell, seed), variant or "default"))
    store.write_plan(suite, wanted)
    return store


def noisy(mean: float, seed: int, n: int = SEEDS) -> list[float]:
    """Return scores about a mean."""
    return list(np.random.default_rng(seed).normal(mean, 0.01, n))


@pytest.fixture
def two_tasks() -> dict[str, Scores]:
    """Scores of two methods; the first is better on one task, of which less is better."""
    return {
        SENTIMENT: {"lora": noisy(0.8, 0), "head": noisy(0.795, 1)},
        SIMILARITY: {"lora": noisy(0.1, 2), "head": noisy(0.2, 3)},
    }


def test_compare_gives_paired_t_tests_corrected_over_tasks(
    tmp_path: Path, two_tasks: dict[str, Scores]
) -> None:
    """Differences, intervals and p-values are scipy's, corrected ones those of statsmodels."""
    found = compare(stored(tmp_path, two_tasks).root, "lora", "head", EVERYTHING)
    assert [each.task for each in found.differences] == ["syn_sentiment", "syn_similarity"]
    expected = [reference.ttest_rel(s["lora"], s["head"]) for s in two_tasks.values()]
    corrected = multipletests([test.pvalue for test in expected], method="holm")[1]
    for each, test, after, scores in zip(
        found.differences, expected, corrected, two_tasks.values(), strict=True
    ):
        ends = test.confidence_interval(0.95)
        seen = each.comparison
        assert seen.difference.n == SEEDS
        assert each.first == pytest.approx(np.mean(scores["lora"]))
        assert seen.difference.mean == pytest.approx((each.first or 0) - (each.second or 0))
        assert (seen.difference.low, seen.difference.high) == pytest.approx((ends.low, ends.high))
        assert seen.p_value == pytest.approx(test.pvalue, rel=1e-6)
        assert seen.corrected == pytest.approx(after, rel=1e-6)
        assert each.n_items == 0


def test_compare_names_the_better_one_in_the_direction_of_the_metric(
    tmp_path: Path, two_tasks: dict[str, Scores]
) -> None:
    """A lower error is better, and a small difference is no difference."""
    root = stored(tmp_path, two_tasks).root
    found = compare(root, "lora", "head", EVERYTHING)
    assert [each.better for each in found.differences] == ["", "first"]
    turned = compare(root, "head", "lora", EVERYTHING)
    assert [each.better for each in turned.differences] == ["", "second"]
    assert verdict(found.differences[1], found) == "lora is better."
    assert "One as large as seen would take" in verdict(found.differences[0], found)


def test_compare_on_one_task_corrects_for_one_test(
    tmp_path: Path, two_tasks: dict[str, Scores]
) -> None:
    """The family is what was asked for."""
    root = stored(tmp_path, two_tasks).root
    [each] = compare(root, "lora", "head", Selection(("syn_similarity",))).differences
    assert each.task == "syn_similarity"
    assert each.comparison.corrected == each.comparison.p_value


def test_detectable_difference_is_found_in_four_of_five_studies(tmp_path: Path) -> None:
    """Fresh studies with the spread that was seen find a difference of that size as promised."""
    scores = {"lora": noisy(0.8, 0), "head": noisy(0.8, 1)}
    found = compare(stored(tmp_path, {SENTIMENT: scores}).root, "lora", "head", EVERYTHING)
    [each] = found.differences
    assert each.comparison.detectable is not None
    spread = np.std(np.subtract(scores["lora"], scores["head"]), ddof=1)
    studies = np.random.default_rng(5).normal(each.comparison.detectable, spread, (20_000, SEEDS))
    share = np.mean(reference.ttest_1samp(studies, 0, axis=1).pvalue < 0.05)
    assert share == pytest.approx(0.8, abs=0.015)


def test_compare_finds_variants_by_their_names(tmp_path: Path) -> None:
    """A method alone means its default, or its only variant; blanks do not matter."""
    scores = {
        "lora": noisy(0.7, 0),
        "lora / tuned": noisy(0.9, 1),
        "bilora / first order": noisy(0.8, 2),
    }
    root = stored(tmp_path, {SENTIMENT: scores}).root
    found = compare(root, "lora", "lora/tuned", EVERYTHING)
    assert (found.first, found.second) == ("lora", "lora / tuned")
    assert found.differences[0].better == "second"
    assert compare(root, "lora / default", "bilora", EVERYTHING).second == "bilora / first order"


def test_compare_with_a_task_in_two_suites_counts_it_once(
    tmp_path: Path, two_tasks: dict[str, Scores]
) -> None:
    """The same runs are one test, however often they are planned."""
    stored(tmp_path, {SENTIMENT: two_tasks[SENTIMENT]})
    store = Store(tmp_path)
    again = [
        (Run(make_cell(method, config={"rank": 8, "alpha": 1}), seed), "default")
        for method in ("lora", "head")
        for seed in range(SEEDS)
    ]
    store.write_plan("again", again)
    assert len(compare(tmp_path, "lora", "head", EVERYTHING).differences) == 1


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ([0.8], [0.7], "one common seed, so nothing can be told."),
        ([0.8, 0.8], [0.8, 0.8], "equal on all 2 seeds, which no test can judge."),
        ([0.8, 0.8], [0.5, 0.5], "apart by the same on all 2 seeds, which no test can judge."),
    ],
)
def test_compare_of_scores_that_cannot_be_tested_says_why(
    tmp_path: Path, ours: list[float], theirs: list[float], words: str
) -> None:
    """One seed, or seeds that do not vary, have a difference and no p-value."""
    root = stored(tmp_path, {SENTIMENT: {"lora": ours, "head": theirs}}).root
    found = compare(root, "lora", "head", EVERYTHING)
    [each] = found.differences
    assert verdict(each, found) == words
    assert each.comparison.difference.mean == pytest.approx(ours[0] - theirs[0])
    assert (each.comparison.p_value, each.comparison.detectable) == (None, None)
    assert each.better == ""


def test_compare_with_a_failed_cell_on_one_task_says_so_and_keeps_the_other(
    tmp_path: Path, two_tasks: dict[str, Scores]
) -> None:
    """A task without a common seed stays in the table, without numbers."""
    root = stored(tmp_path, {SENTIMENT: two_tasks[SENTIMENT]}).root
    store = Store(root)
    for method in ("lora", "head"):
        cell = make_cell(method, task=make_task(SIMILARITY, kind="regression"))
        status = Status.OK if method == "lora" else Status.DIVERGED
        store.write(make_record(cell, 0, status=status))
        store.write_plan("mine", [(Run(cell, 0), "default")])
    found = compare(root, "lora", "head", EVERYTHING)
    one, other = found.differences
    assert one.comparison.p_value is not None
    assert verdict(other, found) == "no common seed, so nothing can be told."
    assert (other.first, other.comparison.difference.mean) == (None, None)


@pytest.mark.parametrize(
    ("first", "second", "kind", "message"),
    [
        ("lora", "dora", StoreError, r"has no method 'dora'; it has bilora, head, lora"),
        ("lora", "lora/x", ConfigError, r"no 'lora / x' here; name one of 'lora', 'lora / tuned'"),
        ("head", "bilora", ConfigError, r"name one of 'bilora / a', 'bilora / b b'"),
        ("lora", "lora / default", ConfigError, r"'lora' is to be compared with itself; name two"),
    ],
)
def test_compare_of_unknown_names_says_what_there_is(
    tmp_path: Path, first: str, second: str, kind: type[Exception], message: str
) -> None:
    """Every name that leads nowhere is answered with those that do."""
    names = ("lora", "lora / tuned", "head", "bilora / a", "bilora / b b")
    root = stored(tmp_path, {SENTIMENT: {name: noisy(0.8, 0, 2) for name in names}}).root
    with pytest.raises(kind, match=message):
        compare(root, first, second, EVERYTHING)


def test_compare_without_a_common_task_says_where_each_is(tmp_path: Path) -> None:
    """The places of both are named."""
    scores = {SENTIMENT: {"lora": noisy(0.8, 0)}, SIMILARITY: {"head": noisy(0.1, 1)}}
    with pytest.raises(StoreError, match=r"'lora' has syn_sentiment on tiny-bert; 'head' has"):
        compare(stored(tmp_path, scores).root, "lora", "head", EVERYTHING)


def test_compare_without_a_common_seed_says_what_to_run(tmp_path: Path) -> None:
    """Means of other seeds are not compared."""
    store = stored(tmp_path, {SENTIMENT: {"lora": noisy(0.8, 0, 2)}})
    cell = make_cell("head")
    store.write(make_record(cell, 7))
    store.write_plan("mine", [(Run(cell, 7), "default")])
    with pytest.raises(StoreError, match=r"no seed in common.*run them on the same seeds"):
        compare(store.root, "lora", "head", EVERYTHING)


def wide(root: Path) -> Compared:
    """Compare two methods with long names on a task with a long name."""
    task = "a_task_whose_name_is_far_too_long_for_its_column"
    name = "lora / " + "very long variant " * 6
    return compare(
        stored(root, {task: {name: noisy(0.8, 0), "head": noisy(0.79, 1)}}).root,
        "lora",
        "head",
        EVERYTHING,
    )


def test_comparison_as_text_fits_a_terminal_and_holds_every_number(
    tmp_path: Path, two_tasks: dict[str, Scores]
) -> None:
    """No line is wider than promised; each task has a line of numbers and a verdict."""
    lines = format_comparison(wide(tmp_path / "wide")).splitlines()
    assert max(map(len, lines[2:])) <= WIDTH
    found = compare(stored(tmp_path / "two", two_tasks).root, "lora", "head", EVERYTHING)
    text = format_comparison(found)
    for each in found.differences:
        assert f"{each.task} on tiny-bert" in text
        assert f"{each.comparison.difference.mean:.3f}" in text
    assert "mse, lower is better: lora is better." in text
    assert "Of 2 tasks, lora is better on 1, head on 0; on 1 the data tell no difference." in text


def test_comparison_as_json_holds_what_the_text_says(
    tmp_path: Path, two_tasks: dict[str, Scores]
) -> None:
    """The content is legal JSON, and numbers that do not exist are null."""
    scores: dict[str, Any] = two_tasks | {SENTIMENT: {"lora": [0.8], "head": [0.7]}}
    found = compare(stored(tmp_path, scores).root, "lora", "head", EVERYTHING)
    made = json.loads(json.dumps(content(found), allow_nan=False))
    assert (made["first"], made["second"]) == ("lora", "head")
    one, other = made["tasks"]
    assert (one["seeds"], one["p_value"], one["low"], one["better"]) == (1, None, None, None)
    assert one["difference"] == pytest.approx(0.1)
    assert (other["seeds"], other["better"], other["items"]) == (SEEDS, "first", None)
    assert other["p_value"] <= other["corrected"] < 0.05
