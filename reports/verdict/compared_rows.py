"""What a verdict follows from: rows and all that is known of their differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from gapbench.reports.stats.pairwise import Family
from gapbench.reports.tables.outcomes import OUTCOMES, Outcome
from gapbench.reports.verdict.contrasts import Items, contrast, every, to_best, withheld
from gapbench.reports.verdict.costs import Place
from gapbench.reports.verdict.model import IDENTICAL, SAME, Contrast, Entry, uncompared

Pairs = Mapping[tuple[str, str], Contrast]
"""Contrasts by the names of both rows."""


@dataclass(frozen=True)
class ComparedRows:
    """Rows of one task, or their means over several tasks.

    Attributes:
        reference: name of the row that others are compared with; "" if there is none.
        entries: all rows, of which nothing is known yet that compares them.
        ranked: names of those that are compared, best first.
        upward: whether higher scores are better.
        possible: lowest and highest possible score.
        alpha: level of all comparisons of scores.
        families: differences of the compared rows, by outcome; absent where there is no mean.
        untrained: each untrained row's differences in score from the compared ones, by its name.
        beaten_by: names of the ranked rows that are better, by name.
        counts: seeds and items of each row, by outcome and name.
        costs: of each row, in the order of `reports.verdict.costs.COSTS`.
        places: where each row ran.
    """

    reference: str
    entries: Sequence[Entry]
    ranked: Sequence[str]
    upward: bool
    possible: tuple[float, float]
    alpha: float
    families: Mapping[Outcome, Family[str]]
    untrained: Mapping[str, Family[str]]
    beaten_by: Mapping[str, tuple[str, ...]]
    counts: Mapping[Outcome, Mapping[str, tuple[int, int]]]
    costs: Mapping[str, tuple[float, ...]]
    places: Mapping[str, Place]

    @cached_property
    def own(self) -> Entry | None:
        """The reference's row, if it has runs."""
        return next((each for each in self.entries if each.name == self.reference), None)

    @cached_property
    def pairs(self) -> Mapping[Outcome, Pairs]:
        """All contrasts of ranked rows, by outcome."""
        return {
            outcome: every(
                family,
                self.ranked,
                outcome,
                upward=self.upward and outcome == "score",
                items=self._items(outcome),
            )
            for outcome, family in self.families.items()
        }

    @cached_property
    def gains(self) -> Pairs:
        """Each ranked row minus each untrained one, in score."""
        items = self._items("score")
        return {
            (row, name): contrast(family, (row, name), "score", upward=self.upward, items=items)
            for row in self.ranked
            for name, family in self.untrained.items()
        }

    @cached_property
    def learners(self) -> list[str] | None:
        """The ranked rows that beat every untrained one; None if nothing can tell."""
        if not self.untrained or not self.ranked:
            return None
        for name, family in self.untrained.items():
            if withheld(family, (self.ranked[0], name)) not in {"", SAME, IDENTICAL}:
                return None
        return [
            row
            for row in self.ranked
            if all(
                family.beats(row, name, higher_is_better=self.upward)
                for name, family in self.untrained.items()
            )
        ]

    def to_best(self, name: str) -> Contrast | None:
        """Return a row minus the best of the others; None if it is not ranked."""
        if name not in self.ranked:
            return None
        return to_best(name, self.ranked, self.pairs["score"], upward=self.upward)

    def to_reference(self, entry: Entry) -> dict[Outcome, Contrast]:
        """Return a row minus the reference, in the outcomes that both have."""
        own = self.own
        if own is None or own.name == entry.name:
            return {}
        found = {outcome: self._contrast(entry, own, outcome) for outcome in OUTCOMES}
        return {outcome: each for outcome, each in found.items() if each.difference is not None}

    def _contrast(self, first: Entry, second: Entry, outcome: Outcome) -> Contrast:
        known = self._known.get(outcome, {})
        if flipped := known.get((second.name, first.name)):
            return flipped.reversed()
        return known.get((first.name, second.name)) or uncompared(first, second, outcome)

    @cached_property
    def _known(self) -> Mapping[Outcome, Pairs]:
        return {**self.pairs, "score": {**self.pairs.get("score", {}), **self.gains}}

    def _items(self, outcome: Outcome) -> Items:
        return lambda name: self.counts[outcome].get(name, (0, 0))[1]
