"""Figures of cost: what a run took on which machine. Rows of different machines share no axis."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.figures.canvas import style, title_over
from reports.leaderboard import rows
from reports.text import fitted, label, short

_MEASURES = (
    ("tokens_per_second", "tokens per second", 1),
    ("train_seconds", "training seconds per run", 1),
    ("peak_memory_bytes", "peak memory, MiB", 2**20),
)
"""Column, what its axis says, and how much of the column is one of its unit."""


def throughput(table: pd.DataFrame, colours: dict[str, str]) -> Figure | None:
    """Draw tokens per second, training seconds and peak memory of one machine, a row per task.

    Args:
        table: rows of `summarise` that ran on one and the same machine.
        colours: of each method.

    Returns:
        The figure, None if nothing was measured.
    """
    table = table[table[[name for name, _, _ in _MEASURES]].notna().any(axis=1)]
    if table.empty:
        return None
    blocks = [block for _, block in table.groupby(["suite", "task", "backbone"], sort=False)]
    heights = [0.2 * len(block) + 0.8 for block in blocks]
    title = f"Throughput and cost on {table['machine'].iloc[0]}: mean over seeds."
    with style():
        height = sum(heights) + 0.3
        figure = Figure(figsize=(10.2, height))
        title_over(figure, title, 10.2, height)
        top = height - 0.3
        for block, room in zip(blocks, heights, strict=True):
            place = ((top - room + 0.45) / height, (room - 0.75) / height)
            _draw_bars(figure, block, colours, place)
            top -= room
    return figure


def _draw_bars(
    figure: Figure,
    block: pd.DataFrame,
    colours: dict[str, str],
    room: tuple[float, float],
) -> None:
    """Draw one task's measures side by side; ``room`` is bottom and height in the figure."""
    shown = [fitted(label(row.method, row.variant), 22) for row in rows(block)]
    places = np.arange(len(block))
    for column, (field, unit, one) in enumerate(_MEASURES):
        axis = figure.add_axes((0.16 + column * 0.285, room[0], 0.245, room[1]))
        values = [float(value) / one if pd.notna(value) else 0.0 for value in block[field]]
        axis.barh(places, values, color=[colours[name] for name in block["method"]], height=0.7)
        for place, value in zip(places, block[field], strict=True):
            text = short(float(value) / one) if pd.notna(value) else "not measured"
            axis.annotate(
                text,
                (values[place], place),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
            )
        axis.set_yticks(places, shown if column == 0 else [""] * len(shown))
        axis.set_ylim(len(block) - 0.4, -0.6)
        axis.set_xlim(0, max(values) * 1.25 or 1)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.grid(visible=False, axis="y")
        axis.set_xlabel(unit)
    first = block.iloc[0]
    figure.axes[-len(_MEASURES)].set_title(f"{first['task']}, {first['backbone']}", x=-0.6)
