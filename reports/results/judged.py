"""Judgements of stored answers as samples of values: ratings, and shares of pairs that are won."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Literal, TypeVar

import numpy as np

from gapbench.bench.store import judgements
from gapbench.bench.store.judgements import HIGHEST, LOWEST, Judgement
from gapbench.reports.results.items import resampling_of
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.stats.estimates import Sample

Metric = Literal["rating", "win_rate"]
RANGE: Mapping[Metric, tuple[float, float]] = {"rating": (LOWEST, HIGHEST), "win_rate": (0.0, 1.0)}
EVEN = 0.5
"""Share of pairs won by an answer that is as good as the other one."""

_FOR_FIRST = {"A": 1.0, "B": 0.0, "tie": EVEN}

Key = TypeVar("Key", bound=Hashable)
Answers = Mapping[int, str]
"""Codes of the answers of a run on one test, by number of the item's row."""

Values = Mapping[int, tuple[frozenset[str], float]]
"""What judges say of a run by item: who judged, and the mean of what they said."""


@dataclass(frozen=True)
class JudgedResults:
    """A results folder with what is stored of judges."""

    results: LoadedResults

    @cached_property
    def stored(self) -> list[Judgement]:
        """All judgements."""
        return judgements.read(self.results.store.root)

    @cached_property
    def _scores(self) -> dict[str, dict[str, list[float]]]:
        """Scores by code and judge."""
        found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for each in self.stored:
            if each.score is not None:
                found[each.id][each.judge].append(each.score)
        return found

    @cached_property
    def _shares(self) -> dict[tuple[str, ...], dict[str, list[float]]]:
        """What the first of two codes wins, by both and judge; each pair in both orders."""
        found: dict[tuple[str, ...], dict[str, list[float]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for each in self.stored:
            if each.preference is not None:
                share = _FOR_FIRST[each.preference]
                found[each.codes][each.judge].append(share)
                found[each.codes[::-1]][each.judge].append(1 - share)
        return found

    def answers(self, config_hash: str, seed: int, split: str) -> Answers:
        """Return the answers of a run; empty if none are stored."""
        items = self.results.items(config_hash, seed, split)
        if items is None or judgements.TEXT not in items.table.column_names:
            return {}
        cell = self.results.cells[config_hash].cell
        codes = judgements.codes(cell, split, items.table)
        return dict(zip(items.ids.to_pylist(), codes, strict=True))

    def rated(self, answers: Answers) -> Values:
        """Return the mean rating of each answer that has one."""
        return {
            item: _mean(self._scores[code])
            for item, code in answers.items()
            if code in self._scores
        }

    def won(self, ours: Answers, theirs: Answers) -> Values:
        """Return how often each answer was preferred to the other one; ties count half."""
        pairs = {item: (code, theirs[item]) for item, code in ours.items() if item in theirs}
        return {
            item: _mean(self._shares[pair]) for item, pair in pairs.items() if pair in self._shares
        }

    def about(self, runs: Sequence[Answers]) -> list[Judgement]:
        """Return the judgements of the answers of some runs."""
        own = {code for run in runs for code in run.values()}
        return [each for each in self.stored if own.issuperset(each.codes)]

    def samples(
        self, values: Mapping[Key, Mapping[int, Values]], cells: Mapping[Key, str], metric: Metric
    ) -> dict[Key, Sample]:
        """Return what judges say of some rows as samples over seeds and common items.

        An item counts if the same judges judged it in every row and seed, so that no row has
        kinder judges than another.

        Args:
            values: of each row and seed; rows and seeds without any are left out.
            cells: hash of each row's cell.
            metric: what the values are.
        """
        runs = [each for by_seed in values.values() for each in by_seed.values() if each]
        common = [
            item
            for item in sorted(set(runs[0]).intersection(*runs[1:]) if runs else ())
            if len({each[item][0] for each in runs}) == 1
        ]
        found = {}
        for key, by_seed in values.items():
            items = {
                seed: np.array([each[item][1] for item in common])
                for seed, each in by_seed.items()
                if each
            }
            if common and items:
                found[key] = Sample(
                    {seed: float(each.mean()) for seed, each in items.items()},
                    (items,),
                    RANGE[metric],
                    resampling_of(self.results, cells[key]),
                    unknown=len(common) < 2,
                )
        return found


def _mean(by_judge: Mapping[str, Sequence[float]]) -> tuple[frozenset[str], float]:
    """Return the judges, and the mean over them."""
    return frozenset(by_judge), fmean(fmean(each) for each in by_judge.values())
