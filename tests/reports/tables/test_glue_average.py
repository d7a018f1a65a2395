"""The GLUE average: tasks count alike, and their metrics and test sets are averaged first."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy.special import logit

from gapbench.bench.config.run import Run
from gapbench.bench.config.task_files import load as load_task
from gapbench.bench.experiment.suite import load as load_suite
from gapbench.bench.store.record import SplitScores, Status
from gapbench.bench.store.store import Store
from gapbench.reports.render.build import build, terminal
from gapbench.reports.tables.glue import GLUE
from gapbench.reports.tables.glue_average import NAME
from gapbench.reports.verdict.model import SAME
from tests.support.known_truth import verdicts_of
from tests.support.results_folder import items_of, make_cell, make_record
from tests.support.small_suite import blank

SCORES = {
    "cola": {"test": {"matthews_correlation": 0.5, "accuracy": 0.9}},
    "sst2": {"test": {"accuracy": 0.9}},
    "mrpc": {"test": {"f1": 0.8, "accuracy": 0.7}},
    "stsb": {"test": {"pearson": 0.88, "spearman": 0.86}},
    "qqp": {"test": {"f1": 0.7, "accuracy": 0.9}},
    "mnli": {"test": {"accuracy": 0.84}, "mismatched": {"accuracy": 0.8}},
    "qnli": {"test": {"accuracy": 0.9}},
    "rte": {"test": {"accuracy": 0.6}},
    "wnli": {"test": {"accuracy": 0.4}},
}
BY_HAND = (0.5 + 0.9 + 0.75 + 0.87 + 0.8 + 0.82 + 0.9 + 0.6 + 0.4) / 9
"""CoLA's accuracy is no part of it."""

METRICS = {metric for splits in SCORES.values() for scores in splits.values() for metric in scores}


def fill(
    root: Path,
    *,
    without: str = "",
    lacking: int = 1,
    seeds: int = 2,
    methods: tuple[str, ...] = ("lora",),
    fate: Status | None = None,
    f1_lower: float = 0.0,
    part_of: str = "",
) -> None:
    """Write runs of all nine tasks, seed s scoring s / 10 higher, `majority` 0.4 lower.

    F1 of `majority` is lower still by ``f1_lower``.
    LoRA's run of one task and seed is missing, or ended as `fate` says. Of one task, some test
    examples are scored.
    """
    store = Store(root)
    store.open_for_writing()
    tasks = [load_task(name) for name in SCORES]
    tasks = [
        task.model_copy(update={"test_size": 10}) if task.name == part_of else task
        for task in tasks
    ]
    cells = [make_cell(method, task=task) for method in methods for task in tasks]
    runs = [Run(cell, seed) for cell in cells for seed in range(seeds)]
    store.write_plan("glue", [(run, "default") for run in runs])
    cost = make_record().cost
    assert cost is not None
    nothing = cost.model_copy(update={"trainable_params": 0})
    for run in runs:
        name, method = run.cell.task.name, run.cell.method
        bare = float(method == "majority")
        lower = {metric: bare * (0.4 + f1_lower * (metric == "f1")) for metric in METRICS}
        splits = {
            split: SplitScores(
                metrics={m: value + run.seed / 10 - lower[m] for m, value in scores.items()},
                loss=1.0,
                examples=10,
            )
            for split, scores in SCORES[name].items()
        }
        if (name, run.seed, method) != (without, lacking, "lora"):
            record = blank(run, splits=splits, cost=nothing if bare else cost)
            store.write(record, items_of(record))
        elif fate is not None:
            store.write(blank(run, fate, detail="cause"))


def average(root: Path) -> list[dict[str, Any]]:
    """Return the rows of the average in the leaderboard."""
    rows: list[dict[str, Any]] = json.loads(terminal(root, form="json"))["rows"]
    return [row for row in rows if row["task"] == NAME]


@pytest.mark.usefixtures("no_figures")
def test_average_equals_the_one_by_hand(tmp_path: Path) -> None:
    """Each task counts a ninth, with the mean of what GLUE scores of it."""
    fill(tmp_path, seeds=1)
    (row,) = average(tmp_path)
    assert row["score"] == pytest.approx(BY_HAND)
    assert (row["suite"], row["method"], row["n_seeds"]) == ("glue", "lora", 1)
    assert NAME in terminal(tmp_path)
    built = build(tmp_path, tmp_path / "report")
    assert NAME in built.report.read_text()
    table = pd.read_csv(built.leaderboard)
    assert table[table["task"] == NAME]["score"].tolist() == pytest.approx([row["score"]])


def test_interval_of_the_average_adds_the_variances_of_tasks(tmp_path: Path) -> None:
    """Seeds differ by a tenth on each of nine tasks, which are drawn one by one."""
    fill(tmp_path)
    (row,) = average(tmp_path)
    assert row["score"] == pytest.approx(BY_HAND + 0.05)
    half = 2.262 * 0.05 / 3  # t quantile of nine degrees of freedom, one of each task
    low, width = -2 / 9, 11 / 9  # possible means: two of nine tasks may reach -1, all of them 1
    mean, *ends = ((row[name] - low) / width for name in ("score", "score_ci_low", "score_ci_high"))
    reach = half / width / (mean * (1 - mean))  # in log odds
    assert logit(ends) - logit(mean) == pytest.approx([-reach, reach], rel=1e-3)


