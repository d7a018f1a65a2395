"""The rows of one board beside each other: how sure their means are, and what beats what."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd

from gapbench.bench.store.suite_plan import REFERENCE as SUITE_REFERENCE
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.stats.estimates import Estimate, Sample
from gapbench.reports.stats.intervals import Interval
from gapbench.reports.stats.pairwise import Family, family
from gapbench.reports.stats.simultaneous import WITH_REFERENCE
from gapbench.reports.tables.outcomes import (
    OUTCOMES,
    SPLITS,
    Outcome,
    Split,
    claim,
    level_of,
    range_of,
)
from gapbench.reports.tables.row_samples import comparable, estimates_of, sampled
from gapbench.reports.tables.row_status import RANKED, RowStatus, floor_of, statuses_of
from gapbench.reports.tables.terminal import label

REFERENCE = ""
"""What methods are compared with first if nothing else is asked for: what their suite names."""


@dataclass(frozen=True)
class Standing:
    """One board.

    Attributes:
        reference: name of the row that others are compared with first, "" if there is none.
        upward: whether higher scores are better.
        possible: lowest and highest possible score.
        rows: rows of the leaderboard by name.
        status: of each.
        why: what keeps a row from being ranked, or how lost runs were counted; "" if nothing.
        estimates: of the mean of each row that has any value, by outcome.
        scores: of each row by seed, with those that lost runs counted as.
        counts: seeds and items of each of the estimates; 0 items where they are unknown.
        splits: what each row that has any value reaches on the other splits.
        families: of the rows that are compared, by outcome; the score's holds the ranked ones.
        untrained: for each untrained row, the family of it and the ranked ones, in score.
        alpha: level of all comparisons of one outcome in this board, of which losses use a part.
        in_glue: the same, where several metrics or test sets count in the GLUE average; None where
            the score alone does, or the suite lacks tasks of GLUE.
    """

    reference: str
    upward: bool
    possible: tuple[float, float]
    rows: Mapping[str, Any]
    status: Mapping[str, RowStatus]
    why: Mapping[str, str]
    estimates: Mapping[Outcome, Mapping[str, Estimate]]
    scores: Mapping[str, Mapping[int, float]]
    counts: Mapping[Outcome, Mapping[str, tuple[int, int]]]
    splits: Mapping[Split, Mapping[str, Interval]]
    families: Mapping[Outcome, Family[str]]
    untrained: Mapping[str, Family[str]] = field(default_factory=dict)
    alpha: float = 0.05
    in_glue: "Standing | None" = None

    @property
    def floor(self) -> str:
        """Name of the untrained row that lost runs count as; "" if there is none."""
        return floor_of(self.rows)

    @property
    def ranked(self) -> list[str]:
        """Names of the ranked rows, best first."""
        names = [name for name, status in self.status.items() if status in RANKED]
        sign = -1 if self.upward else 1
        return sorted(names, key=lambda name: sign * float(self.estimates["score"][name].mean))

    def alpha_of(self, outcome: Outcome) -> float:
        """Return the level of all comparisons of an outcome."""
        return self.alpha * level_of(outcome, self.possible)

    def level(self, outcome: Outcome, name: str) -> Interval:
        """Return what a row reaches by itself, with a 95 % interval where it can have one."""
        own = self.estimates[outcome].get(name)
        if own is None:
            return Interval(0, None)
        n, _ = self.counts[outcome][name]
        return own.interval(n, range_of(outcome, self.possible))

    def beaten_by(self) -> dict[str, tuple[str, ...]]:
        """Return for each ranked row those that are better, best first."""
        found = self.families["score"].beaten_by(higher_is_better=self.upward)
        order = self.ranked
        return {name: tuple(other for other in order if other in found[name]) for name in order}


def to_reference(family: Family[str], name: str, reference: str, *, upward: bool) -> dict[str, Any]:
    """Return how a row differs from the reference, as columns; empty where they do not compare.

    Args:
        family: of what is compared.
        name: of the row.
        reference: name of the reference.
        upward: whether higher is better.
    """
    if name == reference or not {name, reference} <= family.places.keys():
        ends = dict.fromkeys(("vs_reference", "vs_reference_low", "vs_reference_high"))
        return ends | {"vs_reference_claim": ""}
    pair = family.pair(name, reference)
    return {
        "vs_reference": pair.difference,
        "vs_reference_low": pair.low,
        "vs_reference_high": pair.high,
        "vs_reference_claim": claim(pair, upward=upward),
    }


def depths(beaten_by: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Return the group of each row: 1 if nothing beats it, else one more than what beats it.

    So no row is beaten by another one of its own group.

    Args:
        beaten_by: of each row.
    """
    found = dict.fromkeys(beaten_by, 1)
    for _ in found:  # no more rounds than rows, even if some beat each other in a circle
        found = {
            name: 1 + max((found.get(other, 0) for other in better), default=0)
            for name, better in beaten_by.items()
        }
    return found


