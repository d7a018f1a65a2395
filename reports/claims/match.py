"""The rows of a results folder that a claim is about, and why there are none.

Rows that share suite, task, backbone, start and setting are compared, as everywhere in reports.
Where a claim gives its sides different budgets, these are of different settings; then task,
backbone, start and test items have to be the same. A claim is judged within one suite: of several,
the one with the most tasks and seeds, then the first by name; no score has a say in that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gapbench.bench.config.tuned_variant import is_tuned, tuned_label
from gapbench.reports.claims.model import PublishedClaim, Side
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.stats.estimates import Sample
from gapbench.reports.tables.leaderboard import BOARD, rows
from gapbench.reports.tables.row_samples import sampled
from gapbench.reports.tables.row_status import RANKED, state
from gapbench.reports.tables.standing import Standing
from gapbench.reports.tables.terminal import place

FIRST, SECOND = "first", "second"
_FLOOR = "floor"
_TUNED, _DEFAULT = tuned_label("default"), "default"


@dataclass(frozen=True)
class Match:
    """The two rows of a claim on one task.

    Attributes:
        place: task, backbone and start in words.
        suite: of the first row.
        samples: of both, by `FIRST` and `SECOND`, on the same items.
        upward: whether higher scores are better.
        possible: lowest and highest possible score.
        metric: of the score.
        others: rows that fit a side as well but for a variant of other settings, such as a rate.
    """

    place: str
    suite: str
    samples: dict[str, Sample]
    upward: bool
    possible: tuple[float, float]
    metric: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Matches:
    """All tasks that can speak about a claim, and what is missing where they cannot."""

    found: tuple[Match, ...]
    missing: tuple[str, ...]


Board = list[Any]
"""The rows of one setting."""


def boards_of(summary: pd.DataFrame) -> list[Board]:
    """Return the rows of a table of `reports.tables.summary.summarise`, board by board.

    Those of the protocol `paper` are left out: the test split chose their checkpoints.
    """
    found = [list(rows(board)) for _, board in summary.groupby(BOARD, sort=False)]
    return [board for board in found if board[0].protocol != "paper"]


def matches(results: LoadedResults, boards: Sequence[Board], claim: PublishedClaim) -> Matches:
    """Return the rows of a results folder that a claim is about.

    Args:
        results: the folder.
        boards: its rows.
        claim: to look for.
    """
    about = [board for board in boards if not claim.tasks or board[0].task in claim.tasks]
    candidates = list(_candidates(results, about, claim))
    sides = {FIRST: claim.first, SECOND: claim.second}
    absent = [
        _absent(results, about, side)
        for name, side in sides.items()
        if not any(name == each.side for each in candidates)
    ]
    if absent:
        where = f" on {', '.join(claim.tasks)}" if claim.tasks else ""
        return Matches((), tuple(f"{each}{where}" for each in absent))
    pairs = _paired(candidates, across=claim.across)
    missing = [] if pairs else [f"{claim.first} and {claim.second} share no task and setting"]
    found = []
    for pair in _of_one_suite(pairs):
        match = _match(results, claim, *pair)
        if isinstance(match, str):
            missing.append(match)
        else:
            found.append(match)
    return Matches(_of_one_scale(claim, found, missing), tuple(missing))


def _absent(results: LoadedResults, boards: Sequence[Board], side: Side) -> str:
    """Return why no row stands for a side."""
    if any(_fits(results, row, side) for board in boards for row in board):
        return f"several variants of {side}, of which none is the default"
    return f"no run of {side}"


@dataclass(frozen=True)
class _Candidate:
    """A row that fits one side of a claim."""

    side: str
    row: Any
    key: tuple[Any, ...]
    board: int
    others: tuple[str, ...]

    @property
    def standing(self) -> Standing:
        own: Standing = self.row.standing
        return own

    @property
    def ended(self) -> Any:
        """The row with the runs that ended well alone."""
        return self.standing.rows[self.row.name]


def _candidates(
    results: LoadedResults, boards: Sequence[Board], claim: PublishedClaim
) -> Iterator[_Candidate]:
    for number, board in enumerate(boards):
        first = board[0]
        for name, side in ((FIRST, claim.first), (SECOND, claim.second)):
            fitting = [row for row in board if _fits(results, row, side)]
            usual = [row for row in fitting if row.variant in ("", _DEFAULT, _TUNED)] or fitting
            if len(usual) == 1:  # of several variants none is the claim's
                others = tuple(row.name for row in fitting if row is not usual[0])
                key = first.task, first.backbone, first.start
                yield _Candidate(name, usual[0], key, number, others)


def _fits(results: LoadedResults, row: Any, side: Side) -> bool:
    record = results.cells.get(row.config_hash)
    if record is None or row.method != side.method or is_tuned(row.variant) != side.tuned:
        return False
    own = {
        "config": record.cell.config,
        "training": record.cell.training.model_dump(),
        "budget": record.cell.budget.model_dump(),
    }
    return all(
        name in own[part] and own[part][name] == value
        for part in own
        for name, value in getattr(side, part).items()
    )


def _paired(
    candidates: Sequence[_Candidate], *, across: bool
) -> list[tuple[_Candidate, _Candidate]]:
    firsts, seconds = ([each for each in candidates if each.side == s] for s in (FIRST, SECOND))
    return [
        (one, other)
        for one in firsts
        for other in seconds
        if one.key == other.key and (across or one.board == other.board)
    ]


def _of_one_suite(
    pairs: Sequence[tuple[_Candidate, _Candidate]],
) -> list[tuple[_Candidate, _Candidate]]:
    """Return the pairs of the suite and backbone with the most to say, one a task.

    Two backbones share the test items of a task, so that they are no two tasks.
    """
    suites: dict[tuple[str, str, str], dict[tuple[Any, ...], tuple[_Candidate, _Candidate]]] = {}
    for pair in pairs:
        _, backbone, _ = pair[0].key
        own = suites.setdefault((pair[0].row.suite, pair[1].row.suite, backbone), {})
        if pair[0].key not in own or _seeds(pair) > _seeds(own[pair[0].key]):
            own[pair[0].key] = pair
    if not suites:
        return []
    best = max(suites.values(), key=lambda own: (len(own), sum(map(_seeds, own.values()))))
    return list(best.values())


def _seeds(pair: tuple[_Candidate, _Candidate]) -> int:
    return len(set(pair[0].row.by_seed) & set(pair[1].row.by_seed))


def _match(
    results: LoadedResults, claim: PublishedClaim, first: _Candidate, second: _Candidate
) -> Match | str:
    """Return what a task says of a claim, or why it says nothing."""
    where = place(*first.key)
    for each in (first, second):
        status = each.standing.status[each.row.name]
        if status not in RANKED:
            why = each.standing.why[each.row.name]
            return f"{where}: {each.row.name} {state(status, why)}"
        if claim.metric != "score" and each.row.lost:
            return f"{where}: {each.row.name} has runs without a score"
    if first.row.config_hash == second.row.config_hash:
        return f"{where}: both sides are the same runs"
    own = {FIRST: first.ended, SECOND: second.ended}
    floor = first.standing.rows.get(first.standing.floor)
    if floor and (first.row.lost or second.row.lost):  # which count as the untrained row
        own[_FLOOR] = floor
    samples = sampled(results, own, claim.metric, up=first.standing.upward)
    if not {FIRST, SECOND} <= samples.keys():
        return f"{where}: it has no {claim.metric}"
    pair = {name: samples[name] for name in (FIRST, SECOND)}
    if any(each.unknown for each in pair.values()):
        return f"{where}: no values of single items of its {claim.metric} are known"
    if len(pair[FIRST].scores.keys() & pair[SECOND].scores.keys()) < 2:
        return f"{where}: fewer than two common seeds"
    up, metric = first.standing.upward, first.row.metric
    others = (*first.others, *second.others)
    return Match(where, first.row.suite, pair, up, first.standing.possible, metric, others)


def _of_one_scale(
    claim: PublishedClaim, found: list[Match], missing: list[str]
) -> tuple[Match, ...]:
    """Leave out tasks whose scores cannot be averaged: of several, the best has to be 1."""
    if len(found) < 2 or claim.metric in ("ece", "nll"):
        return tuple(found)
    fit = [each for each in found if each.upward and np.isclose(each.possible[1], 1.0)]
    fit = fit or found[:1]
    missing += [
        f"{each.place}: {each.metric} has no scale in common with other tasks"
        for each in found
        if each not in fit
    ]
    return tuple(fit)
