"""What single items say of the runs of one task: stored predictions as samples of values.

Statistics are in `reports.stats`. Predictions are read run by run, and of a run only one number an
item is kept. Every metric says itself what an item adds to its score (`bench.metrics.influence`).
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import pandas as pd
import pyarrow as pa

from gapbench.bench.config.run import Folds, NestedFolds
from gapbench.bench.store.record_io import BARE, TEST
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.stats.estimates import Sample
from gapbench.reports.stats.intervals import Floats
from gapbench.reports.stats.resampling import Resampling

Key = TypeVar("Key", bound=Hashable)
Quantity = Literal["score", "change", "train_score", "validation_score", "gap", "ece", "nll"]
"""What a sample is of: the scores that are given, or what the records say beside them.

`change` is a given score minus that of the bare backbone, which is given beside it.
`gap` is the generalization gap, train against test; `ece` and `nll` are the test calibration error
and loss before scaling. Of these three less is better; scores follow their metric.
"""


@dataclass(frozen=True)
class ScoredCell:
    """The runs of a cell that have a score, which is the mean of some metrics.

    Attributes:
        config_hash: of the cell.
        scores: the recorded metrics by name, by seed; metrics of other splits than test are
            `<split>/<metric>`.
    """

    config_hash: str
    scores: Mapping[int, Mapping[str, float]]


@dataclass(frozen=True)
class Term:
    """A recorded value of one split, as part of an outcome.

    Attributes:
        split: whose items it is computed from.
        metric: its name; "ece" and "nll" too.
        weight: what it is multiplied with before all terms are added up.
        recorded: its value.
    """

    split: str
    metric: str
    weight: float
    recorded: float


def samples(
    results: LoadedResults, cells: Mapping[Key, ScoredCell], outcome: Quantity = "score"
) -> dict[Key, Sample]:
    """Return the runs of cells that share their task and its splits, as samples.

    A cell's items count only if all of its runs have stored predictions of every split that the
    outcome needs, of the same items as the other cells, and these give the recorded values;
    otherwise its sample has scores alone. Items of each split are a set of their own. Training
    items that every seed draws anew vary with the seed, and so are counted there.

    Args:
        results: where predictions are stored.
        cells: of one task and setting; their seeds are those of the samples, as far as the outcome
            is recorded.
        outcome: of what.
    """
    reader = _Reader(results)
    return {key: reader.sample(cell, outcome) for key, cell in cells.items()}


def resampling_of(results: LoadedResults, config_hash: str) -> Resampling | None:
    """Return how the runs of a cell share training rows, None if they all have the same."""
    record = results.cells.get(config_hash)
    if record is None or record.cell.resample == "fixed":
        return None
    resample = record.cell.resample
    folds = resample.folds if isinstance(resample, Folds) else None
    stored = [row["train_share"] for row in results.outcomes.get(config_hash, [])]
    shares = [share for share in stored if pd.notna(share)]
    usual = 1 - 1 / folds if folds else 0.0
    share = math.fsum(shares) / len(shares) if shares else usual
    return Resampling(share, folds) if 0 < share < 1 else None


@dataclass
class _Reader:
    """Reads the items of cells that are compared, and sees to it that they are the same.

    Attributes:
        ids: of the items of each split, by the first run that was read.
    """

    results: LoadedResults
    ids: dict[str, pa.ChunkedArray] = field(default_factory=dict)

    def sample(self, cell: ScoredCell, outcome: Quantity) -> Sample:
        terms = dict(self._terms(cell, outcome))
        scores = {
            seed: math.fsum(term.weight * term.recorded for term in each)
            for seed, each in terms.items()
        }
        strata: dict[str, dict[int, Floats]] = {}
        for seed, each in terms.items():
            found = self._items(cell.config_hash, seed, each)
            if found is None:
                return replace(self._sample(cell, outcome, scores, ()), unknown=True)
            for split, values in found.items():
                strata.setdefault(split, {})[seed] = values
        return self._sample(cell, outcome, scores, tuple(strata.values()))

    def _sample(
        self,
        cell: ScoredCell,
        outcome: Quantity,
        scores: Mapping[int, float],
        strata: tuple[Mapping[int, Floats], ...],
    ) -> Sample:
        possible = self._possible(cell, outcome)
        return Sample(scores, strata, possible, resampling_of(self.results, cell.config_hash))

    def _terms(self, cell: ScoredCell, outcome: Quantity) -> Iterator[tuple[int, list[Term]]]:
        """Yield what an outcome is made of for every seed for which it is recorded."""
        if outcome in {"score", "change"}:
            for seed, recorded in cell.scores.items():
                parts = [(name.rpartition("/"), value) for name, value in recorded.items()]
                share = 1 / len(parts) if outcome == "score" else 1
                yield (
                    seed,
                    [
                        Term(s or TEST, m, -share if m.startswith(BARE) else share, value)
                        for (s, _, m), value in parts
                    ],
                )
            return
        for row in self.results.outcomes.get(cell.config_hash, []):
            if row["seed"] not in cell.scores:
                continue
            sign = 1 if row["higher_is_better"] else -1
            weights: dict[Quantity, dict[tuple[str, str], int]] = {
                "train_score": {("train", "score"): 1},
                "validation_score": {("validation", "score"): 1},
                "gap": {("train", "score"): sign, (TEST, "score"): -sign},
                "ece": {(TEST, "ece"): 1},
                "nll": {(TEST, "nll"): 1},
            }
            terms = [
                Term(split, row["metric"], weight, row[f"{split}_score"])
                if name == "score"
                else Term(split, name, weight, row[name])
                for (split, name), weight in weights[outcome].items()
            ]
            if all(pd.notna(term.recorded) for term in terms):
                yield row["seed"], terms

    def _items(
        self, config_hash: str, seed: int, terms: Sequence[Term]
    ) -> dict[str, Floats] | None:
        """Return the values of the items of each split, whose means add up to the outcome.

        Splits that every seed draws anew are left out. None if values are unknown.
        """
        parts: dict[str, Floats] = {}
        for term in terms:
            if self._redrawn(config_hash, term.split):
                continue
            items = self._split_items(config_hash, seed, term)
            if items is None:
                return None
            moves = term.weight * (items - items.mean())
            parts[term.split] = parts.get(term.split, 0.0) + moves
        if not parts:
            return {}
        score = math.fsum(term.weight * term.recorded for term in terms)
        first = next(iter(parts))
        return parts | {first: parts[first] + score}

    def _split_items(self, config_hash: str, seed: int, term: Term) -> Floats | None:
        items = self.results.items(config_hash, seed, term.split)
        if items is None or items.table.num_rows < 2:
            return None
        values = items.checked(term.metric, term.recorded)
        if values is None or not items.ids.equals(self.ids.setdefault(term.split, items.ids)):
            return None
        return values

    def _redrawn(self, config_hash: str, split: str) -> bool:
        """Whether each seed draws the items of a split anew."""
        resample = self.results.cells[config_hash].cell.resample
        own = {"train"} if resample != "fixed" else set()
        own |= {"validation"} if isinstance(resample, Folds) else set()
        own |= {"test"} if isinstance(resample, NestedFolds) else set()
        return split in own

    def _possible(self, cell: ScoredCell, outcome: Quantity) -> tuple[float, float]:
        """Return the lowest and the highest possible value of an outcome."""
        if outcome in {"ece", "nll"}:
            return 0.0, 1.0 if outcome == "ece" else math.inf
        record = self.results.cells.get(cell.config_hash)
        low, high = record.cell.task.metric.range if record else (-math.inf, math.inf)
        names = {name for recorded in cell.scores.values() for name in recorded}
        tests = {test.name: test for test in record.cell.also_test} if record else {}
        if own := {name.rpartition("/")[0] for name in names} & tests.keys():
            low, high = tests[own.pop()].task.metric.range
        return (low - high, high - low) if outcome in {"gap", "change"} else (low, high)
