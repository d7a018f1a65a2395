"""The tasks of a suite as strata of what they say together: rows by name, and how they compare."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from gapbench.reports.results.items import samples
from gapbench.reports.results.load import Results
from gapbench.reports.stats.estimates import Estimate, estimate
from gapbench.reports.stats.pairwise import Family, family
from gapbench.reports.tables.glue import GLUE, recorded, scored
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.ranking import key_of, trains
from gapbench.reports.tables.terminal import label


@dataclass(frozen=True)
class TaskSummary:
    """One task of a suite, and the rows of its leaderboard that have a score, by name.

    Attributes:
        name: of the task.
        backbone: what it was run on.
        upward: whether higher scores are better.
        possible: lowest and highest possible score.
        rows: as `reports.tables.leaderboard.summarise` returns them.
        scores: by seed.
        estimates: of the mean score.
        pairs: all pairs that are ranked.
    """

    name: str
    backbone: str
    upward: bool
    possible: tuple[float, float]
    rows: Mapping[str, Any]
    scores: Mapping[str, Mapping[int, float]]
    estimates: Mapping[str, Estimate]
    pairs: Family[str]

    @property
    def bounded(self) -> bool:
        """Whether 1 is the best possible score, so that it may be averaged with others."""
        return self.upward and self.possible[1] == 1

    @property
    def items(self) -> bool:
        """Whether test items are part of all estimates."""
        return all(np.isfinite(each.item_df) for each in self.estimates.values())

    def mean(self, name: str) -> float:
        """Return the mean score of a row, sign flipped where lower is better."""
        mean = float(self.estimates[name].mean)
        return mean if self.upward else -mean


def task_of(results: Results, block: pd.DataFrame, *, glue: bool) -> TaskSummary:
    """Return one task with the rows that have a score.

    Args:
        results: where predictions are stored.
        block: rows of `summarise` that share task and setting.
        glue: whether several metrics or test sets count as in the GLUE average.
    """
    known: dict[str, Any] = {}
    for row in rows(block[block["n_seeds"] > 0]):
        known.setdefault(label(row.method, row.variant), row)
    name, ranked = block["task"].iloc[0], block["family"].iloc[0]
    if glue and len(GLUE[name]) > 1:
        parts = recorded(results.runs, name, next(rows(block)).metric)
        found = samples(results, {n: scored(row, parts) for n, row in known.items()})
        found = {n: sample for n, sample in found.items() if sample.scores}
        known = {n: known[n] for n in found}
        scores = {n: sample.scores for n, sample in found.items()}
        estimates = {n: estimate(sample) for n, sample in found.items()}
        pairs = family(
            {n: each for n, each in found.items() if len(each.scores) > 1 and trains(known[n])}
        )
    else:
        scores = {n: row.by_seed for n, row in known.items()}
        estimates = {n: row.estimate for n, row in known.items()}
        keys = {n: key_of(row) for n, row in known.items()}
        places = {n: ranked.places[key] for n, key in keys.items() if key in ranked.places}
        pairs = replace(ranked, places=places)
    metrics = [results.cells[row.config_hash].cell.task.metric for row in known.values()]
    return TaskSummary(
        name=name,
        backbone=block["backbone"].iloc[0],
        upward=all(metric.higher_is_better for metric in metrics),
        possible=metrics[0].range if metrics else (-np.inf, np.inf),
        rows=known,
        scores=scores,
        estimates=estimates,
        pairs=pairs,
    )
