"""The tasks of a suite as strata of what they say together: rows by name, and how they compare."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd

from gapbench.reports.stats.estimates import Estimate
from gapbench.reports.stats.pairwise import Family
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.outcomes import Outcome
from gapbench.reports.tables.standing import Standing


@dataclass(frozen=True)
class TaskSummary:
    """One task of a suite, and the rows of its leaderboard that have a score, by name.

    Of a part of a results folder, `rows` are those of the part, all else is of the whole.

    Attributes:
        name: of the task.
        backbone: what it was run on.
        metric: of its scores.
        standing: its rows beside each other.
        rows: as `reports.tables.summary.summarise` returns them.
        scores: by seed.
        estimates: of the mean score.
        families: all pairs that are ranked, by outcome.
        untrained: for each untrained row, the family of it and the ranked ones, in score.
    """

    name: str
    backbone: str
    metric: str
    standing: Standing
    rows: Mapping[str, Any]
    scores: Mapping[str, Mapping[int, float]]
    estimates: Mapping[str, Estimate]
    families: Mapping[Outcome, Family[str]]
    untrained: Mapping[str, Family[str]]

    @property
    def upward(self) -> bool:
        """Whether higher scores are better."""
        return self.standing.upward

    @property
    def possible(self) -> tuple[float, float]:
        """Lowest and highest possible score."""
        return self.standing.possible

    @property
    def bounded(self) -> bool:
        """Whether 1 is the best possible score, so that it may be averaged with others alike."""
        return self.upward and self.possible[1] == 1

    @property
    def way(self) -> tuple[float, float] | None:
        """Mean scores of the untrained row and of the best ranked one; None without such a way."""
        floor, ranked = self.standing.floor, self.standing.ranked
        if not floor or not ranked:
            return None
        start, end = (float(self.estimates[name].mean) for name in (floor, ranked[0]))
        return (start, end) if start != end and (end > start) == self.upward else None


def task_of(board: pd.DataFrame, *, glue: bool) -> TaskSummary:
    """Return one task with the rows that have a score.

    Args:
        board: rows of `summarise` that share task and setting.
        glue: whether several metrics or test sets count as in the GLUE average.
    """
    shown = {row.name: row for row in rows(board)}
    first = next(iter(shown.values()))
    found = cast("Standing", first.standing)
    counts = (found.in_glue if glue else None) or found
    scores = {name: own for name, own in counts.scores.items() if own}
    return TaskSummary(
        name=first.task,
        backbone=first.backbone,
        metric=first.metric,
        standing=found,
        rows={name: row for name, row in shown.items() if name in scores},
        scores=scores,
        estimates={name: counts.estimates["score"][name] for name in scores},
        families=counts.families,
        untrained=counts.untrained,
    )
