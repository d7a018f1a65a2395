"""The tasks of a suite as strata of what they say together: rows by name, and how they compare."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd

from gapbench.reports.results.items import samples
from gapbench.reports.results.load import Results
from gapbench.reports.stats.estimates import Estimate, estimate
from gapbench.reports.stats.pairwise import Family, family
from gapbench.reports.tables.glue import GLUE, recorded, scored
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.standing import Outcome, Standing, over_untrained, with_lost


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


def task_of(results: Results, board: pd.DataFrame, *, glue: bool) -> TaskSummary:
    """Return one task with the rows that have a score.

    Args:
        results: where predictions are stored.
        board: rows of `summarise` that share task and setting.
        glue: whether several metrics or test sets count as in the GLUE average.
    """
    shown = {row.name: row for row in rows(board)}
    first = next(iter(shown.values()))
    found = cast("Standing", first.standing)
    known = {name: row for name, row in found.rows.items() if found.scores[name]}
    scores = {name: found.scores[name] for name in known}
    estimates = {name: found.estimates["score"][name] for name in known}
    families, untrained = dict(found.families), found.untrained
    if glue and len(GLUE[first.task]) > 1:
        parts = recorded((results.whole or results).runs, first.task, first.metric)
        several = samples(results, {name: scored(row, parts) for name, row in known.items()})
        several = {name: sample for name, sample in several.items() if sample.scores}
        several = with_lost(several, {name: known[name] for name in several}, up=found.upward)
        scores = {name: sample.scores for name, sample in several.items()}
        estimates = {name: estimate(sample) for name, sample in several.items()}
        ranked = {n: several[n] for n in found.ranked if n in several and not several[n].unknown}
        bare = {n: each for n, each in several.items() if found.status[n] == "untrained"}
        families["score"] = family(ranked)
        untrained = over_untrained(ranked, bare, found.alpha)
    return TaskSummary(
        name=first.task,
        backbone=first.backbone,
        metric=first.metric,
        standing=found,
        rows={name: row for name, row in shown.items() if name in scores},
        scores=scores,
        estimates=estimates,
        families=families,
        untrained=untrained,
    )
