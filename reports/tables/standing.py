"""The rows of one board beside each other: how sure their means are, and what beats what."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from gapbench.bench.store.suite_plan import REFERENCE as SUITE_REFERENCE
from gapbench.reports.results.items import Quantity, Scored, samples
from gapbench.reports.results.load import Results
from gapbench.reports.stats.estimates import Estimate, Sample, estimate
from gapbench.reports.stats.intervals import Interval
from gapbench.reports.stats.pairwise import Family, Pair, family
from gapbench.reports.tables.row_status import RANKED, Status, floor_of, statuses_of
from gapbench.reports.tables.terminal import label

Outcome = Literal["score", "gap", "ece", "nll"]
OUTCOMES: tuple[Outcome, ...] = ("score", "gap", "ece", "nll")
"""What methods are compared on: test score, generalization gap, calibration error, test NLL.

The direction of the score is that of its metric; of the others less is better.
"""

Claim = Literal["better", "worse", ""]

REFERENCE = ""
"""What methods are compared with first if nothing else is asked for: what their suite names."""

Split = Literal["train_score", "validation_score"]
SPLITS: tuple[Split, ...] = ("train_score", "validation_score")
"""Scores on the other splits, which have intervals too and are not compared."""

MEAN: Mapping[Outcome, str] = {
    "score": "score",
    "gap": "generalization_gap",
    "ece": "ece",
    "nll": "nll",
}
"""Where its mean is in the leaderboard."""

SKEWED = 0.6
"""Share of the level that comparisons in losses use.

NLL is skewed over seeds of a method whose confidence is unsteady, so that its claims are wrong more
often than intervals of normal values say; `docs/statistics.md` has the simulation.
"""


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
    status: Mapping[str, Status]
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


def range_of(outcome: Outcome, possible: tuple[float, float]) -> tuple[float, float]:
    """Return the lowest and the highest possible value of an outcome, given those of the score."""
    width = possible[1] - possible[0]
    ranges = {"score": possible, "gap": (-width, width), "ece": (0.0, 1.0), "nll": (0.0, np.inf)}
    return ranges[outcome]


def level_of(outcome: str, *ranges: tuple[float, float]) -> float:
    """Return the share of the level of comparisons that an outcome uses.

    Args:
        outcome: what is compared.
        ranges: lowest and highest possible score, of each task; one without a highest is a loss.
    """
    loss = outcome != "ece" and not np.isfinite(np.array(ranges)).all()
    return SKEWED if outcome == "nll" or loss else 1.0


def claim(pair: Pair, *, upward: bool) -> Claim:
    """Return whether the first of a pair is better or worse; "" if the data do not tell."""
    if not pair.apart or pair.difference is None:
        return ""
    return "better" if (pair.difference > 0) == upward else "worse"


def mean_columns(sample: Sample | None, name: str, status: Status) -> dict[str, float | None]:
    """Return the mean of a row with its 95 % interval, for this row alone, as columns.

    Where seeds collapsed, the mean is of two kinds of runs and has no interval.

    Args:
        sample: of the row; None if it has none.
        name: of the column of the mean.
        status: of the row.
    """
    if sample is None:
        return dict.fromkeys((name, f"{name}_ci_low", f"{name}_ci_high"))
    found = estimate(sample)
    found = found.bare if status == "collapsed" else found
    own = found.interval(len(sample.scores), sample.possible)
    return {name: own.mean, f"{name}_ci_low": own.low, f"{name}_ci_high": own.high}


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


def upward(outcome: Outcome, standing: Standing) -> bool:
    """Return whether higher values of an outcome are better."""
    return standing.upward if outcome == "score" else False


def depths(beaten_by: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Return the group of each row: 1 if nothing beats it, else one more than what beats it.

    So no row is beaten by another one of its own group.

    Args:
        beaten_by: of each row, best first.
    """
    found: dict[str, int] = {}
    for name, better in beaten_by.items():
        found[name] = 1 + max((found.get(other, 0) for other in better), default=0)
    return found


def scored(row: Any) -> Scored:
    """Return the runs of a row that have a main score."""
    return Scored(row.config_hash, {seed: {row.metric: one} for seed, one in row.by_seed.items()})


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


def standing(results: Results, board: pd.DataFrame, wanted: str, alpha: float) -> Standing:
    """Compare the rows of one board.

    Args:
        results: where predictions are stored.
        board: rows of one setting, each with its runs.
        wanted: name of the reference; "" for what the suite names.
        alpha: level of all comparisons of one outcome.
    """
    records = cast("list[dict[str, Any]]", board.to_dict("records"))
    rows = named([SimpleNamespace(**row) for row in records])
    up = bool(board["higher_is_better"].fillna(value=True).all())
    known = sampled(results, rows, "score", up=up)
    status, why = statuses_of(rows, known, floor_of(rows), up=up)
    named_by_suite = results.references.get(records[0]["suite"], SUITE_REFERENCE)
    reference = reference_of(rows, wanted or named_by_suite)
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
        untrained=over_untrained(ranked, bare, alpha * level_of("score", possible)),
        alpha=alpha,
    )