def named(rows: list[Any]) -> dict[str, Any]:
    """Return rows by name; those that share one are told apart by the hashes of their cells."""
    names = [label(row.method, row.variant) for row in rows]
    return {
        name if names.count(name) == 1 else f"{name} [{row.config_hash[:6]}]": row
        for name, row in zip(names, rows, strict=True)
    }


def reference_of(rows: Mapping[str, Any], wanted: str) -> str:
    """Return the name of the row that is the reference; "" if there is none."""
    method, _, variant = wanted.partition("/")
    if (name := label(method.strip(), variant.strip())) in rows:
        return name
    own = [name for name, row in rows.items() if wanted in (row.method, f"{row.method} [paper]")]
    return own[0] if len(own) == 1 else ""


def standing(results: LoadedResults, board: pd.DataFrame, wanted: str, alpha: float) -> Standing:
    """Compare the rows of one board.

    Args:
        results: where predictions are stored.
        board: rows of one setting, each with its runs.
        wanted: name of the reference; what the suite names is taken for "", and where no row has
            it.
        alpha: level of all comparisons of one outcome.
    """
    records = cast("list[dict[str, Any]]", board.to_dict("records"))
    rows = named([SimpleNamespace(**row) for row in records])
    up = bool(board["higher_is_better"].fillna(value=True).all())
    known = sampled(results, rows, "score", up=up)
    status, why = statuses_of(rows, known, floor_of(rows), up=up)
    named_by_suite = results.references.get(records[0]["suite"], SUITE_REFERENCE)
    reference = reference_of(rows, wanted) or reference_of(rows, named_by_suite)
    if status.get(reference) == "ranked":
        status[reference] = "reference"
    ranked = {name: known[name] for name in rows if status[name] in RANKED}
    possible = next((each.possible for each in known.values() if each.scores), (-np.inf, np.inf))
    estimates: dict[Outcome, Mapping[str, Estimate]] = {}
    counts: dict[Outcome, Mapping[str, tuple[int, int]]] = {}
    families: dict[Outcome, Family[str]] = {}
    for outcome in OUTCOMES:
        found = known if outcome == "score" else sampled(results, rows, outcome, up=up)
        estimates[outcome] = estimates_of(found, status)
        counts[outcome] = {name: (len(each.scores), each.n_items) for name, each in found.items()}
        level = alpha * level_of(outcome, possible)
        families[outcome] = compared(rows, comparable(found, ranked), level, reference)
    bare = {name: known[name] for name in rows if status[name] == "untrained"}
    scores = {name: each.scores for name, each in known.items()}
    return Standing(
        reference=reference,
        upward=up,
        possible=possible,
        rows=rows,
        status=status,
        why=why,
        estimates=estimates,
        scores=scores,
        counts=counts,
        splits={split: _levels(sampled(results, rows, split, up=up), status) for split in SPLITS},
        families=families,
        untrained=over_untrained(rows, ranked, bare, alpha * level_of("score", possible)),
        alpha=alpha,
    )


def _levels(found: Mapping[str, Sample], status: Mapping[str, RowStatus]) -> dict[str, Interval]:
    """Return the means of rows with their 95 % intervals, each for that row alone."""
    made = estimates_of(found, status)
    return {
        name: own.interval(len(found[name].scores), found[name].possible)
        for name, own in made.items()
    }


def over_untrained(
    rows: Mapping[str, Any], ranked: Mapping[str, Sample], bare: Mapping[str, Sample], alpha: float
) -> dict[str, Family[str]]:
    """Compare the ranked rows with each untrained one; with none if items of one are unknown."""
    known = {name: each for name, each in bare.items() if each.scores}
    if not ranked or any(each.unknown for each in known.values()):
        return {}  # what training gains over all of them is not known
    cells = {rows[name].config_hash for name in known}
    return {
        name: compared(rows, {**ranked, name: each}, alpha / len(cells), name, share=1.0)
        for name, each in known.items()
    }


def compared(
    rows: Mapping[str, Any],
    ranked: Mapping[str, Sample],
    alpha: float,
    reference: str,
    share: float = WITH_REFERENCE,
) -> Family[str]:
    """Compare what is ranked, the rows of one configuration as one under several names."""
    first: dict[str, str] = {}
    for name in sorted(ranked, key=lambda name: name != reference):
        first.setdefault(rows[name].config_hash, name)
    own = {name: ranked[name] for name in ranked if first[rows[name].config_hash] == name}
    pairs = family(own, alpha, reference if reference in own else None, share)
    places = {name: pairs.places[first[rows[name].config_hash]] for name in ranked}
    return replace(pairs, places=places)
