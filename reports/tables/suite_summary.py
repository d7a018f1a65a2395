"""What the tasks of a suite say together: which rows they compare, and on what.

A suite is looked at as a whole where every task has one backbone, else backbone by backbone. The
tasks of GLUE count by that benchmark's rules where all nine are there, each with all of its test
examples; see `reports.tables.glue`.
Statistics are in `reports.stats`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from gapbench.bench.store.suite_plan import REFERENCE as SUITE_REFERENCE
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.stats.estimates import Estimate, averaged
from gapbench.reports.stats.pairwise import Family, averaged_family
from gapbench.reports.stats.simultaneous import ALPHA, TOGETHER
from gapbench.reports.tables.glue import GLUE
from gapbench.reports.tables.leaderboard import BOARD
from gapbench.reports.tables.outcomes import OUTCOMES, Outcome, level_of
from gapbench.reports.tables.standing import depths, reference_of
from gapbench.reports.tables.task_summary import TaskSummary, task_of

Scale = Literal["score", "share", ""]


@dataclass(frozen=True)
class SuiteSummary:
    """The rows of a suite that have a score on every one of its tasks.

    Attributes:
        suite: its name.
        backbone: what all were run on, "" if there are several.
        start: name of the adapter that runs start from, "" if none.
        protocol: strict or paper.
        tasks: two or more.
        names: of the rows, at least one; of a part of a results folder, those that are shown.
        left_out: other rows and tasks, and why they are no part of it.
        glue: whether scores are those of the GLUE average.
        reference: name of the row that others are compared with first, "" if there is none.
        alpha: level of all comparisons of one outcome over tasks.
    """

    suite: str
    backbone: str
    start: str
    protocol: str
    tasks: tuple[TaskSummary, ...]
    names: tuple[str, ...]
    left_out: Mapping[str, str]
    glue: bool
    reference: str = ""
    alpha: float = ALPHA * TOGETHER

    @property
    def scale(self) -> Scale:
        """What is averaged over tasks.

        "score": plain scores, if all tasks share one metric whose best value is 1, or make up GLUE.
        "share": otherwise. On each task, 0 is the untrained row (`majority`, else `untuned`) and 1
        the best ranked row, which gives different metrics a common unit.
        "": nothing, since a task has no untrained row, or no row that is better than it.
        """
        if self.glue or (len({task.metric for task in self.tasks}) == 1 and self.tasks[0].bounded):
            return "score"
        return "share" if all(task.way for task in self.tasks) else ""

    @property
    def averageable(self) -> bool:
        """Whether there is a mean over tasks."""
        return self.scale != ""

    @property
    def possible(self) -> tuple[float, float]:
        """Lowest and highest possible mean over tasks."""
        if not self.averageable:
            return -np.inf, np.inf
        ends = [
            sorted((end - self._start(task)) * factor for end in task.possible)
            for task, factor in zip(self.tasks, self.factors, strict=True)
        ]
        low, high = np.mean(ends, axis=0)
        return float(low), float(high)

    def _start(self, task: TaskSummary) -> float:
        """Return what is taken off the scores of a task before they are averaged."""
        return task.way[0] if task.way and self.scale == "share" else 0.0

    @property
    def factors(self) -> list[float]:
        """What differences in score on each task are multiplied by before they are averaged."""
        if self.scale != "share":
            return [1.0] * len(self.tasks)
        return [1 / (task.way[1] - task.way[0]) if task.way else np.nan for task in self.tasks]

    def alpha_of(self, outcome: Outcome) -> float:
        """Return the level of all comparisons of an outcome over tasks."""
        return self.alpha * level_of(outcome, *(task.possible for task in self.tasks))

    @cached_property
    def families(self) -> Mapping[Outcome, Family[str]]:
        """All pairs of rows that are ranked on every task, by mean over tasks, by outcome."""
        found: dict[Outcome, Family[str]] = {}
        for outcome in OUTCOMES if self.averageable else ():
            parts = [task.families[outcome] for task in self.tasks]
            factors = [abs(one) if outcome == "gap" else one for one in self.factors]
            factors = factors if outcome in ("score", "gap") else [1.0] * len(parts)
            alpha = self.alpha_of(outcome)
            found[outcome] = averaged_family(parts, factors, alpha, self.reference)
        return found

    @property
    def pairs(self) -> Family[str]:
        """All pairs of rows that are ranked on every task, by mean score."""
        return self.families["score"]

    @cached_property
    def ranked(self) -> tuple[str, ...]:
        """Rows that are ranked on every task, best mean first."""
        compared = [task.families["score"].places for task in self.tasks]
        names = [name for name in self.names if all(name in each for each in compared)]
        return tuple(name for name in self.means if name in names) or tuple(names)

    @cached_property
    def means(self) -> Mapping[str, Estimate]:
        """The mean over tasks of each row, best first; none where scores have several scales."""
        if not self.averageable:
            return {}
        found = {name: self._mean(name) for name in self.names}
        return dict(sorted(found.items(), key=lambda item: -float(item[1].mean)))

    def _mean(self, name: str) -> Estimate:
        """Return the mean over tasks of a row, shown or not."""
        parts = []
        for task, factor in zip(self.tasks, self.factors, strict=True):
            own = task.estimates[name]
            parts.append(replace(own, mean=own.mean - self._start(task)).scaled(factor))
        return averaged(parts)

    @cached_property
    def beaten_by(self) -> Mapping[str, tuple[str, ...]]:
        """For each row that is ranked on every task, shown or not, those that are better.

        By mean over tasks, best first.
        """
        if not self.averageable:
            return {}
        found = self.pairs.beaten_by(higher_is_better=True)
        order = sorted(found, key=lambda name: -float(self._mean(name).mean))
        return {name: tuple(each for each in order if each in found[name]) for name in order}

    @cached_property
    def groups(self) -> Mapping[str, int]:
        """Groups of ranked rows by mean over tasks; see `reports.tables.standing.depths`."""
        return depths(self.beaten_by)


def suite_summaries(results: LoadedResults, summary: pd.DataFrame) -> list[SuiteSummary]:
    """Return what may be looked at together: suites of two tasks or more.

    Of a part of a folder that lacks some of a suite's tasks there is no mean over tasks, since each
    choice of tasks would be another claim.

    Args:
        results: where predictions are stored.
        summary: the table of `reports.tables.summary.summarise`.
    """
    found = [
        _suite_summary(results, boards)
        for boards in _together(summary)
        if not _lacks_tasks(results, boards[0]["suite"].iloc[0], set(summary["task"]))
    ]
    whole = (results.whole or results).runs  # a claim does not depend on what is looked at
    whole = whole[whole["setting"] != ""]  # of a missing run it is not known
    several = Counter(
        str(boards[0]["suite"].iloc[0])
        for boards in _together(whole)
        if len({board["task"].iloc[0] for board in boards}) > 1
    )
    return [
        replace(each, alpha=ALPHA * TOGETHER / several[each.suite])
        for each in found
        if each is not None and several[each.suite]  # else its tasks meet in this part alone
    ]


def _together(table: pd.DataFrame) -> list[list[pd.DataFrame]]:
    """Return the boards of a table of runs or of cells that have means over tasks together."""
    groups: dict[tuple[str, ...], list[pd.DataFrame]] = {}
    for _, board in table[table["suite"] != ""].groupby(BOARD, sort=False):
        first = board.iloc[0]
        groups.setdefault((first["suite"], first["start"], first["protocol"]), []).append(board)
    return [part for group in groups.values() for part in _parts(group)]


def _lacks_tasks(results: LoadedResults, suite: str, shown: set[str]) -> bool:
    if results.whole is None:
        return False
    runs = results.whole.runs
    return not set(runs.loc[runs["suite"] == suite, "task"]) <= shown


def _parts(boards: list[pd.DataFrame]) -> list[list[pd.DataFrame]]:
    """Return the boards as a whole if no task has two backbones, else backbone by backbone."""
    places = {(board["task"].iloc[0], board["backbone"].iloc[0]) for board in boards}
    if len({task for task, _ in places}) == len(places):
        return [boards]
    backbones = dict.fromkeys(board["backbone"].iloc[0] for board in boards)
    return [[b for b in boards if b["backbone"].iloc[0] == backbone] for backbone in backbones]


def _is_glue(results: LoadedResults, boards: list[pd.DataFrame]) -> bool:
    """Return whether all nine tasks are there, each with all of its test examples.

    A mean over parts of the tests would stand beside published averages as if it were one.
    """
    if not set(GLUE) <= {str(board["task"].iloc[0]) for board in boards}:
        return False
    known = [results.cells.get(cell) for board in boards for cell in board["config_hash"]]
    tasks = [record.cell.task for record in known if record is not None]
    return all(task.test_size is None for task in tasks if task.name in GLUE)


def _suite_summary(results: LoadedResults, boards: list[pd.DataFrame]) -> SuiteSummary | None:
    names = [str(board["task"].iloc[0]) for board in boards]
    glue = _is_glue(results, boards)
    left_out = {
        name: "it was run under several settings" for name in names if names.count(name) > 1
    }
    kept = [
        board
        for name, board in zip(names, boards, strict=True)
        if name not in left_out and (name in GLUE or not glue)
    ]
    if glue:
        left_out |= {name: "no task of GLUE" for name in names if name not in GLUE}
    tasks = [task for task in (task_of(board, glue=glue) for board in kept) if task.rows]
    empty = {str(board["task"].iloc[0]) for board in kept} - {task.name for task in tasks}
    left_out |= dict.fromkeys(sorted(empty), "no row has a score")
    if len(tasks) < 2:
        return None
    every = dict.fromkeys(name for task in tasks for name in task.rows)
    for name in every:
        if lacking := [task.name for task in tasks if name not in task.rows]:
            left_out[name] = f"no score on {', '.join(lacking)}"
    whole = tuple(name for name in every if name not in left_out)
    if not whole:
        return None
    first, backbones = boards[0].iloc[0], {task.backbone for task in tasks}
    return SuiteSummary(
        suite=first["suite"],
        backbone=backbones.pop() if len(backbones) == 1 else "",
        start=first["start"],
        protocol=first["protocol"],
        tasks=tuple(tasks),
        names=whole,
        left_out=left_out,
        glue=glue and len(tasks) == len(GLUE),
        reference=_reference(tasks, results.references.get(first["suite"], SUITE_REFERENCE)),
    )


def _reference(tasks: Sequence[TaskSummary], named: str) -> str:
    """Return the reference of all tasks; where they differ, what the suite names, if all have it.

    A wanted reference may be on some tasks alone.
    """
    found = {task.standing.reference for task in tasks}
    if len(found) > 1:
        found = {reference_of(task.standing.rows, named) for task in tasks}
    return found.pop() if len(found) == 1 else ""
