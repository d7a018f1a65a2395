"""The figure of score against gap and against cost, with a name beside every point.

The page lets a reader choose both axes; what may be chosen travels with the figure's data.
"""

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.board import Board, identity
from gapbench.reports.figures.labels import SIZE, Point, write_names
from gapbench.reports.figures.layout import mark, panels
from gapbench.reports.figures.measure import all_within
from gapbench.reports.figures.scales import by_orders
from gapbench.reports.figures.subset import chosen, left_out
from gapbench.reports.figures.theme import INK, style
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.row_status import that_train
from gapbench.reports.tables.terminal import number, short
from gapbench.reports.tables.words import few

AXES = {
    "score": ("test score", "", "high"),
    "generalization_gap": ("generalization gap", "", "low"),
    "ece": ("calibration error (ECE)", "", "low"),
    "nll": ("NLL", "nats", "low"),
    "train_flops": ("training FLOPs", "", "low"),
    "train_seconds": ("training time", "s", "low"),
    "evaluation_seconds": ("scoring time", "s", "low"),
    "inference_passes": ("passes of a prediction", "", "low"),
    "peak_memory_bytes": ("peak memory", "MiB", "low"),
    "trainable_params": ("trainable parameters", "", "low"),
}
"""What an axis may show: its name, its unit, and which values are best."""

_ONE = {"peak_memory_bytes": 2**20}
_SHOWN = ("generalization_gap", "train_flops")
_MOST = 30
_SPAN = 8.0  # values above zero that span more than this factor are drawn by orders of magnitude
_HEIGHT = 2.3
_LONGEST = 1.65
_ALL_NAMED = 14
"""Rows up to which every mark bears its name; lines to more names would cross each other."""


def tradeoff(board: Board) -> FigureArtifact | None:
    """Draw test score against the generalization gap, and against training FLOPs.

    Returns:
        The figure, None if no trained row has a score and either.
    """
    known = that_train(board.table[board.table["score"].notna()])
    known = known[known[list(_SHOWN)].notna().any(axis=1)]
    if known.empty:
        return None
    drawn = board.only(chosen(known, "score", _MOST, board.verdict.reference))
    columns = [name for name in _SHOWN if drawn.table[name].notna().any()]
    word = "higher" if board.upward else "lower"
    title = (
        f"Test {board.metric} ({word} is better) against generalization gap and training cost "
        f"(further left is better), {board.place}, means over seeds. Upright bars: 95 % intervals."
        + drawn.primes
        + (_SOME_NAMED if len(drawn.rows) > _ALL_NAMED else "")
        + left_out(len(drawn.rows), len(known), "score", board.verdict.reference)
    )
    with style():
        figure, axes = panels(len(columns), _HEIGHT, across=2, heading=0.1, alike=False)
        for axis, column in zip(axes, columns, strict=True):
            _draw(axis, drawn, column)
        axes[0].set_ylabel(f"test {board.metric}")
        if not board.upward:
            axes[0].invert_yaxis()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # names are placed around what stands where it is
        for axis, column in zip(axes, columns, strict=True):
            write_names(axis, _points(drawn, column))
    names = {**AXES, "score": (f"test {board.metric}", "", "high" if board.upward else "low")}
    if len({row.machine for row in drawn.rows if pd.notna(row.train_seconds)}) > 1:
        # Their times and memory do not compare.
        names = {name: each for name, each in names.items() if each[1] not in {"s", "MiB"}}
    return FigureArtifact(
        f"tradeoff-{board.stem}", title, figure, _data(drawn), _finding(drawn), names
    )


_SOME_NAMED = (
    " Names stand at the reference, at the best and the worst score, and at methods that no other "
    "one beats in both score and gap; the marks of the others are those of the table."
)


def _data(board: Board) -> pd.DataFrame:
    fields = [*AXES, "n_seeds", "score_ci_low", "score_ci_high", "gap_ci_low", "gap_ci_high"]
    return pd.DataFrame(
        [
            identity(row)
            | {name: getattr(row, name) / _ONE.get(name, 1) for name in fields}
            | {"name": row.name, "about": board.about(row)}
            for row in board.rows
        ]
    )


def _draw(axis: Axes, board: Board, column: str) -> None:
    name, unit, _ = AXES[column]
    axis.set_xlabel(f"{name}, {unit}" if unit else name)
    for row in board.rows:
        x = getattr(row, column)
        if pd.isna(x):
            continue
        look = board.named(row).look
        said = _said(board, row, column)
        if pd.notna(row.score_ci_low):
            ends = (row.score_ci_low, row.score_ci_high)
            axis.plot([x, x], ends, color=look.colour, lw=0.9, alpha=0.6, zorder=1.5, gid=said)
        mark(axis, x, row.score, look, gid=said)
    _scale(axis, column, [float(value) for value in board.table[column].dropna()])
    axis.margins(0.12)


def _said(board: Board, row: Any, column: str) -> str:
    value = short(getattr(row, column))
    return board.tip(row, f"{AXES[column][0]} {value}, {board.metric} {number(row.score)}")


def _scale(axis: Axes, column: str, values: Sequence[float]) -> None:
    """Scale the horizontal axis; gaps are differences, so never by orders of magnitude."""
    axis.xaxis.set_major_locator(MaxNLocator(5))
    if column == "generalization_gap":
        axis.axvline(0, color=INK, linewidth=0.8)
    elif min(values) > 0 and max(values) > _SPAN * min(values):
        by_orders(axis, written=_tick)
    else:
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))


def _tick(value: float) -> str:
    """Return a number without the zeros that end its decimals."""
    return re.sub(r"\.0+(?=[A-Z]|$)", "", short(value), flags=re.IGNORECASE)


def _points(board: Board, column: str) -> list[Point]:
    known = [row for row in board.rows if pd.notna(getattr(row, column))]
    names = all_within([row.name for row in known], _LONGEST, SIZE)
    named = _named(board)
    return [
        Point(
            getattr(row, column),
            row.score,
            name if row.name in named else "",
            None if pd.isna(row.score_ci_low) else row.score_ci_low,
            None if pd.isna(row.score_ci_high) else row.score_ci_high,
            _said(board, row, column),
            board.looks[row.name].colour,
        )
        for row, name in zip(known, names, strict=True)
    ]


def _named(board: Board) -> set[str]:
    """Return the rows whose marks bear their names."""
    names = [row.name for row in board.rows]
    if len(names) <= _ALL_NAMED:
        return {*names}
    by_score = sorted(board.rows, key=lambda row: row.score)
    return {board.verdict.reference, by_score[0].name, by_score[-1].name, *_front(board)}


def _front(board: Board) -> list[str]:
    """Return the compared rows that no other one beats in both mean score and mean gap."""
    sign = 1 if board.upward else -1
    compared = [
        (row.name, sign * row.score, row.generalization_gap)
        for row in rows(board.table.dropna(subset=["generalization_gap", "score"]))
        if board.verdict[row.name].compared
    ]
    return [
        name
        for name, own, gap in compared
        if not any(worth > own and other <= gap for _, worth, other in compared)
    ]


def _finding(board: Board) -> str:
    """Say which methods no other one beats in both score and gap."""
    compared = [row for row in board.rows if board.verdict[row.name].compared]
    front = _front(board)
    if len(compared) < 2 or not front:
        return f"Scores on {board.rows[0].task} against their gap and cost."
    return (
        f"On {board.rows[0].task}, no other compared method has both a better mean {board.metric} "
        f"and as narrow a mean gap as {few(front)}."
    )
