"""Names beside the points of a plot, placed where they cover nothing.

Each point tries places around it, near ones first, and takes the one that overlaps least with the
points, the intervals, the other names and their lines. What stands further away is tied to its
point by a line, which passes by other points, names and lines where it can. All choose in turn, and
then again, now that they know where the others stand.
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
_FAR = (14.0, 22.0, 32.0, 45.0, 60.0)
_DIRECTIONS = (0, 8, 4, 12, 2, 14, 6, 10, 1, 15, 7, 9, 3, 13, 5, 11)  # sixteenths of a turn
_UNTIED = len(_NEAR) * len(_DIRECTIONS)  # places so near that no line is needed
_MARK = 3.0  # half the side of a mark
_OUTSIDE, _NAME, _INTERVAL, _DISTANCE = 20.0, 4.0, 1.0, 3.0
_CROSSED = 100.0  # as much as a name that covers most of a mark
_HIDDEN = 100.0  # for a line along the interval through its mark
_MISTAKEN = 100.0  # for a name without a line that another mark is nearer to
_TURNS = 4  # how often each chooses


@dataclass(frozen=True)
class Point:
    """A point with a name, in the units of the axes.

    Attributes:
        x: place of the mark.
        y: place of the mark.
        text: the name, "" for a mark that bears none and is only in the way.
        low: lower end of an interval through the mark, where there is one.
        high: upper end.
        said: `theme.tip` of the mark, None if it has none.
        colour: of the mark, which the line to a name has too.
    """

    x: float
    y: float
    text: str
    low: float | None = None
    high: float | None = None
    said: str | None = None
    colour: str = INK


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
    bars = np.array(list(_bars(axis, points))).reshape(-1, 4) * scale
    around = _Around(
        whole=np.array([window.x0, window.y0, window.x1, window.y1]) * scale,
        ends=axis.transData.transform([(point.x, point.y) for point in points]) * scale,
        bars=bars + np.array([-1, -1, 1, 1]),
    )
    extents = np.array([(72 * width(point.text, SIZE), SIZE) for point in points]) + 1
    tries = [_offsets((*_NEAR, *_FAR), extent) for extent in extents]
    found: dict[int, int] = {}
    named = [place for place, point in enumerate(points) if point.text]
    for place in named * _TURNS:
        others = [other for other in found if other != place]
        offsets = np.array([tries[other][found[other]] for other in others]).reshape(-1, 2)
        tied = np.array([found[other] >= _UNTIED for other in others], dtype=bool)
        stand = _Others(around.ends[others], offsets, extents[others], tied)
        found[place] = int(around.price(place, tries[place], extents[place], stand).argmin())
    for place in named:
        _write(axis, points[place], tries[place][found[place]], tied=found[place] >= _UNTIED)


@dataclass(frozen=True)
class _Others:
    """The other names as they stand: their marks, their middles from there, and their sizes."""

    ends: Floats
    offsets: Floats
    extents: Floats
    tied: NDArray[np.bool_]

    @property
    def boxes(self) -> Floats:
        middles = self.ends + self.offsets
        return np.hstack([middles - self.extents / 2, middles + self.extents / 2])


@dataclass(frozen=True)
class _Around:
    """What stands where it is: the window, the marks and the intervals, in points."""

    whole: Floats
    ends: Floats
    bars: Floats

    def price(self, place: int, offsets: Floats, extent: Floats, others: _Others) -> Floats:
        """Return how bad each place for a name is, (places,)."""
        end = self.ends[place]
        boxes = np.hstack([end + offsets - extent / 2, end + offsets + extent / 2])
        marks = np.hstack([self.ends - _MARK, self.ends + _MARK])
        outside = extent.prod() - _common(boxes, self.whole[None])[:, 0]
        tied = np.arange(len(offsets)) >= _UNTIED
        apart = abs(self.ends - end).max(axis=1) > 2 * _MARK  # a line cannot pass by what is here
        in_way = np.vstack([others.boxes, marks[apart]])
        lines = others.ends[others.tied], others.offsets[others.tied]
        own = np.broadcast_to(end, offsets.shape), offsets
        through = _crossed(*own, in_way).sum(axis=1) + _meet(*own, *lines).sum(axis=1)
        struck = _crossed(*lines, boxes).sum(axis=0)
        price: Floats = (
            _NAME * _common(boxes, np.vstack([others.boxes, marks])).sum(axis=1)
            + _OUTSIDE * outside
            + _INTERVAL * _common(boxes, self.bars).sum(axis=1)
            + _DISTANCE * np.hypot(*(offsets / (1 + extent)).T)
            + _CROSSED * (tied * through + struck)
            + _HIDDEN * (tied & (abs(offsets[:, 0]) < 1))
            + _MISTAKEN * (~tied & _nearer(boxes, end, self.ends[apart]))
        )
        return price


def _write(axis: Axes, point: Point, offset: Floats, *, tied: bool) -> None:
    look = {"arrowstyle": "-", "color": point.colour, "linewidth": 0.6, "gid": point.said}
    axis.annotate(
        point.text,
        (point.x, point.y),
        (float(offset[0]), float(offset[1])),
        textcoords="offset points",
        fontsize=SIZE,
        ha="center",
        va="center",
        arrowprops=look | {"shrinkA": 0, "shrinkB": 2} if tied else None,
        gid=point.said,
    )


def _offsets(distances: Sequence[float], extent: Floats) -> Floats:
    """Return where the middle of a name may stand, from its mark; (places, 2), near ones first."""
    turns = np.array(_DIRECTIONS) * np.pi / 8
    ways = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    # A name touches an ellipse around its mark, so that its middle lies half a name beyond.
    return np.concatenate([ways * (distance + extent / 2) for distance in distances])


def _nearer(boxes: Floats, end: Floats, others: Floats) -> NDArray[np.bool_]:
    """Return which boxes are nearer to another mark than to their own, (boxes,)."""
    spots = np.vstack([end[None], others])
    beyond = np.maximum(boxes[:, None, :2] - spots, spots - boxes[:, None, 2:]).clip(min=0)
    far = np.hypot(beyond[..., 0], beyond[..., 1])
    found: NDArray[np.bool_] = (far[:, 1:] < far[:, :1] + 1).any(axis=1)
    return found


def _crossed(starts: Floats, ways: Floats, boxes: Floats) -> NDArray[np.bool_]:
    """Return which lines run through which boxes, (lines, boxes)."""
    with np.errstate(divide="ignore", invalid="ignore"):  # lines along an axis
        edges = (boxes.reshape(1, -1, 2, 2) - starts[:, None, None]) / ways[:, None, None]
    into = np.fmin(edges[:, :, 0], edges[:, :, 1])  # line, box, x and y: parts of the way
    out = np.fmax(edges[:, :, 0], edges[:, :, 1])
    first = np.fmax(np.fmax(into[..., 0], into[..., 1]), 0)
    found: NDArray[np.bool_] = first < np.fmin(np.fmin(out[..., 0], out[..., 1]), 1)
    return found


def _meet(starts: Floats, ways: Floats, others: Floats, theirs: Floats) -> NDArray[np.bool_]:
    """Return which lines cross which others, (lines, others)."""
    between = others[None] - starts[:, None]
    across = _cross(ways[:, None], theirs[None])
    across = np.where(across == 0, np.inf, across)  # those side by side never meet
    own, other = _cross(between, theirs[None]) / across, _cross(between, ways[:, None]) / across
    found: NDArray[np.bool_] = (own > 0) & (own < 1) & (other > 0) & (other < 1)
    return found


def _cross(first: Floats, second: Floats) -> Floats:
    found: Floats = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
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
