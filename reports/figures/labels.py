"""Names beside the points of a plot, placed where they cover nothing.

Each point tries places around it, near ones first, and takes the one that overlaps least with the
other points, the intervals and the names that have a place already. What stands further away is
tied to its point by a line, which passes by other points and names where it can.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gapbench.reports.figures.measure import width
from gapbench.reports.figures.theme import INK

Floats = NDArray[np.float64]

SIZE = 7.0
_NEAR = (5.0, 8.0)  # points from the mark to the name
_FAR = (14.0, 22.0, 32.0, 45.0)
_DIRECTIONS = (0, 8, 4, 12, 2, 14, 6, 10, 1, 15, 7, 9, 3, 13, 5, 11)  # sixteenths of a turn
_MARK = 3.0  # half the side of a mark
_OUTSIDE, _NAME, _INTERVAL, _DISTANCE = 20.0, 4.0, 0.5, 0.8
_CROSSED = 100.0  # as much as a name that covers most of a mark
_ALONG = np.linspace(0, 1, 24)  # where a line is looked at


@dataclass(frozen=True)
class Point:
    """A point with a name, in the units of the axes.

    Attributes:
        x: place of the mark.
        y: place of the mark.
        text: the name.
        low: lower end of an interval through the mark, where there is one.
        high: upper end.
    """

    x: float
    y: float
    text: str
    low: float | None = None
    high: float | None = None


def write_names(axis: Axes, points: Sequence[Point]) -> None:
    """Write the name of every point near it.

    Args:
        axis: with its final scales and limits.
        points: the first ones choose first.
    """
    figure = axis.get_figure(root=True)
    if not isinstance(figure, Figure):
        return
    scale = 72 / figure.dpi  # boxes below are in points: left, low, right, high
    window = axis.get_window_extent()
    whole = np.array([window.x0, window.y0, window.x1, window.y1]) * scale
    ends = axis.transData.transform([(point.x, point.y) for point in points]) * scale
    marks = np.hstack([ends - _MARK, ends + _MARK])
    bars = np.array(list(_bars(axis, points))).reshape(-1, 4) * scale
    bars += (-1, -1, 1, 1)
    extents = np.array([(72 * width(point.text, SIZE), SIZE) for point in points]) + 1
    taken = np.empty((0, 4))
    for place, (point, end, extent) in enumerate(zip(points, ends, extents, strict=True)):
        offsets = _offsets((*_NEAR, *_FAR), extent)
        boxes = np.hstack([end + offsets - extent / 2, end + offsets + extent / 2])
        covered = _common(boxes, np.vstack([taken, marks])).sum(axis=1)
        outside = extent.prod() - _common(boxes, whole[None])[:, 0]
        distance = np.hypot(*(offsets / (1 + extent)).T)
        others = np.vstack([taken, np.delete(marks, place, axis=0)])
        tied = np.arange(len(offsets)) >= len(_NEAR) * len(_DIRECTIONS)
        price = (
            _NAME * covered
            + _OUTSIDE * outside
            + _INTERVAL * _common(boxes, bars).sum(axis=1)
            + _DISTANCE * distance
            + _CROSSED * tied * _crossed(end, offsets, others)
        )
        best = int(price.argmin())
        taken = np.vstack([taken, boxes[best]])
        _write(axis, point, offsets[best], tied=bool(tied[best]))


def _write(axis: Axes, point: Point, offset: Floats, *, tied: bool) -> None:
    tie = {"arrowstyle": "-", "color": INK, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
    axis.annotate(
        point.text,
        (point.x, point.y),
        (float(offset[0]), float(offset[1])),
        textcoords="offset points",
        fontsize=SIZE,
        ha="center",
        va="center",
        arrowprops=tie if tied else None,
    )


def _offsets(distances: Sequence[float], extent: Floats) -> Floats:
    """Return where the middle of a name may stand, from its mark; (places, 2), near ones first."""
    turns = np.array(_DIRECTIONS) * np.pi / 8
    ways = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    # A name touches an ellipse around its mark, so that its middle lies half a name beyond.
    return np.concatenate([ways * (distance + extent / 2) for distance in distances])


def _crossed(end: Floats, offsets: Floats, boxes: Floats) -> Floats:
    """Return how many boxes the line from a mark to each place runs through, (places,)."""
    spots = (end + offsets[:, None] * _ALONG[:, None])[:, :, None]  # places, spots, box, x and y
    inside = (boxes[:, :2] < spots) & (spots < boxes[:, 2:])
    found: Floats = np.any(np.all(inside, axis=3), axis=1).sum(axis=1, dtype=np.float64)
    return found


def _bars(axis: Axes, points: Sequence[Point]) -> Iterator[tuple[float, float, float, float]]:
    """Yield the boxes of intervals, in pixels."""
    for point in points:
        if point.low is not None and point.high is not None:
            ends = (point.x, point.low), (point.x, point.high)
            (x0, y0), (x1, y1) = axis.transData.transform(ends)
            yield min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _common(first: Floats, second: Floats) -> Floats:
    """Return the area that each of some boxes shares with each of others, (first, second)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared: Floats = (high - low).clip(min=0).prod(axis=2)
    return shared
