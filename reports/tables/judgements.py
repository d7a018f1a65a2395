"""Judged answers: mean ratings and shares of pairs won, and how far judges can be trusted.

Ratings are compared as scores are: on common seeds and items, with intervals that hold together.
A share of pairs won is against the reference on the same seed and item, so that its difference to
the reference is from one half. All judged tests of a board share one level.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from gapbench.bench.store.judgements import Judgement, answered_splits
from gapbench.reports.results.frames import typed
from gapbench.reports.results.judged import EVEN, RANGE, Answers, JudgedResults, Metric, Values
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.stats.agreement import first_shown, krippendorff_alpha, nominal_alpha
from gapbench.reports.stats.estimates import Sample
from gapbench.reports.stats.pairwise import Family
from gapbench.reports.tables.leaderboard import BOARD, rows
from gapbench.reports.tables.row_samples import comparable, mean_columns
from gapbench.reports.tables.standing import Standing, compared, to_reference

_PLACE = ("suite", "task", "backbone", "start")
COLUMNS = (
    *(*_PLACE, "method", "variant", "test", "metric", "n_seeds", "n_items", "n_judges"),
    *("score", "score_ci_low", "score_ci_high"),
    *("reference", "vs_reference", "vs_reference_low", "vs_reference_high", "vs_reference_claim"),
    *("setting", "config_hash"),
)
JUDGES = (
    *(*_PLACE, "test", "metric", "judge", "n_judgements", "mean", "tie_share"),
    *("first_share", "first_ci_low", "first_ci_high", "n_judges", "alpha", "setting"),
)
_COUNTS = ("n_seeds", "n_items", "n_judges", "n_judgements")
_TEXT = (
    *(*_PLACE, "method", "variant", "test", "metric", "judge", "name"),
    *("reference", "vs_reference_claim", "setting", "config_hash"),
)


@dataclass(frozen=True)
class Judgements:
    """What judges say.

    Attributes:
        scores: a row for each cell, test and metric, in the leaderboard's order: `COLUMNS`, of
            which the data dictionary says what they mean, and `name`, that of the row in
            `standing`.
        judges: a row for each judge, board, test and metric: `JUDGES`.
    """

    scores: pd.DataFrame
    judges: pd.DataFrame


def judged_answers(results: LoadedResults, summary: pd.DataFrame) -> Judgements:
    """Return what judges say of stored answers; empty tables if nothing was judged.

    Args:
        results: where records, predictions and judgements are.
        summary: the table of `reports.tables.summary.summarise`.

    Raises:
        RecordError: if a file of judgements is damaged.
    """
    judged = JudgedResults(results.whole or results)
    scores: list[dict[str, Any]] = []
    judges: list[dict[str, Any]] = []
    boards = summary.groupby(BOARD, sort=False) if judged.stored else ()
    for _, board in boards:
        shown = list(rows(board))
        tests = [each for each in _tests(judged, shown[0].standing) if each.about]
        for test in tests:
            for metric in RANGE:
                scores += test.lines(shown, metric, 1 / len(tests))
                judges += test.judges(shown[0], metric)
    return Judgements(
        typed(pd.DataFrame(scores, columns=[*COLUMNS, "name"]), _TEXT, _COUNTS),
        typed(pd.DataFrame(judges, columns=[*JUDGES]), _TEXT, _COUNTS),
    )


def _tests(judged: JudgedResults, standing: Standing) -> Iterator["_Test"]:
    """Yield the tests of a board on which answers may have been written."""
    cells = judged.results.cells
    hashes = [row.config_hash for row in standing.rows.values() if row.config_hash in cells]
    splits = [split for each in hashes for split in answered_splits(cells[each])]
    for split in dict.fromkeys(splits):
        yield _Test.of(judged, standing, split)


@dataclass(frozen=True)
class _Test:
    """The answers of all rows of a board on one test.

    Attributes:
        about: the judgements of these answers.
    """

    judged: JudgedResults
    standing: Standing
    split: str
    answers: Mapping[str, Mapping[int, Answers]]
    about: Sequence[Judgement]

    @classmethod
    def of(cls, judged: JudgedResults, standing: Standing, split: str) -> "_Test":
        answers = {
            name: {seed: judged.answers(row.config_hash, seed, split) for seed in row.ok_runs}
            for name, row in standing.rows.items()
        }
        runs = [run for by_seed in answers.values() for run in by_seed.values()]
        return cls(judged, standing, split, answers, judged.about(runs))

    def lines(self, shown: list[Any], metric: Metric, share: float) -> Iterator[dict[str, Any]]:
        """Yield a line for each row of the board that was judged, as far as it is shown.

        Args:
            shown: rows of the board.
            metric: what judges were asked for.
            share: of the board's level.
        """
        reference = self.standing.reference
        values = self._values(metric)
        cells = {name: self.standing.rows[name].config_hash for name in values}
        found = self.judged.samples(values, cells, metric)
        family = self._compared(found, metric, share)
        for row in (each for each in shown if each.name in found):
            yield {name: getattr(row, name) for name in COLUMNS if hasattr(row, name)} | {
                "name": row.name,
                "test": self.split,
                "metric": metric,
                "n_seeds": len(found[row.name].scores),
                "n_items": found[row.name].n_items,
                "n_judges": len({each.judge for each in self._of(metric)}),
                "reference": reference,
                **mean_columns(found[row.name], "score", self.standing.status[row.name]),
                **to_reference(family, row.name, reference, upward=True),
            }

    def judges(self, first: Any, metric: Metric) -> Iterator[dict[str, Any]]:
        """Yield a line for each judge.

        Args:
            first: any row of the board.
            metric: what judges were asked for.
        """
        by_judge: dict[str, list[Judgement]] = defaultdict(list)
        for each in self._of(metric):
            by_judge[each.judge].append(each)
        alpha = _alpha(self._of(metric))
        for judge, given in by_judge.items():
            line = {name: getattr(first, name) for name in (*_PLACE, "setting")}
            line |= {"test": self.split, "metric": metric, "judge": judge}
            line |= {"n_judgements": len(given), "n_judges": len(by_judge), "alpha": alpha}
            if metric == "rating":
                yield line | {"mean": fmean(each.score or 0.0 for each in given)}
                continue
            preferences = [each.preference or "tie" for each in given]
            pairs = zip(given, preferences, strict=True)
            shown = first_shown([said for each, said in pairs if len({*each.codes}) > 1])
            yield line | {
                "tie_share": preferences.count("tie") / len(preferences),
                "first_share": shown.mean,
                "first_ci_low": shown.low,
                "first_ci_high": shown.high,
            }

    def _of(self, metric: Metric) -> list[Judgement]:
        return [each for each in self.about if each.pair == (metric == "win_rate")]

    def _values(self, metric: Metric) -> dict[str, dict[int, Values]]:
        """Return what judges say of each row and seed; of the reference in no pair."""
        if metric == "rating":
            return {
                name: {seed: self.judged.rated(run) for seed, run in by_seed.items()}
                for name, by_seed in self.answers.items()
            }
        theirs = self.answers.get(self.standing.reference, {})
        return {
            name: {seed: self.judged.won(run, theirs.get(seed, {})) for seed, run in runs.items()}
            for name, runs in self.answers.items()
            if name != self.standing.reference
        }

    def _compared(self, found: Mapping[str, Sample], metric: Metric, share: float) -> Family[str]:
        """Compare the rows with each other; in pairs, the reference wins half against itself."""
        standing, known = self.standing, dict(found)
        if metric == "win_rate" and found:
            some = next(iter(found.values()))
            scores = dict.fromkeys(standing.scores.get(standing.reference, ()), EVEN)
            items = {seed: np.full(some.n_items, EVEN) for seed in scores}
            known[standing.reference] = replace(some, scores=scores, strata=(items,))
        ranked = {name: Sample(standing.scores[name]) for name in standing.ranked if name in known}
        return compared(
            standing.rows, comparable(known, ranked), standing.alpha * share, standing.reference
        )


def _alpha(given: Sequence[Judgement]) -> float | None:
    """Return how far judges agree on what several of them judged."""
    scores: dict[str, list[float]] = defaultdict(list)
    preferences: dict[str, list[str]] = defaultdict(list)
    for each in given:
        if each.score is not None:
            scores[each.id].append(each.score)
        elif each.preference is not None and len({*each.codes}) > 1:  # of different texts
            preferences[each.id].append(each.preference)
    found = krippendorff_alpha([*scores.values()])
    return nominal_alpha([*preferences.values()]) if found is None else found
