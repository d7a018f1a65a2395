"""Where things stand in a figure: panels side by side, and lists with measures beside the names.

All figures are equally wide, so that text has one size throughout a report. Sizes are in inches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.figures.canvas import PAGE
from reports.text import fitted

WIDTH = 7.2
ACROSS = 4
_LEFT, _RIGHT, _KEY = 0.55, 0.16, 0.24
_LETTER = 0.064  # mean width of a letter in a list
_LONGEST = 30
_LINE = 0.168


@dataclass(frozen=True)
class Look:
    """How a method's mark looks: with its colour and marker, hollow or half filled for variants."""

    colour: str
    marker: str = "o"
    fill: str = "full"


@dataclass(frozen=True)
class Named:
    """A line of a list."""

    name: str
    look: Look


def panels(
    n: int, height: float, *, across: int = ACROSS, heading: float = 0.34, foot: float = 0.42
) -> tuple[Figure, list[Axes]]:
    """Lay out panels, in rows of ``across``, that share both axes; room is left for a `key`.

    Args:
        n: number of panels, at least 1.
        height: of each.
        across: most panels of a row.
        heading: room above each for its title.
        foot: room below for the labels of the lowest.
    """
    columns = min(across, n)
    rows = -(-n // columns)
    between = heading + 0.1
    whole = _KEY + heading + rows * height + (rows - 1) * between + foot
    beside = 0.14
    wide = min(2.4, (WIDTH - _LEFT - _RIGHT - (columns - 1) * beside) / columns)
    figure = Figure(figsize=(WIDTH, whole))
    axes: list[Axes] = []
    for place in range(n):
        row, column = divmod(place, columns)
        left = _LEFT + column * (wide + beside)
        low = whole - _KEY - heading - (row + 1) * height - row * between
        box = (left / WIDTH, low / whole, wide / WIDTH, height / whole)
        first = axes[0] if axes else None
        axis = figure.add_axes(box, sharex=first, sharey=first)
        axis.tick_params(labelbottom=place + columns >= n, labelleft=column == 0)
        axes.append(axis)
    return figure, axes


def listed(
    names: Sequence[Named], labels: Sequence[str], *, square: str = "", numbered: bool = False
) -> tuple[Figure, list[Axes]]:
    """Lay out a list of names with a column of axes for each measure; the first name stands on top.

    Args:
        names: with the marks that stand beside them.
        labels: of the axes of measures.
        square: label of one more panel to the right, for a plot of its own; "" for none.
        numbered: whether the names bear numbers.

    Returns:
        The figure and its axes, the extra panel last. Line i has its middle at y = i.
    """
    shown = [fitted(each.name, _LONGEST) for each in names]
    if numbered:
        shown = [f"{place}  {name}" for place, name in enumerate(shown, 1)]
    left = 0.3 + _LETTER * max(map(len, shown))
    top, foot, beside = _KEY + 0.06, 0.42, 0.2
    whole = top + foot + max(_LINE * len(names) + 0.1, 2.2 if square else 0.6)
    extra = 2.75 if square else 0.0
    wide = (WIDTH - left - _RIGHT - extra - beside * (len(labels) - 1)) / len(labels)
    figure = Figure(figsize=(WIDTH, whole))
    axes: list[Axes] = []
    for column, text in enumerate(labels):
        start = left + column * (wide + beside)
        box = (start / WIDTH, foot / whole, wide / WIDTH, 1 - (top + foot) / whole)
        axis = figure.add_axes(box, sharey=axes[0] if axes else None)
        axis.set_xlabel(text)
        axis.tick_params(axis="y", labelleft=column == 0, pad=12)
        axis.grid(visible=False, axis="y")
        axis.spines["left"].set_visible(False)
        axis.xaxis.set_major_locator(MaxNLocator(max(3, int(wide / 0.45))))
        axes.append(axis)
    axes[0].set_ylim(len(names) - 0.45, -0.55)
    axes[0].set_yticks(range(len(names)), shown)
    for place, each in enumerate(names):
        beside_name = axes[0].get_yaxis_transform()
        mark(axes[0], -0.09 / wide, place, each.look, transform=beside_name, clip_on=False)
    if square:
        start = WIDTH - _RIGHT - extra + 0.6
        box = (start / WIDTH, foot / whole, (extra - 0.6) / WIDTH, 1 - (top + foot) / whole)
        axes.append(figure.add_axes(box))
        axes[-1].set_xlabel(square)
    return figure, axes


def mark(axis: Axes, x: float, y: float, look: Look, **settings: Any) -> Line2D:
    """Draw the mark of a method."""
    [line] = axis.plot(
        [x],
        [y],
        linestyle="",
        marker=look.marker,
        fillstyle=look.fill,
        color=look.colour,
        markerfacecoloralt=PAGE,
        **settings,
    )
    if look.fill == "none":
        line.set(fillstyle="full", markerfacecolor=PAGE)
    return line


def spans(axis: Axes, low: Sequence[float], high: Sequence[float], colours: Sequence[str]) -> None:
    """Draw an interval on each line of a list, where there is one."""
    ends = np.array([low, high], dtype=np.float64)
    known = np.isfinite(ends).all(axis=0)
    if known.any():
        places = np.flatnonzero(known)
        axis.hlines(
            places,
            ends[0, known],
            ends[1, known],
            colors=[colours[int(place)] for place in places],
            linewidth=1.3,
        )


def key(figure: Figure, handles: Sequence[Artist]) -> None:
    """Say at the top of a figure what its marks and lines mean."""
    height = figure.get_figheight()
    figure.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=(0.0, 1 - 0.02 / height),
        ncols=len(handles),
        borderpad=0,
        borderaxespad=0.2,
        handlelength=1.8,
        columnspacing=1.4,
    )


def below(figure: Figure, text: str) -> None:
    """Label the axis that all panels share, at the foot of the figure."""
    figure.supxlabel(text, fontsize=8, y=0.04 / figure.get_figheight(), va="bottom")


def aside(figure: Figure, text: str) -> None:
    """Label the axis that all panels share, at the left of the figure."""
    figure.supylabel(text, fontsize=8, x=0.03 / WIDTH, ha="left")