@pytest.mark.parametrize("without", ["rte", "mnli"])
def test_task_with_one_seed_leaves_the_average_without_interval(
    without: str, tmp_path: Path
) -> None:
    """The average is that of the tasks' means; one seed of a task has no spread."""
    fill(tmp_path, without=without)
    (row,) = average(tmp_path)
    assert (row["n_seeds"], row["score"]) == (1, pytest.approx(BY_HAND + 0.05 * 8 / 9))
    assert row["score_ci_low"] is None


@pytest.mark.parametrize("task", ["rte", "mrpc"])
def test_row_that_collapsed_on_a_task_has_no_interval(task: str, tmp_path: Path) -> None:
    """Of tasks with one metric and with two: the mean is of two kinds of runs."""
    fill(tmp_path, seeds=5, methods=("lora", "bitfit", "majority"))
    store, cell = Store(tmp_path), make_cell("bitfit", task=load_task(task))
    for seed, drop in enumerate((0.0, 0.001, 0.002, 0.39, 0.001)):
        path = store.record_path(Run(cell, seed))
        for file in path.parent.glob(f"{path.stem}.*"):
            file.unlink()
        splits = {
            split: SplitScores(
                metrics={name: value - drop for name, value in scores.items()},
                loss=1.0,
                examples=10,
            )
            for split, scores in SCORES[task].items()
        }
        record = blank(Run(cell, seed), splits=splits, cost=make_record().cost)
        store.write(record, items_of(record))
    found = {row["method"]: row for row in average(tmp_path)}
    assert found["bitfit"]["score_ci_low"] is None
    assert found["lora"]["score_ci_low"] is not None


@pytest.mark.parametrize("without", ["rte", "mrpc"])
def test_lost_run_counts_as_the_untrained_row(without: str, tmp_path: Path) -> None:
    """Of tasks with one metric and with two: losing a good seed does not leave the others alone."""
    fill(tmp_path, without=without, methods=("lora", "majority"), fate=Status.DIVERGED)
    lora = next(row for row in average(tmp_path) if row["method"] == "lora")
    assert lora["score"] == pytest.approx(BY_HAND + 0.05 - 0.4 / 2 / 9)
    assert lora["n_seeds"] == 1  # with a score on every task


@pytest.mark.parametrize("without", ["rte", "mnli"])
def test_method_that_lacks_a_task_has_no_average(without: str, tmp_path: Path) -> None:
    """A mean over eight tasks is no GLUE average."""
    fill(tmp_path, without=without, seeds=1, lacking=0)
    assert average(tmp_path) == []


@pytest.mark.parametrize("part_of", ["rte", "mnli"])
def test_part_of_a_test_leaves_no_glue_average(part_of: str, tmp_path: Path) -> None:
    """It would stand beside published averages, which are of whole test sets."""
    fill(tmp_path, methods=("lora", "majority"), part_of=part_of)
    assert average(tmp_path) == []
    overall = verdicts_of(Store(tmp_path), "lora")[0]
    assert overall.metric == "mean share of the way from untrained to best"


def test_gain_over_the_untrained_row_is_that_of_the_averages(tmp_path: Path) -> None:
    """Tasks of two metrics count with their mean, as in the averages themselves."""
    fill(tmp_path, methods=("lora", "majority"), f1_lower=0.2)
    overall = verdicts_of(Store(tmp_path), "lora")[0]
    (gain,) = overall.untrained
    levels = {each.name: each.levels["score"].mean or 0.0 for each in overall.entries}
    assert gain.difference == pytest.approx(levels["lora"] - levels["majority"])
    assert gain.difference == pytest.approx(0.4 + 0.2 / 9)


def test_names_of_the_same_runs_have_one_test(tmp_path: Path) -> None:
    """On tasks of two metrics, as on the others, a second name adds no comparison."""
    fill(tmp_path, methods=("lora", "head", "majority"), f1_lower=0.2)
    store = Store(tmp_path)
    before = verdicts_of(store, "lora")[0]
    cells = [make_cell("head", task=load_task(name)) for name in SCORES]
    store.write_plan("glue", [(Run(cell, seed), "again") for cell in cells for seed in range(2)])
    after = verdicts_of(store, "lora")[0]
    own = [each["head"].to_reference["score"] for each in (before, after)]
    assert own[0] == own[1]
    assert after.pairs["score"]["head / again", "head"].withheld == SAME
    gains = [each.gains["lora", "majority"] for each in (before, after)]
    assert gains[0] == gains[1]


def test_glue_suite_has_all_that_the_average_needs() -> None:
    """The built-in suite runs the nine tasks, and they measure what counts."""
    suite, _ = load_suite("glue")
    assert sorted(entry.task for entry in suite.tasks) == sorted(GLUE)
    for name, parts in GLUE.items():
        task = load_task(name)
        splits = {"test", *(task.splits.more or {})}
        assert {tuple(part.split("/")) for part in parts} <= {
            (split, metric) for split in splits for metric in task.metrics
        }
        assert {part.split("/")[0] for part in parts} == splits


def test_task_beside_glue_is_told_to_be_no_part_of_it(tmp_path: Path) -> None:
    """Or the card would count its answer among those of the nine."""
    fill(tmp_path)
    store = Store(tmp_path)
    store.open_for_writing()
    other = [Run(make_cell("lora"), seed) for seed in range(2)]
    store.write_plan("glue", [(run, "default") for run in other])
    for run in other:
        record = make_record(run.cell, run.seed)
        store.write(record, items_of(record))
    (found,) = verdicts_of(store)
    assert (found.n_tasks, len(found.tasks)) == (9, 10)
    assert dict(found.left_out) == {"syn_sentiment": "no task of GLUE"}
