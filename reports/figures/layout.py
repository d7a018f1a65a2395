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
from matplotlib.transforms import ScaledTranslation

from gapbench.reports.figures.measure import all_within, width
from gapbench.reports.figures.theme import INK, PAGE

WIDTH = 7.2
ACROSS = 4
KEY = 0.24
_LONGEST_NAME = 2.0
LINE = 0.168


@dataclass(frozen=True)
class MarkerStyle:
    """How a mark looks: its method's colour and marker, primes for variants, hollow if untold."""

    colour: str
    marker: str = "o"
    primes: int = 0
    hollow: bool = False


@dataclass(frozen=True)
class Named:
    """A line of a list: its name, its mark, and the `theme.tip` of both where there is one."""

    name: str
    look: MarkerStyle
    said: str | None = None


def panels(
    n: int,
    height: float,
    *,
    across: int = ACROSS,
    heading: float = 0.34,
    alike: bool = True,
) -> tuple[Figure, list[Axes]]:
    """Lay out panels, in rows of ``across``, that share the upright axis; room is left for a `key`.

    Args:
        n: number of panels, at least 1.
        height: of each.
        across: most panels of a row.
        heading: room above each for its title.
        alike: whether they share the level axis too.
    """
    between = heading + (0.1 if alike else 0.42)
    figure, [axes] = _grid(n, across, (height,), between, KEY + heading + 0.42, alike=alike)
    return figure, axes


def parted_panels(n: int, heights: Sequence[float]) -> tuple[Figure, list[list[Axes]]]:
    """Lay out panels of several parts, one above the other, under the same level axis.

    Args:
        n: number of panels, at least 1.
        heights: of the parts.

    Returns:
        The figure and the axes of each part; those of one part share an upright axis.
    """
    return _grid(n, ACROSS, heights, 0.44, KEY + 0.76)


