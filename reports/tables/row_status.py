"""What each row of a board is: ranked, or why it is not.

Rules that keep what is lost or lacking from counting for a row:

- A run that failed, diverged or has no score counts as the untrained row of its task on that seed:
  `majority`, or where it is absent `untuned`. Without such a row, the row that lost it is not
  ranked. In other outcomes than the score, which training nothing does well in, a row that lost
  a run is not compared.
- A row that has fewer seeds than the usual trained row is not ranked; nor is one that has fewer
  than the fullest and waits for runs. Rows with seeds that others lack are compared on common ones.
- A row some of whose seeds collapsed, so that they lie far below the others, is not ranked: the
  mean of two kinds of runs describes neither, and few seeds do not show how frequent each is.
- A row is compared only in outcomes whose items have known values, as stored outputs give. Seeds
  alone say what other trainings would give on these very items, not what other items would.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from gapbench.reports.stats.estimates import Sample
from gapbench.reports.stats.pairwise import Key

RowStatus = Literal[
    "ranked",
    "reference",
    "untrained",
    "incomplete",
    "failed",
    "collapsed",
    "single",
    "skipped",
    "itemless",
]
"""What a row is in its comparison.

- ranked: compared with all others.
- reference: likewise, and the one that others are compared with first.
- untrained: trains nothing, and shows what training gains; it is not ranked.
- incomplete: has too few seeds beside the other rows.
- failed: some of its runs have no score, and there is no untrained row to count them as.
- collapsed: some of its seeds lie far below the others.
- single: has one seed, whose variation cannot be seen.
- skipped: none of its runs can be had here.
- itemless: no values of its single test items are known.
"""
RANKED = ("ranked", "reference")
"""What is compared by score."""

FLOORS = ("majority", "untuned")
"""Methods that lost runs count as, the first that is there."""

_APART = 8.0
"""Standard deviations between seeds that collapsed seeds lie below the others of their row."""

_LOST = 0.7
"""Share that a collapsed seed has lost of what the best of its row gains over the untrained row."""

_LOST_BARE = 0.2
"""The same share of the best itself, where there is no untrained row."""


def trains(row: Any) -> bool:
    """Return whether the runs of a row train anything; where that is unknown, they may."""
    return bool(pd.isna(row.trainable_params) or row.trainable_params)


def that_train(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table of runs or of cells that `trains` says yes of."""
    return table[table["trainable_params"].fillna(1) != 0]


def floor_of(rows: Mapping[str, Any]) -> str:
    """Return the name of the row that lost runs count as; "" if there is none."""
    for method in FLOORS:
        for name, row in rows.items():
            if row.method == method and row.by_seed:
                return name
    return ""


def statuses_of(
    rows: Mapping[str, Any], known: Mapping[str, Sample], floor: str, *, up: bool
) -> tuple[dict[str, RowStatus], dict[str, str]]:
    """Return what each row is, and why.

    Args:
        rows: of one board, by name.
        known: their scores, with those that lost runs count as.
        floor: name of the row that lost runs count as; "" if there is none.
        up: whether higher scores are better.
    """
    runs = {name: (row.config_hash, *known[name].scores) for name, row in rows.items()}
    trained = {runs[name]: known[name].scores for name in rows if trains(rows[name])}
    seeds: dict[str, int] = {}  # runs under several names count once
    for (cell, *_), scores in trained.items():
        seeds[cell] = max(len(scores), seeds.get(cell, 0))
    counts = sorted(seeds.values()) or [0]
    fullest, usual = counts[-1], counts[(len(counts) - 1) // 2]
    collapsed = collapsed_seeds(trained, known.get(floor), up=up)
    status: dict[str, RowStatus] = {}
    why: dict[str, str] = {}
    for name, row in rows.items():
        own, wanted = known[name], fullest if row.pending else usual
        status[name], why[name] = _status_of(row, own, wanted, collapsed.get(runs[name], 0), floor)
        if row.lost and floor and own.scores:
            said = f"{_runs(row)} without a score counted as {floor}"
            why[name] = f"{why[name]}; {said}" if why[name] else said
    return status, why


def _status_of(
    row: Any, own: Sample, wanted: int, collapsed: int, floor: str
) -> tuple[RowStatus, str]:
    n = len(own.scores)
    if not trains(row):
        return "untrained", ""
    if not n and not row.pending:
        if row.lost:
            told = f"all {_runs(row)} failed" if row.n_failed else f"{_runs(row)} without a score"
            return "failed", told
        return "skipped", "none of its runs can be had here"
    if row.lost and not floor:
        return "failed", f"{_runs(row)} {'has' if len(row.lost) == 1 else 'have'} no score"
    if n < wanted or not n:
        return "incomplete", f"{n} of {max(wanted, 1)} seeds"
    if n < 2:
        return "single", "one seed, which gives no interval"
    if collapsed:
        return "collapsed", f"{collapsed} of {n} seeds lie far below the others"
    if own.unknown:
        return "itemless", "no values of single test items are known"
    return "ranked", ""


def _runs(row: Any) -> str:
    return f"{len(row.lost)} run{'' if len(row.lost) == 1 else 's'}"


_STATES: dict[RowStatus, str] = {
    "untrained": "trains nothing",
    "incomplete": "has too few seeds",
    "failed": "lacks scores",
    "collapsed": "collapsed",
    "single": "has one seed",
    "skipped": "has no runs",
    "itemless": "cannot be judged",
}


def state(status: RowStatus, why: str) -> str:
    """Return what keeps a row from being compared, as what follows its name in a sentence."""
    if status in {"incomplete", "single"} and why:
        return f"has {why}"
    said = _STATES.get(status, "cannot be compared")
    return f"{said}: {why}" if why else said


def collapsed_seeds(
    scores: Mapping[Key, Mapping[int, float]], floor: Sample | None, *, up: bool
) -> dict[Key, int]:
    """Return how many seeds of a row collapsed, of rows where some did and others did not.

    They have lost most of what training gains, and lie far below the others: by `_APART` standard
    deviations of these, or of the usual row if its are larger. Where seven methods are equal and
    nothing collapsed, this is found in at most 1 of 100 studies.

    Args:
        scores: of trained rows by seed, each row once.
        floor: the untrained row, None if there is none.
        up: whether higher scores are better.
    """
    sign = 1.0 if up else -1.0
    every = {name: sign * np.array(list(each.values())) for name, each in scores.items()}
    every = {name: each for name, each in every.items() if len(each) > 2}
    start = None if floor is None else sign * float(np.mean(list(floor.scores.values())))
    gone = {name: _lost(each, start) for name, each in every.items()}
    spreads = {name: _spread(each[~gone[name]]) for name, each in every.items()}
    known = sorted(each for each in spreads.values() if np.isfinite(each))
    usual = known[(len(known) - 1) // 2] if known else 0.0
    found = {}
    for name, each in every.items():
        lost = gone[name]
        if 0 < lost.sum() < len(each):
            own = max(usual, spreads[name] if np.isfinite(spreads[name]) else 0.0)
            if each[~lost].min() - each[lost].max() > _APART * own:
                found[name] = int(lost.sum())
    return found


def _lost(scores: Any, start: float | None) -> Any:
    """Return which scores, higher being better, have lost most of what the best has gained."""
    best = scores.max()
    gained = _LOST_BARE * abs(best) if start is None else _LOST * (best - start)
    return (best - scores > gained) & (gained > 0)


def _spread(values: Any) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
