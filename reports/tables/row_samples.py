"""What the runs of a row say of an outcome: its sample, lost runs counted, and its mean."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gapbench.reports.results.items import Quantity, ScoredCell, samples
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.stats.estimates import Estimate, Sample, estimate
from gapbench.reports.tables.row_status import RowStatus, floor_of


def sampled(
    results: LoadedResults, rows: Mapping[str, Any], outcome: Quantity, *, up: bool
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


def scored(row: Any) -> ScoredCell:
    """Return the runs of a row that have a main score."""
    return ScoredCell(
        row.config_hash, {seed: {row.metric: one} for seed, one in row.by_seed.items()}
    )


def _ended(row: Any) -> ScoredCell:
    """Return the runs of a row that ended well, whatever was recorded of them."""
    return ScoredCell(row.config_hash, {seed: {} for seed in row.ok_runs})


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


def comparable(found: Mapping[str, Sample], ranked: Mapping[str, Sample]) -> dict[str, Sample]:
    """Return those of the ranked rows of which every run has the outcome, and whose items do."""
    return {
        name: found[name]
        for name, score in ranked.items()
        if name in found
        and not found[name].unknown
        and found[name].scores.keys() == score.scores.keys()
    }


def estimates_of(
    found: Mapping[str, Sample], status: Mapping[str, RowStatus]
) -> dict[str, Estimate]:
    """Return the means of those that have one; without an interval where seeds collapsed."""
    made = {name: estimate(each) for name, each in found.items() if each.scores}
    return {name: each.bare if status[name] == "collapsed" else each for name, each in made.items()}


def mean_columns(sample: Sample | None, name: str, status: RowStatus) -> dict[str, float | None]:
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
