"""Figures of a results folder as matplotlib axes, drawn by the code that draws the report's."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt

from gapbench.bench.api.calls import Names
from gapbench.bench.core.errors import ConfigError
from gapbench.reports.document.context import Evidence
from gapbench.reports.figures.board import Board, boards
from gapbench.reports.figures.forest import draw_differences
from gapbench.reports.figures.layout import LINE
from gapbench.reports.figures.levels import draw_levels
from gapbench.reports.figures.reliability import draw_reliability
from gapbench.reports.figures.theme import paint, style
from gapbench.reports.figures.training import draw_curves
from gapbench.reports.sections._calibration import judged
from gapbench.reports.tables.outcomes import OUTCOMES, Outcome
from gapbench.reports.tables.standing import REFERENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 4.2, 2.6
"""Inches of a figure that is made where no axes are given; the height is the least."""


class Plots:
    """Figures of one task, each on one pair of axes that may be restyled.

    ``task`` and ``backbone`` are needed where the folder has several. Given ``ax`` is drawn on and
    returned; without it, a figure is made with pyplot, so that notebooks show it.
    """

    def __init__(self, evidence: Callable[[Names, Names, Names, str], Evidence]) -> None:
        self._evidence = evidence

    def __repr__(self) -> str:
        drawn = ", ".join(f".{name}()" for name in vars(Plots) if not name.startswith("_"))
        return f"Figures of one task, as matplotlib axes: {drawn}"

    def forest(
        self,
        task: str | None = None,
        *,
        outcome: Outcome = "score",
        backbone: str | None = None,
        methods: Names = None,
        reference: str = REFERENCE,
        ax: "Axes | None" = None,
    ) -> "Axes":
        """Draw how each method differs from the reference, with simultaneous 95 % intervals.

        Args:
            task: the task.
            outcome: "score", "gap", "ece" or "nll".
            backbone: the backbone.
            methods: methods to show; None shows all.
            reference: name of the row that others are compared with; "" for the suite's.
            ax: axes to draw on; None makes some.

        Raises:
            ConfigError: if this names several tasks or backbones, no such outcome, or nothing is
                compared.
            StoreError: if the folder has no such part.
        """
        _require("outcome", outcome, OUTCOMES)
        board = self._board(task, backbone, methods, reference)
        return _drawn(ax, board, lambda on: draw_differences(on, board, outcome))

    def scores(
        self,
        task: str | None = None,
        *,
        backbone: str | None = None,
        methods: Names = None,
        ax: "Axes | None" = None,
    ) -> "Axes":
        """Draw the mean test score of each method with its own 95 % interval; see `forest`."""
        board = self._board(task, backbone, methods)
        return _drawn(ax, board, lambda on: draw_levels(on, board, "score"))

    def gap(
        self,
        task: str | None = None,
        *,
        backbone: str | None = None,
        methods: Names = None,
        ax: "Axes | None" = None,
    ) -> "Axes":
        """Draw the mean generalization gap of each method, as `scores` does."""
        board = self._board(task, backbone, methods)
        return _drawn(ax, board, lambda on: draw_levels(on, board, "gap"))

    def curves(
        self,
        method: str,
        task: str | None = None,
        *,
        of: Literal["loss", "score"] = "loss",
        backbone: str | None = None,
        ax: "Axes | None" = None,
    ) -> "Axes":
        """Draw train, validation and test along training: means over seeds, and their range.

        Args:
            method: a method, or "method / variant".
            task: the task.
            of: "loss", or the "score" that picks checkpoints.
            backbone: the backbone.
            ax: axes to draw on; None makes some.

        Raises:
            ConfigError: if there is no such method, or it has no curves.
            StoreError: if the folder has no such part.
        """
        _require("of", of, ("loss", "score"))
        board = self._board(task, backbone)
        row = _row(board, method)
        return _drawn(ax, board, lambda on: draw_curves(on, board, row, of), row.name)

    def reliability(
        self,
        method: str,
        task: str | None = None,
        *,
        backbone: str | None = None,
        ax: "Axes | None" = None,
    ) -> "Axes":
        """Draw accuracy against confidence on test, a line for each seed; see `curves`."""
        board = self._board(task, backbone)
        row = _row(board, method)
        known = judged(board.only(board.table[board.table["config_hash"] == row.config_hash]))

        def draw(on: "Axes") -> bool:
            for found in known.values():
                draw_reliability(on, found.reliability, board.named(row).look.colour)
            return bool(known)

        return _drawn(ax, board, draw, row.name)

    def _board(
        self,
        task: str | None,
        backbone: str | None,
        methods: Names = None,
        reference: str = REFERENCE,
    ) -> Board:
        found = boards(self._evidence(task, backbone, methods, reference))
        if len(found) != 1:
            places = ", ".join(repr(board.stem) for board in found)
            raise ConfigError(
                f"a plot is of one task, backbone and setting, and these are {len(found)}: "
                f"{places}; give task and backbone"
            )
        return found[0]


def _require(name: str, given: str, allowed: Sequence[str]) -> None:
    if given not in allowed:
        raise ConfigError(f"{name} is {given!r}; give {' or '.join(map(repr, allowed))}")


def _row(board: Board, method: str) -> Any:
    named = {row.name: row for row in board.rows}
    if method not in named:
        raise ConfigError(f"method {method!r} is not of {board.place}; it has {', '.join(named)}")
    return named[method]


def _drawn(ax: "Axes | None", board: Board, draw: "Callable[[Axes], bool]", of: str = "") -> "Axes":
    """Draw on given axes or on new ones, in the colours of the light theme."""
    lines = 0 if of else len(board.rows)  # of a list of methods
    # Of the three titles that axes have, this one is replaced by a later `set_title`.
    place = mpl.rcParams["axes.titlelocation"]
    with style():
        size = (_WIDTH, max(_HEIGHT, 0.8 + LINE * lines))
        on = plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax
        if not draw(on):
            if ax is None:
                plt.close(plt.gcf())
            raise ConfigError(f"there is nothing to draw of {of or 'any method'}, {board.place}")
        on.set_title(f"{of}, {board.place}" if of else board.place, loc=place)
        paint(on)
    return on
