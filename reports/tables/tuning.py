"""Studies beside the leaderboard: what a search chose, and what fresh seeds say about the choice.

Studies come analysed from `bench.tuning.analysis`; here they meet the records of their winners. The
page's section is made in `reports.sections.tuning`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from gapbench.bench.config.tuned_variant import tuned_label
from gapbench.bench.store.record import Record
from gapbench.bench.tuning.summary import Summary, score_of
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.stats.estimates import Estimate, two_level
from gapbench.reports.stats.intervals import Interval, mean_alone
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.terminal import label

Key = tuple[str, str, str]
"""Suite, hash of the cell, and variant."""


@dataclass(frozen=True)
class Tuned:
    """One study and its winner on the suite's seeds, which the search never used.

    Differences are above zero where validation flattered and where tuning helped, whichever
    direction the metric has.

    Attributes:
        summary: the study.
        name: of the method and variant it tuned.
        best: the winner's validation score in the search.
        again: its mean validation score over the fresh seeds.
        test: mean test score of the winner.
        default: mean test score of the method's own settings.
        optimism: `best` against `test`, less what separates the two splits for the default, which
            no search chose; with the interval over seeds and test items, for this study alone.
        gain: tuned against default on test, on common seeds and, where known, test items.
        row: leaderboard row of the winner; None where it has not run.
        kept: whether the winner is the default itself, so that there is nothing to gain.
    """

    summary: Summary
    name: str
    best: float | None
    again: float | None
    test: float | None
    default: float | None
    optimism: Interval
    gain: Interval
    row: Key | None
    kept: bool


def tuned(results: LoadedResults, table: pd.DataFrame, summaries: Sequence[Summary]) -> list[Tuned]:
    """Return the studies of a results folder with what its records say of their winners.

    Args:
        results: the folder's runs.
        table: their `summarise` table.
        summaries: the folder's studies.
    """
    every = list(rows(table))
    return [_tuned(results, summary, every) for summary in summaries]


def key_of(row: Any) -> Key:
    """Return what tells a row of a leaderboard from all others."""
    return row.suite, row.config_hash, row.variant


def with_tuning(leaderboard: pd.DataFrame, found: Sequence[Tuned]) -> pd.DataFrame:
    """Return a leaderboard whose tuned rows say what tuning took; as it is without studies.

    It has two more columns, as trials and seconds have some anyway.

    Args:
        leaderboard: its table.
        found: the studies beside it.
    """
    if not found:
        return leaderboard
    by_row = {each.row: each.summary for each in reversed(found) if each.row is not None}
    studies = [by_row.get(key_of(row)) for row in rows(leaderboard)]
    return leaderboard.assign(
        tune_trials=pd.array([s.tally.trials if s else None for s in studies], dtype="Int64"),
        tune_seconds=np.array([s.tally.seconds if s else np.nan for s in studies]),
        tune_compute=np.array([s and s.tally.compute for s in studies], dtype=np.float64),
        tuned_dimensions=pd.array(
            [len(s.study.space) if s else None for s in studies], dtype="Int64"
        ),
    )


def _tuned(results: LoadedResults, summary: Summary, every: Sequence[Any]) -> Tuned:
    study = summary.study
    winner, default = _rows_of(results, summary, every)
    best = next((score_of(t) for t in study.trials if t.number == study.best_number), None)
    upward = study.direction == "maximize"
    return Tuned(
        summary=summary,
        name=label(study.method, study.variant),
        best=best,
        again=winner.validation_score if winner else None,
        test=winner.score if winner else None,
        default=default.score if default else None,
        optimism=_optimism(results, best, winner, default, upward=upward),
        gain=_gain(winner, default, upward=upward),
        row=key_of(winner) if winner else None,
        kept=bool(winner and default and winner.config_hash == default.config_hash),
    )


def _rows_of(results: LoadedResults, summary: Summary, every: Sequence[Any]) -> tuple[Any, Any]:
    """Return the rows of a study's winner and of its default; None where one has not run.

    Both are of the setting that was searched, such as a budget. A study that does not tell which
    that is has rows where all are of one.
    """
    study = summary.study
    place = (study.suite, study.task, study.backbone, study.start, study.method)
    own = [
        row for row in every if (row.suite, row.task, row.backbone, row.start, row.method) == place
    ]
    defaults = [row for row in own if row.variant == study.variant and row.n_seeds]
    winners = [
        row
        for row in own
        if row.variant == tuned_label(study.variant)
        and row.n_seeds
        and _chosen(results.cells[row.config_hash], summary)  # else it is of another space
    ]
    searched = [row for row in own if row.config_hash == study.cell_hash]
    if study.cell_hash and not searched:  # what was planned since has other settings
        return None, None
    settings = {row.setting for row in searched if row.setting}
    settings = settings or {row.setting for row in winners or defaults}
    if len(settings) != 1:
        return None, None
    winner, default = (
        next((row for row in found if row.setting in settings), None)
        for found in (winners, defaults)
    )
    return winner, default


def _optimism(
    results: LoadedResults, best: float | None, winner: Any, default: Any, *, upward: bool
) -> Interval:
    """Return how far choosing by validation flattered, on seeds of winner and default."""
    if best is None or winner is None or default is None:
        return Interval(0, None)
    reached = {run["seed"]: run["test_score"] for run in results.outcomes[winner.config_hash]}
    flattered = [
        best - reached[run["seed"]] - (run["validation_score"] - run["test_score"])
        for run in results.outcomes[default.config_hash]
        if run["seed"] in reached
    ]
    losses = [each for each in flattered if pd.notna(each)]  # a lost run has no score
    signed = losses if upward else [-loss for loss in losses]
    pairs = winner.standing.families["score"]
    both = [pairs.places.get(row.name) for row in (winner, default)]
    if None in both:  # what other test items would change is not known
        return mean_alone(signed)
    return optimism(signed, pairs.estimate[tuple(both)], pairs.excess)


def optimism(losses: Sequence[float], gain: Estimate, excess: float) -> Interval:
    """Return the mean of what validation flattered by, with its 95 % interval.

    The validation items are given: what they flatter by is what is asked. Test items are drawn, and
    add what they add to the difference of winner and default there.

    Args:
        losses: of each seed.
        gain: of the winner over the default on test.
        excess: variance of the mean that more seeds do not lessen, per variance of one loss.
    """
    found = two_level(np.array(losses), (), (), excess=excess)
    found = found if found.seed_variance > 0 else found.bare
    over_items = replace(found, item_variance=gain.item_variance, item_df=gain.item_df)
    return over_items.interval(len(losses))


def _gain(winner: Any, default: Any, *, upward: bool) -> Interval:
    """Return what a row gains over another, with the interval of all comparisons together."""
    if winner is None or default is None:
        return Interval(0, None)
    first, second = (winner, default) if upward else (default, winner)
    pairs = winner.standing.families["score"]
    if {first.name, second.name} <= pairs.places.keys():
        found = pairs.pair(first.name, second.name)
        return Interval(found.n_seeds, found.difference, found.low, found.high)
    common = sorted(first.by_seed.keys() & second.by_seed.keys())
    gains = [first.by_seed[seed] - second.by_seed[seed] for seed in common]
    return mean_alone(gains)


def _chosen(record: Record, summary: Summary) -> bool:
    """Whether a run had the settings of a study's winner."""
    study = summary.study
    params = next((t.params for t in study.trials if t.number == study.best_number), None)
    if params is None:
        return False
    training = record.cell.training.model_dump()
    for name, dimension in study.space.items():
        settings = record.cell.config if dimension.where == "config" else training
        if name in settings and settings[name] != params.get(name):
            return False
    return True
