"""What the tasks of a suite say together, and what is left out of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gapbench.bench.config.run import Budget, Cell, Fingerprint, Run
from gapbench.bench.config.task import Task
from gapbench.bench.store.record import Status
from gapbench.bench.store.store import Store
from gapbench.reports.results.load import load
from gapbench.reports.results.selection import Selection
from gapbench.reports.tables.suite_summary import SuiteSummary, suite_summaries
from gapbench.reports.tables.summary import summarise
from tests.support.results_folder import FEW, fill, make_cell, make_record, make_task, put

TASKS = (make_task(), make_task("syn_acceptability"), make_task("syn_entailment"))
REGRESSION = make_task("syn_similarity", kind="regression")


def found(root: Path) -> list[SuiteSummary]:
    """Return what may be looked at together in a results folder."""
    results = load(Store(root))
    return suite_summaries(results, summarise(results))


def plan(store: Store, cell: Cell, seeds: int = 3, variant: str = "default") -> None:
    """Plan runs of a cell."""
    store.write_plan("quickstart", [(Run(cell, seed), variant) for seed in range(seeds)])


def add(store: Store, cell: Cell, seeds: int = 3, variant: str = "default", **change: Any) -> None:
    """Plan and store runs of a cell."""
    plan(store, cell, seeds, variant)
    for seed in range(seeds):
        put(store, make_record(cell, seed, **change))


def on(cell: Cell, **change: Any) -> Cell:
    """Return a changed cell."""
    return cell.model_copy(update=change)


def test_tasks_of_a_suite_are_averaged_and_grouped_together(tmp_path: Path) -> None:
    """Means are those of the tasks' means; the clear order of methods is found."""
    order = ("lora_dropout", "bitfit", "head")
    fill(tmp_path, methods=order, seeds=8, tasks=TASKS)
    (together,) = found(tmp_path)
    assert tuple(together.means) == order
    for name, mean in together.means.items():
        scores = [
            make_record(make_cell(name, task=task), seed).score("test") or 0
            for task in TASKS
            for seed in range(8)
        ]
        assert float(mean.mean) == pytest.approx(np.mean(scores))
    assert together.groups == dict(zip(order, (1, 2, 3), strict=True))
    assert together.possible == (0, 1)
    assert together.scale == "score"


def test_tasks_on_several_scales_without_an_untrained_row_are_not_averaged(
    tmp_path: Path,
) -> None:
    """An error that should be low has no mean with an accuracy."""
    fill(tmp_path, methods=FEW, seeds=8, tasks=(TASKS[0], REGRESSION))
    (together,) = found(tmp_path)
    assert not together.averageable
    assert (together.means, together.groups) == ({}, {})


def test_tasks_on_several_scales_are_averaged_by_the_way_from_untrained_to_best(
    tmp_path: Path,
) -> None:
    """The best row of a task has come all the way, and an untrained one none of it."""
    fill(tmp_path, methods=("majority", *FEW), seeds=8, tasks=(TASKS[0], REGRESSION))
    (together,) = found(tmp_path)
    assert together.scale == "share"
    assert float(together.means["lora_dropout"].mean) == pytest.approx(1)
    expected = []
    for task in together.tasks:
        low, high, own = (
            float(task.estimates[n].mean) for n in ("majority", "lora_dropout", "lora")
        )
        expected.append((own - low) / (high - low))
    assert float(together.means["lora"].mean) == pytest.approx(np.mean(expected))
    difference = together.pairs.pair("lora", "lora_dropout").difference
    assert difference == pytest.approx(np.mean(expected) - 1)
    ways = [task.way for task in together.tasks if task.way]
    best = np.mean(
        [1 / (ways[0][1] - ways[0][0]) * (1 - ways[0][0]), ways[1][0] / (ways[1][0] - ways[1][1])]
    )
    assert together.possible == (-np.inf, pytest.approx(best))  # an error of 0 is the best there is


@pytest.mark.parametrize("tasks", [TASKS, (TASKS[0], REGRESSION)])
def test_part_of_a_folder_is_compared_as_the_whole_is(
    tasks: tuple[Task, ...], tmp_path: Path
) -> None:
    """Whatever rows are asked for, the untrained one that scales the mean among them or not."""
    store = fill(tmp_path, methods=("majority", *FEW), seeds=4, tasks=tasks)
    (whole,) = found(tmp_path)
    part = Selection(method=("lora", "head")).of(load(store))
    (few,) = suite_summaries(part, summarise(part))
    assert set(few.names) == {"lora", "head"}
    assert {name: float(each.mean) for name, each in few.means.items()} == {
        name: float(whole.means[name].mean) for name in few.means
    }
    assert few.families["score"].places
    for outcome, family in whole.families.items():
        assert few.families[outcome].places == family.places
        if family.places:  # an error has neither ECE nor NLL
            assert few.families[outcome].pair("lora", "head") == family.pair("lora", "head")