def estimates_of(found: Mapping[str, Sample], status: Mapping[str, Status]) -> dict[str, Estimate]:
    """Return the means of those that have one; without an interval where seeds collapsed."""
    made = {name: estimate(each) for name, each in found.items() if each.scores}
    return {name: each.bare if status[name] == "collapsed" else each for name, each in made.items()}


def _levels(found: Mapping[str, Sample], status: Mapping[str, Status]) -> dict[str, Interval]:
    """Return the means of rows with their 95 % intervals, each for that row alone."""
    made = estimates_of(found, status)
    return {
        name: own.interval(len(found[name].scores), found[name].possible)
        for name, own in made.items()
    }


def comparable(found: Mapping[str, Sample], ranked: Mapping[str, Sample]) -> dict[str, Sample]:
    """Return those of the ranked rows of which every run has the outcome, and whose items do."""
    return {
        name: found[name]
        for name, score in ranked.items()
        if name in found
        and not found[name].unknown
        and found[name].scores.keys() == score.scores.keys()
    }


def over_untrained(
    ranked: Mapping[str, Sample], bare: Mapping[str, Sample], alpha: float
) -> dict[str, Family[str]]:
    """Compare the ranked rows with each untrained one; with none if items of one are unknown."""
    known = {name: each for name, each in bare.items() if each.scores}
    if not ranked or any(each.unknown for each in known.values()):
        return {}  # what training gains over all of them is not known
    return {
        name: family({**ranked, name: each}, alpha / len(known), name, share=1.0)
        for name, each in known.items()
    }


def _filled(own: Sample, row: Any, floor: Sample | None, *, up: bool) -> Sample:
    """Return the runs of a row with those that it lost counted as the untrained row.

    A row that is worse than that has its own worst run in their place, so that no lost run raises
    its mean.
    """
    if not row.lost or not own.scores or floor is None:
        return own
    worst = min if up else max
    least = worst(own.scores, key=own.scores.__getitem__)
    scores = dict(own.scores)
    strata = [dict(each) for each in own.strata] if len(own.strata) == len(floor.strata) else []
    for seed in row.lost:
        like = seed if seed in floor.scores else next(iter(floor.scores))
        source, place = (floor, like)
        if (floor.scores[like] > own.scores[least]) == up:
            source, place = own, least
        scores[seed] = source.scores[place]
        for filled, values in zip(strata, source.strata, strict=False):
            filled[seed] = values[place]
    unknown = own.unknown or floor.unknown
    return replace(own, scores=scores, strata=tuple(strata), unknown=unknown)


def sampled(
    results: Results, rows: Mapping[str, Any], outcome: Quantity, *, up: bool
) -> dict[str, Sample]:
    """Return the samples of rows in an outcome; in others than the score, of those that have any.

    Args:
        results: where predictions are stored.
        rows: of one task, by any names; lost runs count as the untrained one among them.
        outcome: of what.
        up: whether higher scores are better.
    """
    if outcome != "score":
        found = samples(results, {name: _ended(row) for name, row in rows.items()}, outcome)
        return {name: each for name, each in found.items() if each.scores}
    return with_lost(
        samples(results, {name: scored(row) for name, row in rows.items()}), rows, up=up
    )


def with_lost(
    found: Mapping[str, Sample], rows: Mapping[str, Any], *, up: bool
) -> dict[str, Sample]:
    """Return the samples of rows by score, lost runs counted as the untrained row among them."""
    floor = found.get(floor_of(rows))
    return {name: _filled(each, rows[name], floor, up=up) for name, each in found.items()}


def _ended(row: Any) -> Scored:
    """Return the runs of a row that ended well, whatever was recorded of them."""
    return Scored(row.config_hash, {seed: {} for seed in row.ok_runs})


def compared(
    rows: Mapping[str, Any], ranked: Mapping[str, Sample], alpha: float, reference: str
) -> Family[str]:
    """Compare what is ranked, the rows of one configuration as one under several names."""
    first: dict[str, str] = {}
    for name in sorted(ranked, key=lambda name: name != reference):
        first.setdefault(rows[name].config_hash, name)
    own = {name: ranked[name] for name in ranked if first[rows[name].config_hash] == name}
    pairs = family(own, alpha, reference if reference in own else None)
    places = {name: pairs.places[first[rows[name].config_hash]] for name in ranked}
    return replace(pairs, places=places)
