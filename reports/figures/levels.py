"""The figure of what every method reaches: score, gap and ECE, each with its own interval."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.board import Board, identity
from gapbench.reports.figures.layout import list_on, listed, mark
from gapbench.reports.figures.scales import by_orders
from gapbench.reports.figures.subset import chosen, left_out
from gapbench.reports.figures.theme import style
from gapbench.reports.stats.letters import letters
from gapbench.reports.tables.outcomes import Outcome
from gapbench.reports.tables.row_status import RANKED
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import interval
from gapbench.reports.verdict.model import Level

_MOST = 40
_NAMES: dict[Outcome, str] = {"score": "score", "gap": "gap", "ece": "ECE"}
_SQUASHED = 20.0
"""Scores above zero that span more than this factor are drawn by orders of magnitude."""


def levels(board: Board) -> FigureArtifact | None:
    """Draw mean and interval of every row, those that train nothing too.

    Returns:
        The figure, None if no row has a score.
    """
    known = board.table[board.table["score"].notna()]
    if known.empty:
        return None
    drawn = board.only(chosen(known, "score", _MOST, board.verdict.reference))
    found = {row.config_hash: _levels(board, row) for row in drawn.rows}
    outcomes = [name for name in _NAMES if any(name in each for each in found.values())]
    better = "higher" if board.upward else "lower"
    title = (
        f"Test {board.metric} ({better} is better), generalization gap and ECE (lower is better), "
        f"{board.place}: mean and 95 % interval of each method alone. Two intervals that overlap "
        "do not mean that the methods are equal; the differences above tell."
        + (_LETTERS if _letters(board) else "")
        + drawn.primes
        + left_out(len(drawn.rows), len(known), "score", board.verdict.reference)
    )
    with style():
        names = [board.named(row) for row in drawn.rows]
        labels = [board.metric if name == "score" else _NAMES[name] for name in outcomes]
        figure, axes = listed(names, labels)
        for axis, outcome in zip(axes, outcomes, strict=True):
            _draw_outcome(axis, drawn, outcome)
        _put_letters(axes[0], drawn)
    data = [
        identity(row) | {"outcome": name} | {part: getattr(each, part) for part in _PARTS}
        for row in drawn.rows
        for name, each in found[row.config_hash].items()
    ]
    return FigureArtifact(
        f"levels-{board.stem}", title, figure, pd.DataFrame(data), _finding(drawn)
    )


_LETTERS = (
    " Of the methods with letters, those that share none are shown to differ in score, all "
    "comparisons together."
)
_PARTS = ("mean", "low", "high", "n_seeds", "n_items", "withheld")


def draw_levels(axis: Axes, board: Board, outcome: Outcome) -> bool:
    """Draw one outcome of every row on given axes; return whether there is anything to draw."""
    known = board.only(board.table[board.table["score"].notna()])
    if not any(outcome in _levels(board, row) for row in known.rows):
        return False
    list_on(axis, [board.named(row) for row in known.rows])
    _draw_outcome(axis, known, outcome)
    axis.set_xlabel(
        f"test {board.metric}, {board.better}"
        if outcome == "score"
        else f"{_NAMES[outcome]}, lower is better"
    )
    return True


def _draw_outcome(axis: Axes, board: Board, outcome: Outcome) -> None:
    shown = [_levels(board, row).get(outcome) for row in board.rows]
    for place, (row, level) in enumerate(zip(board.rows, shown, strict=True)):
        _draw(axis, place, board, row, level)
    means = [each.mean for each in shown if each and each.mean is not None]
    wide = means and min(means) > 0 and max(means) > _SQUASHED * min(means)
    if outcome == "score" and wide:
        by_orders(axis)


def _levels(board: Board, row: Any) -> dict[Outcome, Level]:
    levels = board.verdict[row.name].levels
    return {name: level for name, level in levels.items() if name in _NAMES}


def _draw(axis: Axes, place: int, board: Board, row: Any, level: Level | None) -> None:
    if level is None or level.mean is None:
        return
    look = board.named(row).look
    ends = interval(level.low, level.high)
    said = f"{number(level.mean)}{f' ({ends})' if ends else ''}"
    if level.low is not None and level.high is not None:
        axis.plot([level.low, level.high], [place] * 2, color=look.colour, linewidth=1.3)
    mark(axis, level.mean, place, look, gid=board.tip(row, said))


def _letters(board: Board) -> dict[str, str]:
    """Return the letters of the ranked rows, best first."""
    return letters({e.name: e.beaten_by for e in board.verdict.entries if e.status in RANKED})


def _put_letters(axis: Axes, board: Board) -> None:
    """Put the letters of rows to the right of their scores."""
    found = _letters(board)
    for place, row in enumerate(board.rows):
        axis.annotate(
            found.get(row.name, ""),
            (1, place),
            xycoords=axis.get_yaxis_transform(),
            xytext=(3, 0),
            textcoords="offset points",
            verticalalignment="center",
            fontsize=7,
            annotation_clip=False,
        )


def _finding(board: Board) -> str:
    scored = [row for row in board.rows if pd.notna(row.score)]
    compared = [row for row in scored if board.verdict[row.name].compared]
    compared = compared if len(compared) > 1 else scored
    ordered = sorted(compared, key=lambda row: row.score, reverse=board.upward)
    best, worst = ordered[0], ordered[-1]
    ends = f"{best.name} with {number(best.score)} to {worst.name} with {number(worst.score)}"
    of = "" if len(compared) == len(scored) else " of the methods that are compared"
    return f"Mean test {board.metric} on {best.task}{of} reaches from {ends}."
