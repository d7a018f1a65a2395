"""What the tasks of a suite say together: which rows they compare, and on what.

A suite is looked at as a whole where every task has one backbone, else backbone by backbone. The
tasks of GLUE count by that benchmark's rules where all nine are there; see `reports.tables.glue`.
Statistics are in `reports.stats`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from gapbench.reports.results.load import Results
from gapbench.reports.stats.across_tasks import (
    Profile,
    Ranks,
    improvement,
    interquartile,
    profile,
    ranks,
)
from gapbench.reports.stats.estimates import Estimate, averaged
from gapbench.reports.stats.groups import tie_groups
from gapbench.reports.stats.pairwise import Family, averaged_family
from gapbench.reports.tables.glue import GLUE
from gapbench.reports.tables.leaderboard import BLOCK
from gapbench.reports.tables.task_summary import TaskSummary, task_of


@dataclass(frozen=True)
class SuiteSummary:
    """The rows of a suite that have a score on every one of its tasks.

    Attributes:
        suite: its name.
        backbone: what all were run on, "" if there are several.
        start: name of the adapter that runs start from, "" if none.
        protocol: strict or paper.
        tasks: two or more.
        names: of the rows, at least one.
        left_out: other rows and tasks, and why they are no part of it.
        glue: whether scores are those of the GLUE average.
    """

    suite: str
    backbone: str
    start: str
    protocol: str
    tasks: tuple[TaskSummary, ...]
    names: tuple[str, ...]
    left_out: Mapping[str, str]
    glue: bool

    @property
    def averageable(self) -> bool:
        """Whether scores of all tasks are on one scale."""
        return all(task.bounded for task in self.tasks)

    @property
    def possible(self) -> tuple[float, float]:
        """Lowest and highest possible mean over tasks."""
        low, high = np.mean([task.possible for task in self.tasks], axis=0)
        return float(low), float(high)

    @cached_property
    def pairs(self) -> Family[str]:
        """All pairs of ranked rows by mean over tasks; a ranked row has two seeds on every task."""
        return averaged_family([task.pairs for task in self.tasks])

    @property
    def ranked(self) -> tuple[str, ...]:
        """Rows that are compared with each other."""
        return tuple(self.pairs.places)

    @cached_property
    def means(self) -> Mapping[str, Estimate]:
        """The mean over tasks of each row, best first; none where scores have several scales."""
        if not self.averageable:
            return {}
        found = {name: averaged([t.estimates[name] for t in self.tasks]) for name in self.names}
        return dict(sorted(found.items(), key=lambda item: -float(item[1].mean)))

    @cached_property
    def interquartile(self) -> Mapping[str, Estimate]:
        """The interquartile mean over the runs of all tasks, in the order of `means`."""
        return {
            name: interquartile(
                [list(task.scores[name].values()) for task in self.tasks],
                [task.estimates[name] for task in self.tasks],
            )
            for name in self.means
        }

    @cached_property
    def groups(self) -> Mapping[str, int]:
        """Tie groups of ranked rows by mean over tasks; none where scores have several scales."""
        means = {name: float(each.mean) for name, each in self.means.items() if name in self.ranked}
        return tie_groups(means, self.pairs, higher_is_better=True)  # in the order of means

    @cached_property
    def ranks(self) -> Ranks[str] | None:
        """Average ranks of rows over tasks, None with fewer than three.

        Names of the same runs have one rank, that of the first.
        """
        names = dict.fromkeys(self.pairs.twins().values())
        return ranks({name: [task.mean(name) for task in self.tasks] for name in names})

    def improvement(self, first: str, second: str) -> Estimate:
        """Return how probably a run of one row beats one of another, on common seeds."""
        sides: tuple[list[list[float]], list[list[float]]] = ([], [])
        for task in self.tasks:
            ours, theirs = task.scores[first], task.scores[second]
            sign = 1 if task.upward else -1
            seeds = sorted(ours.keys() & theirs.keys())
            for side, scores in zip(sides, (ours, theirs), strict=True):
                side.append([sign * scores[seed] for seed in seeds])
        return improvement(*sides)

    @cached_property
    def profile(self) -> Profile[str] | None:
        """Shares of ranked rows' runs by distance to a task's best mean; None if none rank."""
        if not self.averageable or not self.ranked:
            return None
        tops = [max(task.mean(name) for name in self.ranked) for task in self.tasks]
        together = list(zip(self.tasks, tops, strict=True))
        return profile(
            {
                name: [[top - one for one in task.scores[name].values()] for task, top in together]
                for name in self.ranked
            }
        )


def suite_summaries(results: Results, summary: pd.DataFrame) -> list[SuiteSummary]:
    """Return what may be looked at together: suites of two tasks or more.

    Args:
        results: where predictions are stored.
        summary: the table of `reports.tables.leaderboard.summarise`.
    """
    groups: dict[tuple[str, ...], list[pd.DataFrame]] = {}
    for _, block in summary[summary["suite"] != ""].groupby(BLOCK, sort=False):
        first = block.iloc[0]
        groups.setdefault((first["suite"], first["start"], first["protocol"]), []).append(block)
    found = [_suite_summary(results, part) for group in groups.values() for part in _parts(group)]
    return [each for each in found if each is not None]


def _parts(blocks: list[pd.DataFrame]) -> list[list[pd.DataFrame]]:
    """Return the blocks as a whole if no task has two backbones, else backbone by backbone."""
    places = {(block["task"].iloc[0], block["backbone"].iloc[0]) for block in blocks}
    if len({task for task, _ in places}) == len(places):
        return [blocks]
    backbones = dict.fromkeys(block["backbone"].iloc[0] for block in blocks)
    return [[b for b in blocks if b["backbone"].iloc[0] == backbone] for backbone in backbones]


def _suite_summary(results: Results, blocks: list[pd.DataFrame]) -> SuiteSummary | None:
    names = [str(block["task"].iloc[0]) for block in blocks]
    glue = set(GLUE) <= set(names)
    left_out = {
        name: "it was run under several settings" for name in names if names.count(name) > 1
    }
    kept = [
        block
        for name, block in zip(names, blocks, strict=True)
        if name not in left_out and (name in GLUE or not glue)
    ]
    tasks = [task for task in (task_of(results, block, glue=glue) for block in kept) if task.scores]
    empty = {str(block["task"].iloc[0]) for block in kept} - {task.name for task in tasks}
    left_out |= dict.fromkeys(sorted(empty), "no row has a score")
    if len(tasks) < 2:
        return None
    every = dict.fromkeys(name for task in tasks for name in task.scores)
    for name in every:
        if lacking := [task.name for task in tasks if name not in task.scores]:
            left_out[name] = f"no score on {', '.join(lacking)}"
    whole = tuple(name for name in every if name not in left_out)
    if not whole:
        return None
    first, backbones = blocks[0].iloc[0], {task.backbone for task in tasks}
    return SuiteSummary(
        suite=first["suite"],
        backbone=backbones.pop() if len(backbones) == 1 else "",
        start=first["start"],
        protocol=first["protocol"],
        tasks=tuple(tasks),
        names=whole,
        left_out=left_out,
        glue=glue and len(tasks) == len(GLUE),
    )
