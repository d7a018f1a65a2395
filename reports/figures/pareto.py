"""The figure of quality against cost: for each cost, what no other method beats in both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.block import REFERENCE, Block, identity, untrained
from gapbench.reports.figures.labels import SIZE, Point, write_names
from gapbench.reports.figures.layout import WIDTH, handle, head, key, mark, panels
from gapbench.reports.figures.measure import within
from gapbench.reports.figures.theme import INK, style
from gapbench.reports.tables.terminal import short

_NAMED = 8
"""Up to so many methods bear their names, more bear numbers."""

_SPAN = 4.0  # a cost that spans more than this factor is drawn by orders of magnitude
_HEIGHT = 1.75
_COLUMNS = 4
_LINE = 0.155


@dataclass(frozen=True)
class Measure:
    """A cost: its column, what its axis says, how much of the column is one of its unit."""

    column: str
    label: str
    one: float
    by_machine: bool


COSTS = (
    Measure("train_seconds", "training seconds", 1, by_machine=True),
    Measure("peak_memory_bytes", "peak memory, MiB", 2**20, by_machine=True),
    Measure("trainable_params", "trainable parameters", 1, by_machine=False),
    Measure("train_flops", "training FLOPs", 1, by_machine=False),
)


@dataclass(frozen=True)
class Offer:
    """What a method asks and gives in one panel.

    Attributes:
        row: its leaderboard row.
        number: its place in the leaderboard.
        cost: mean over seeds, in the unit of the axis.
        low: of the cheapest seed.
        high: of the dearest.
    """

    row: Any
    number: int
    cost: float
    low: float
    high: float


def front(costs: Sequence[float], scores: Sequence[float], *, upward: bool) -> list[int]:
    """Return the places of what nothing else beats, cheapest first.

    One beats another if it is at least as good in both, and better in one.

    Args:
        costs: less is better.
        scores: of the same things.
        upward: whether a higher score is better.
    """
    worth = np.array(scores, dtype=np.float64) * (1 if upward else -1)
    order = sorted(range(len(costs)), key=lambda place: (costs[place], -worth[place]))
    found: list[int] = []
    for place in order:
        level = found and costs[found[-1]] == costs[place] and worth[found[-1]] == worth[place]
        if not found or worth[place] > worth[found[-1]] or level:
            found.append(place)
    return found


def pareto(block: Block) -> FigureArtifact | None:
    """Draw test score against each cost, with the front of every panel.

    Seconds and memory of different machines stand in panels of their own. Baselines that train
    nothing are left out.

    Returns:
        The figure, None if no scored run has a cost.
    """
    drawn = _panels(block)
    if not drawn:
        return None
    rows = {offer.number: offer.row for _, _, offers in drawn for offer in offers}
    numbered = len(rows) > _NAMED
    title = (
        f"Test {block.metric} ({block.better}) against cost (less is better), {block.place}. "
        "Stepped line: the methods that no other one beats in both, by their means. Upright bars: "
        "95 % intervals. Level bars: cheapest to dearest seed."
        + (" Numbers, where there is room for them, are those of the list." if numbered else "")
    )
    lines = -(-len(rows) // _COLUMNS) if numbered else 0
    records: list[dict[str, Any]] = []
    with style():
        foot = 0.42 + (0.1 + _LINE * lines if numbered else 0)
        figure, axes = panels(len(drawn), _HEIGHT, across=2, heading=0.16, foot=foot, alike=False)
        for place, (axis, (measure, machine, offers)) in enumerate(zip(axes, drawn, strict=True)):
            records += _draw(axis, block, measure, machine, offers)
            if place % 2 == 0:
                axis.set_ylabel(f"test {block.metric}")
        if not block.upward:
            axes[0].invert_yaxis()
        key(figure, [Line2D([], [], color=INK, linewidth=0.9, label="front")])
        if numbered:
            _name(figure, block, rows)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # names are placed around what stands where it is
        for axis, (_, _, offers) in zip(axes, drawn, strict=True):
            _name_points(axis, block, offers, numbered=numbered)
    return FigureArtifact(f"cost-{block.stem}", title, figure, pd.DataFrame(records))


def _panels(block: Block) -> list[tuple[Measure, str, list[Offer]]]:
    """Return cost, machine ("" if it does not matter) and methods of each panel."""
    found = []
    for measure in COSTS:
        offers: dict[str, list[Offer]] = {}
        for number, row in enumerate(block.rows, 1):
            cost = getattr(row, measure.column)
            if pd.isna(row.score) or pd.isna(cost) or cost <= 0 or untrained(row):
                continue
            seeds = block.runs[measure.column].reindex(list(row.ok_runs.values())).dropna()
            ends = [float(end) / measure.one for end in (cost, seeds.min(), seeds.max())]
            machine = row.machine if measure.by_machine else ""
            offers.setdefault(machine, []).append(Offer(row, number, *ends))
        found += [(measure, machine, offers[machine]) for machine in sorted(offers)]
    return found


def _draw(
    axis: Axes, block: Block, measure: Measure, machine: str, offers: list[Offer]
) -> list[dict[str, Any]]:
    """Draw one panel, and return the data of what is in it."""
    costs = [offer.cost for offer in offers]
    best = front(costs, [offer.row.score for offer in offers], upward=block.upward)
    _scale(axis, [end for offer in offers for end in (offer.low, offer.high)])
    axis.set_xlabel(measure.label)
    if machine:
        head(axis, machine)
    for offer in offers:
        look = block.named(offer.row).look
        ends = (offer.row.score_ci_low, offer.row.score_ci_high)
        bar: dict[str, Any] = {"color": look.colour, "linewidth": 0.9, "alpha": 0.75, "zorder": 1.5}
        if pd.notna(ends[0]):
            axis.plot([offer.cost, offer.cost], ends, **bar)
        if offer.high > offer.low:
            axis.plot([offer.low, offer.high], [offer.row.score] * 2, **bar)
        mark(axis, offer.cost, offer.row.score, look)
    steps = _steps(axis, [offers[place] for place in best])
    axis.plot(*zip(*steps, strict=True), color=INK, linewidth=0.9, zorder=1.2)
    return [
        identity(offer.row)
        | {
            "number": offer.number,
            "cost_of": measure.label,
            "machine": machine,
            "cost": offer.cost,
            "cost_low": offer.low,
            "cost_high": offer.high,
            "score": offer.row.score,
            "score_ci_low": offer.row.score_ci_low,
            "score_ci_high": offer.row.score_ci_high,
            "on_front": place in best,
        }
        for place, offer in enumerate(offers)
    ]


def _steps(axis: Axes, best: list[Offer]) -> list[tuple[float, float]]:
    """Return the corners of the front: the best score that each cost buys, on to the right."""
    corners = [(best[0].cost, best[0].row.score)]
    for offer in best[1:]:
        corners += [(offer.cost, corners[-1][1]), (offer.cost, offer.row.score)]
    return [*corners, (axis.get_xlim()[1], corners[-1][1])]


def _name_points(axis: Axes, block: Block, offers: list[Offer], *, numbered: bool) -> None:
    """Write names or numbers; those of the front and of the reference get their places first."""
    scores = [offer.row.score for offer in offers]
    best = front([offer.cost for offer in offers], scores, upward=block.upward)
    first = [*best, *(n for n, offer in enumerate(offers) if offer.row.method == REFERENCE)]
    order = dict.fromkeys([*first, *range(len(offers))])
    points = []
    for offer in (offers[place] for place in order):
        name = str(offer.number) if numbered else within(block.named(offer.row).name, 1.4, SIZE)
        ends = (offer.row.score_ci_low, offer.row.score_ci_high)
        low, high = ends if pd.notna(ends[0]) else (None, None)
        points.append(Point(offer.cost, offer.row.score, name, low, high))
    steps = _steps(axis, [offers[place] for place in best])
    write_names(axis, points, steps, sparing=numbered)


def _scale(axis: Axes, costs: Sequence[float]) -> None:
    """Choose scale, limits and ticks of the axis of costs."""
    low, high = min(costs), max(costs)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    if high > _SPAN * low:
        axis.set_xscale("log")
        axis.set_xlim(low / (high / low) ** 0.1, high * (high / low) ** 0.1)
        subs = (1.0,) if high > 1e3 * low else (1.0, 2.0, 5.0) if high < 50 * low else (1.0, 3.0)
        axis.xaxis.set_major_locator(LogLocator(subs=subs, numticks=7))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axis.xaxis.set_minor_formatter(NullFormatter())
    elif high <= 1.01 * low:
        axis.set_xlim(0.5 * low, 1.5 * high)
        axis.xaxis.set_major_locator(FixedLocator([low]))
    else:
        room = 0.12 * (high - low)
        axis.set_xlim(low - room, high + room)
        axis.xaxis.set_major_locator(MaxNLocator(5))


def _name(figure: Figure, block: Block, rows: dict[int, Any]) -> None:
    """List what the numbers stand for, at the foot of the figure, column by column."""
    room = WIDTH / _COLUMNS - 0.4
    names = {number: block.named(rows[number]) for number in sorted(rows)}
    figure.legend(
        handles=[
            handle(each.look, f"{number}  {within(each.name, room, 7.5)}")
            for number, each in names.items()
        ],
        loc="outside lower left",
        ncols=_COLUMNS,
        borderpad=0,
        handlelength=0.8,
        handletextpad=0.4,
    )