def _grid(
    n: int,
    across: int,
    heights: Sequence[float],
    between: float,
    around: float,
    *,
    alike: bool = True,
) -> tuple[Figure, list[list[Axes]]]:
    columns = min(across, max(n, 3))  # one or two panels are no wider than three
    rows = -(-n // columns)
    figure = _figure(around + rows * sum(heights) + (rows - 1) * between)
    cells = figure.add_gridspec(rows * len(heights), columns, height_ratios=[*heights] * rows)
    axes: list[list[Axes]] = [[] for _ in heights]
    for place in range(n):
        row, column = divmod(place, columns)
        for part, others in enumerate(axes):
            axis = figure.add_subplot(
                cells[row * len(heights) + part, column],
                sharex=axes[0][0] if alike and axes[0] else None,
                sharey=others[0] if others else None,
            )
            lowest = part == len(heights) - 1 and (not alike or place + columns >= n)
            axis.tick_params(labelbottom=lowest, labelleft=column == 0)
            others.append(axis)
    return figure, axes


def listed(
    names: Sequence[Named], labels: Sequence[str], *, keyed: bool = False
) -> tuple[Figure, list[Axes]]:
    """Lay out a list of names with a column of axes for each measure; the first name stands on top.

    Args:
        names: with the marks that stand beside them.
        labels: of the axes of measures.
        keyed: whether to leave room for a `key`.

    Returns:
        The figure and its axes. Line i has its middle at y = i.
    """
    figure = _figure(0.48 + KEY * keyed + max(LINE * len(names) + 0.1, 0.6))
    shown = all_within([each.name for each in names], _LONGEST_NAME, 7.5)
    room = WIDTH - 0.5 - max(width(name, 7.5) for name in shown)
    wide = room / len(labels) - 0.2
    cells = figure.add_gridspec(1, len(labels))
    axes: list[Axes] = []
    for column, text in enumerate(labels):
        axis = figure.add_subplot(cells[column], sharey=axes[0] if axes else None)
        axis.set_xlabel(text)
        _as_list(axis)
        axis.yaxis.set_visible(column == 0)  # the others show nothing of it, and take long to draw
        axis.xaxis.set_major_locator(MaxNLocator(max(3, int(wide / 0.45))))
        axes.append(axis)
    _put_names(axes[0], names, shown)
    return figure, axes


def list_on(axis: Axes, names: Sequence[Named]) -> None:
    """Make given axes a list of names, whose line i has its middle at y = i."""
    _as_list(axis)
    _put_names(axis, names, [each.name for each in names])


def _as_list(axis: Axes) -> None:
    axis.tick_params(axis="y", pad=12)
    axis.grid(visible=False, axis="y")
    axis.spines["left"].set_visible(False)


def _put_names(axis: Axes, names: Sequence[Named], shown: Sequence[str]) -> None:
    """Put names, and their marks, beside the lines of a list."""
    axis.set_ylim(len(names) - 0.45, -0.55)
    axis.set_yticks(range(len(names)), shown)
    scale = axis.figure.dpi_scale_trans
    left = axis.get_yaxis_transform() + ScaledTranslation(-0.09, 0, scale)
    for place, (each, label) in enumerate(zip(names, axis.get_yticklabels(), strict=True)):
        mark(axis, 0, place, each.look, transform=left, clip_on=False, gid=each.said)
        label.set_gid(each.said)


def mark(axis: Axes, x: float, y: float, look: MarkerStyle, **settings: Any) -> None:
    """Draw the mark of a method; a ``gid`` made by `theme.tip` says what it shows."""
    axis.plot([x], [y], **_mark(look), **settings)
    if look.primes:
        axis.annotate(
            "\N{PRIME}" * look.primes,
            (x, y),
            (2, -1),
            xycoords=settings.get("transform", "data"),
            textcoords="offset points",
            color=look.colour,
            fontsize=8,
            annotation_clip=settings.get("clip_on"),
            gid=settings.get("gid"),
        )


def head(axes: Sequence[Axes], names: Sequence[str], texts: Sequence[str]) -> None:
    """Title panels with names of methods, as far as they fit, and with a line of text below."""
    shown = all_within(names, min(map(panel_width, axes)), 8)
    for axis, name, text in zip(axes, shown, texts, strict=True):
        axis.set_title("\n".join(filter(None, (name, text))))


def panel_width(axis: Axes) -> float:
    """Return about how wide a panel of a figure will be."""
    cell = axis.get_subplotspec()
    return (WIDTH - 0.7) / (cell.get_gridspec().ncols if cell else 1) - 0.14


def _figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), layout="constrained")


def marking(label: str, marker: str, **settings: Any) -> Line2D:
    """Return an entry of a `key`: a mark, or with a ``linestyle`` a line, and what it means."""
    look: dict[str, Any] = {"linestyle": "", "color": INK, "marker": marker}
    return Line2D([], [], label=label, **(look | settings))


def _mark(look: MarkerStyle) -> dict[str, Any]:
    return {
        "linestyle": "",
        "marker": look.marker,
        "color": look.colour,
        "markerfacecolor": PAGE if look.hollow else look.colour,
    }


def estimates(
    axis: Axes,
    means: Sequence[float | None],
    ends: tuple[Sequence[float | None], Sequence[float | None]],
    names: Sequence[Named],
) -> None:
    """Draw on each line of a list a mark and its interval, as far as these are known.

    Args:
        axis: of the list.
        means: places of the marks.
        ends: low ones and high ones of the intervals.
        names: the lines.
    """
    values = np.array([means, *ends], dtype=np.float64).T
    for place, ((mean, low, high), each) in enumerate(zip(values, names, strict=True)):
        if np.isfinite([low, high]).all():
            axis.hlines(place, low, high, colors=each.look.colour, linewidth=1.3)
        if np.isfinite(mean):
            mark(axis, mean, place, each.look)


def key(figure: Figure, handles: Sequence[Artist]) -> None:
    """Say at the top of a figure what its marks and lines mean."""
    figure.legend(
        handles=list(handles),
        loc="outside upper left",
        ncols=len(handles),
        borderpad=0,
        handlelength=1.8,
        columnspacing=1.4,
    )


def below(figure: Figure, text: str) -> None:
    """Label the axis that all panels share, at the foot of the figure."""
    figure.supxlabel(text, fontsize=8)