def test_rows_that_lack_a_task_are_left_out_with_the_reason(tmp_path: Path) -> None:
    """A method whose runs failed on one task compares on no average; the others do."""
    store = fill(tmp_path, methods=FEW, tasks=TASKS)
    add(store, make_cell("dora", task=TASKS[0]))
    add(store, make_cell("dora", task=TASKS[1]))
    add(store, make_cell("dora", task=TASKS[2]), status=Status.FAILED, detail="broke")
    (together,) = found(tmp_path)
    assert together.left_out == {"dora": "no score on syn_entailment"}
    assert "dora" not in together.names


def test_task_without_any_score_is_left_out(tmp_path: Path) -> None:
    """A task on which everything failed does not take the others with it."""
    store = fill(tmp_path, methods=FEW, tasks=TASKS[:2])
    for method in FEW:
        add(store, make_cell(method, task=TASKS[2]), status=Status.DIVERGED, detail="nan")
    (together,) = found(tmp_path)
    assert [task.name for task in together.tasks] == ["syn_sentiment", "syn_acceptability"]
    assert together.left_out == {"syn_entailment": "no row has a score"}


def test_names_of_the_same_runs_have_one_test(tmp_path: Path) -> None:
    """A tuned row that kept its default everywhere adds no comparison; elsewhere it does."""
    store = fill(tmp_path, methods=FEW, seeds=3, tasks=TASKS)
    (before,) = found(tmp_path)
    for task in TASKS:
        plan(store, make_cell("lora", task=task), variant="tuned")
    (together,) = found(tmp_path)
    assert set(together.ranked) == {*FEW, "lora / tuned"}
    np.testing.assert_array_equal(together.pairs.bounds.half, before.pairs.bounds.half)
    add(store, make_cell("lora", task=TASKS[0], config={"rank": 2}), variant="wide")
    for task in TASKS[1:]:
        plan(store, make_cell("lora", task=task), variant="wide")
    (together,) = found(tmp_path)
    assert together.pairs.n_seeds.shape == (4, 4)


def test_one_task_is_nothing_to_look_at_together(tmp_path: Path) -> None:
    """Nor are tasks that have no row in common."""
    fill(tmp_path / "one", methods=FEW, tasks=TASKS[:1])
    assert found(tmp_path / "one") == []
    store = fill(tmp_path / "two", methods=("lora",), tasks=TASKS[:1])
    add(store, make_cell("head", task=TASKS[1]))
    assert found(tmp_path / "two") == []


def test_one_seed_gives_means_without_intervals_and_no_ranking(tmp_path: Path) -> None:
    """What cannot be told is empty: no group."""
    fill(tmp_path, methods=FEW, seeds=1, tasks=TASKS)
    (together,) = found(tmp_path)
    assert all(np.isnan(mean.ends()).all() for mean in together.means.values())
    assert (together.ranked, together.groups) == ((), {})


def test_task_on_two_backbones_counts_once_with_each(tmp_path: Path) -> None:
    """A suite on two backbones is looked at backbone by backbone."""
    store = fill(tmp_path, methods=("lora", "head"), tasks=TASKS)
    other = Fingerprint(name="other-bert", digest="e" * 64)
    for task in TASKS:
        for method in ("lora", "head"):
            add(store, on(make_cell(method, task=task), backbone=other))
    assert [each.backbone for each in found(tmp_path)] == ["tiny-bert", "other-bert"]
    assert all(len(each.tasks) == 3 for each in found(tmp_path))


def test_tasks_with_a_backbone_each_are_looked_at_as_a_whole(tmp_path: Path) -> None:
    """Encoders and decoders have other tasks; the suite is one."""
    store = fill(tmp_path, methods=("lora", "head"), tasks=TASKS[:2])
    other = Fingerprint(name="tiny-decoder", digest="e" * 64)
    for method in ("lora", "head"):
        add(store, on(make_cell(method, task=TASKS[2]), backbone=other))
    (together,) = found(tmp_path)
    assert (together.backbone, len(together.tasks)) == ("", 3)


def test_task_under_two_settings_is_left_out(tmp_path: Path) -> None:
    """Which of two budgets should count is not for the report to choose."""
    store = fill(tmp_path, methods=("lora", "head"), tasks=TASKS)
    add(store, on(make_cell("head", task=TASKS[0]), budget=Budget(steps=100)))
    (together,) = found(tmp_path)
    assert together.left_out == {"syn_sentiment": "it was run under several settings"}
    assert [task.name for task in together.tasks] == ["syn_acceptability", "syn_entailment"]


@pytest.mark.parametrize("task", [TASKS[0], REGRESSION])
def test_runs_in_no_suite_are_not_looked_at_together(task: Task, tmp_path: Path) -> None:
    """Strays share no plan, and may be anything."""
    store = Store(tmp_path)
    store.open_for_writing()
    put(store, make_record(make_cell(task=task), 0))
    put(store, make_record(make_cell(task=TASKS[1]), 0))
    assert found(tmp_path) == []
