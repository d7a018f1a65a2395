"""Figures across tasks: every method on every task at one glance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.block import REFERENCE, Block, identity, untrained
from gapbench.reports.figures.heat import heatmap
from gapbench.reports.figures.layout import KEY, LINE, WIDTH, key
from gapbench.reports.figures.measure import all_within, width, within
from gapbench.reports.figures.theme import RULE, style
from gapbench.reports.tables.terminal import label, short

_NUMBERED = 16
"""Up to so many columns, cells bear their numbers."""

_MOST = 45
_LONGEST = 2.0


@dataclass(frozen=True)
class Overview:
    """What a map of methods and tasks shows.

    Attributes:
        name: of its figure.
        title: states it.
        value: of a row; NaN or None where there is none.
        palette: seaborn's name of the colours from the lowest value to the highest.
        meanings: of colours, by depth: a value over the largest one.
        by_metric: whether values of different metrics have scales of their own.
    """

    name: str
    title: str
    value: Callable[[Block, Any], float | None]
    palette: str
    meanings: dict[float, str]
    by_metric: bool = True


def _difference(block: Block, row: Any) -> float | None:
    """Return how much better a row scores than the reference, on common seeds."""
    reference = block.reference
    seeds = sorted(row.by_seed.keys() & reference.by_seed.keys()) if reference else []
    if not seeds or row.config_hash == reference.config_hash:
        return None
    mean = float(np.mean([row.by_seed[seed] - reference.by_seed[seed] for seed in seeds]))
    return mean if block.upward else -mean


_DEPTH = " Depth of colour is relative to the largest value of the same metric."
SCORES = Overview(
    "score-map",
    f"Test score minus the score of {REFERENCE}, mean over common seeds, sign flipped where lower "
    "is better: above zero is better." + _DEPTH,
    _difference,
    "vlag_r",
    {1.0: "better", 0.0: f"as {REFERENCE}", -1.0: "worse"},
)
GAPS = Overview(
    "gap-map",
    "Generalization gap: train minus test score, sign flipped where lower is better, mean over "
    "seeds; above zero, scores are better on seen examples." + _DEPTH,
    lambda _, row: row.generalization_gap,
    "vlag",
    {1.0: "better on train", 0.0: "no gap", -1.0: "better on test"},
)
ERRORS = Overview(
    "error-map",
    "Expected calibration error on test before temperature scaling, mean over seeds; lower is "
    "better.",
    lambda _, row: row.ece,
    "crest",
    {0.0: "no error", 1.0: "largest error"},
    by_metric=False,
)


def overview(what: Overview, blocks: Sequence[Block]) -> FigureArtifact | None:
    """Draw one value of every method on every task, as cells whose colours say how large it is.

    Methods are sorted by the mean depth of their colours, tasks stand in report order.

    Args:
        what: the value.
        blocks: of the report.

    Returns:
        The figure, None with fewer than two tasks or two methods.
    """
    data = _data(what, blocks)
    if data.empty or data["place"].nunique() < 2 or data["name"].nunique() < 2:
        return None
    means = data.groupby("name", sort=False)["depth"].mean()
    order = [str(name) for name in means.sort_values(ascending=False, kind="stable").index]
    title = what.title
    if len(order) > _MOST:
        title += f" {_MOST} of {len(order)} rows are drawn, those at both ends; the CSV has all."
        order = order[: _MOST // 2] + order[_MOST // 2 - _MOST :]
    columns = [str(place) for place in dict.fromkeys(data["place"])]
    # Records in no suite have no variants to tell them apart; the best one stands for them.
    depth, values = (
        data.pivot_table(part, "name", "place", aggfunc="first").loc[order, columns]
        for part in ("depth", "value")
    )
    with style():
        figure = _draw(what, depth, values)
    return FigureArtifact(what.name, title, figure, data)


def _data(what: Overview, blocks: Sequence[Block]) -> pd.DataFrame:
    """Return a row for each cell with a value, and its depth of colour, at most 1 in size."""
    found = []
    for block, place in zip(blocks, _places(blocks), strict=True):
        for row in block.rows:
            value = what.value(block, row)
            if value is None or pd.isna(value):
                continue
            name = label(row.method, row.variant)
            cell = {
                "name": name,
                "place": place,
                "metric": block.metric,
                "trained": not untrained(row),
            }
            found.append(identity(row) | cell | {"value": float(value)})
    data = pd.DataFrame(found)
    if data.empty:
        return data
    # Baselines that train nothing may be far off, and would leave all others pale.
    size = data["value"].abs().where(data.pop("trained"))
    largest = size.groupby(data["metric"]).transform("max") if what.by_metric else size.max()
    return data.assign(depth=(data["value"] / largest).fillna(0.0).clip(-1, 1))


def _places(blocks: Sequence[Block]) -> list[str]:
    """Return what tells the blocks apart, as short as it can be."""
    firsts = [block.rows[0] for block in blocks]
    fields = ["task"]
    for name in ("backbone", "start", "suite", "setting"):
        if len({tuple(getattr(f, field) for field in fields) for f in firsts}) == len(firsts):
            break
        if len({getattr(first, name) for first in firsts}) > 1:
            fields.append(name)
    return [", ".join(filter(None, (getattr(f, name) for name in fields))) for f in firsts]


def _draw(what: Overview, depth: pd.DataFrame, values: pd.DataFrame) -> Figure:
    """Draw the cells; the tables have a row per method and a column per task."""
    numbered = len(depth.columns) <= _NUMBERED
    rows = all_within([str(name) for name in depth.index], _LONGEST, 7.5)
    columns = [within(str(place), 1.2 if numbered else _LONGEST, 7) for place in depth.columns]
    turn = 30 if numbered else 90
    left = 0.15 + max(width(name, 7.5) for name in rows)
    foot = 0.2 + np.sin(np.radians(turn)) * max(width(place, 7) for place in columns)
    height = KEY + 0.06 + LINE * len(rows) + foot
    wide = min(WIDTH - left - 0.1, 1.1 * len(columns))
    figure = Figure(figsize=(WIDTH, height))
    box = (left / WIDTH, foot / height, wide / WIDTH, LINE * len(rows) / height)
    axis = figure.add_axes(box)
    texts = values.map(_short) if numbered else None
    colour = heatmap(
        axis,
        depth.set_axis(rows, axis=0),
        texts,
        what.palette,
        low=min(what.meanings),
    )
    anchor: dict[str, Any] = {"ha": "right", "rotation_mode": "anchor"} if numbered else {}
    axis.set_xticks(axis.get_xticks(), columns, rotation=turn, fontsize=7, **anchor)

    handles = [
        Patch(facecolor=colour(at), edgecolor=RULE, linewidth=0.5, label=text)
        for at, text in what.meanings.items()
    ]
    key(figure, handles)
    return figure


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else short(value)
