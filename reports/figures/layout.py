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

from gapbench.reports.figures.measure import width, within
from gapbench.reports.figures.theme import INK, PAGE

WIDTH = 7.2
ACROSS = 4
_LEFT, _RIGHT, KEY = 0.55, 0.16, 0.24
_LONGEST_NAME = 2.0
LINE = 0.168


@dataclass(frozen=True)
class MarkerStyle:
    """How a method's mark looks: with its colour and marker, hollow or half filled for variants."""

    colour: str
    marker: str = "o"
    fill: str = "full"


@dataclass(frozen=True)
class Named:
    """A line of a list."""

    name: str
    look: MarkerStyle


def panels(
    n: int,
    height: float,
    *,
    across: int = ACROSS,
    heading: float = 0.34,
    foot: float = 0.42,
    alike: bool = True,
) -> tuple[Figure, list[Axes]]:
    """Lay out panels, in rows of ``across``, that share the upright axis; room is left for a `key`.

    Args:
        n: number of panels, at least 1.
        height: of each.
        across: most panels of a row.
        heading: room above each for its title.
        foot: room below for the labels of the lowest.
        alike: whether they share the level axis too.
    """
    columns = min(across, n)
    rows = -(-n // columns)
    between = heading + (0.1 if alike else 0.42)
    whole = KEY + heading + rows * height + (rows - 1) * between + foot
    beside = 0.14
    wide = min(9.6 / across, (WIDTH - _LEFT - _RIGHT - (columns - 1) * beside) / columns)
    figure = Figure(figsize=(WIDTH, whole))
    axes: list[Axes] = []
    for place in range(n):
        row, column = divmod(place, columns)
        left = _LEFT + column * (wide + beside)
        low = whole - KEY - heading - (row + 1) * height - row * between
        box = (left / WIDTH, low / whole, wide / WIDTH, height / whole)
        first = axes[0] if axes else None
        axis = figure.add_axes(box, sharex=first if alike else None, sharey=first)
        axis.tick_params(labelbottom=not alike or place + columns >= n, labelleft=column == 0)
        axes.append(axis)
    return figure, axes


def split(axes: Sequence[Axes], share: float) -> list[Axes]:
    """Cut a part off the lower end of each panel for axes of their own, under the same level axis.

    Args:
        axes: as `panels` returns them.
        share: of the height, for the lower part.

    Returns:
        The lower axes, which share an upright axis among themselves.
    """
    lower: list[Axes] = []
    for axis in axes:
        figure = axis.get_figure(root=True)
        box = axis.get_position()
        gap = 0.09 / figure.get_figheight() if isinstance(figure, Figure) else 0.0
        cut = share * (box.height - gap)
        axis.set_position((box.x0, box.y0 + cut + gap, box.width, box.height - cut - gap))
        place = (box.x0, box.y0, box.width, cut)
        below = axis.figure.add_axes(place, sharex=axis, sharey=lower[0] if lower else None)
        sides = axis.yaxis.get_tick_params()["labelleft"]
        below.tick_params(labelbottom=axis.xaxis.get_tick_params()["labelbottom"], labelleft=sides)
        axis.tick_params(labelbottom=False)
        lower.append(below)
    return lower


def listed(
    names: Sequence[Named], labels: Sequence[str], *, square: str = "", keyed: bool = False
) -> tuple[Figure, list[Axes]]:
    """Lay out a list of names with a column of axes for each measure; the first name stands on top.

    Args:
        names: with the marks that stand beside them.
        labels: of the axes of measures.
        square: label of one more panel to the right, for a plot of its own; "" for none.
        keyed: whether to leave room for a `key`.

    Returns:
        The figure and its axes, the extra panel last. Line i has its middle at y = i.
    """
    shown = [within(each.name, _LONGEST_NAME, 7.5) for each in names]
    left = 0.3 + max(width(name, 7.5) for name in shown)
    top, foot, beside = 0.06 + KEY * keyed, 0.42, 0.2
    whole = top + foot + max(LINE * len(names) + 0.1, 2.2 if square else 0.6)
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


def mark(axis: Axes, x: float, y: float, look: MarkerStyle, **settings: Any) -> None:
    """Draw the mark of a method."""
    axis.plot([x], [y], **_mark(look), **settings)


def margin(axis: Axes, room: float) -> Axes:
    """Take a strip off the right of a column of a list, for marks over the same lines.

    Args:
        axis: of the column.
        room: width of the strip in inches.
    """
    box, gap = axis.get_position(), 0.06 / WIDTH
    strip = min(room / WIDTH, box.width / 2)
    axis.set_position((box.x0, box.y0, box.width - strip - gap, box.height))
    place = (box.x1 - strip, box.y0, strip, box.height)
    return axis.figure.add_axes(place, sharey=axis)


def beside_names(lines: int) -> tuple[Figure, Axes]:
    """Lay out one panel with room to its right for the names of its lines.

    Args:
        lines: number of names.
    """
    height = max(2.6, 0.7 + 0.17 * lines)
    figure = Figure(figsize=(WIDTH, height))
    box = (0.6 / WIDTH, 0.42 / height, 4.6 / WIDTH, 1 - 0.52 / height)
    return figure, figure.add_axes(box)


def name_lines(axis: Axes) -> None:
    """Write the names of lines beside the panel of `beside_names`."""
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), borderaxespad=0)


def head(axis: Axes, name: str, text: str = "") -> None:
    """Title a panel with a method's name, as far as it fits, and a line of text below it."""
    room = axis.get_position().width * WIDTH
    axis.set_title("\n".join(filter(None, (within(name, room, 8), text))))


def marking(label: str, marker: str, **settings: Any) -> Line2D:
    """Return an entry of a `key`: a mark, or with a ``linestyle`` a line, and what it means."""
    look: dict[str, Any] = {"linestyle": "", "color": INK, "marker": marker}
    return Line2D([], [], label=label, **(look | settings))


def handle(look: MarkerStyle, x: float, y: float) -> Line2D:
    """Return a mark that stands outside of all axes; the place is a fraction of the figure."""
    return Line2D([x], [y], **_mark(look))


def _mark(look: MarkerStyle) -> dict[str, Any]:
    hollow = look.fill == "none"
    return {
        "linestyle": "",
        "marker": look.marker,
        "color": look.colour,
        "fillstyle": "full" if hollow else look.fill,
        "markerfacecolor": PAGE if hollow else look.colour,
        "markerfacecoloralt": PAGE,
    }


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
        bbox_to_anchor=(_LEFT / WIDTH, 1 - 0.02 / height),
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
