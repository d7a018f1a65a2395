"""The figure of what methods drop: where, in which pattern, and at what rate, as they were set."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.block import Block, identity
from gapbench.reports.figures.heat import heatmap
from gapbench.reports.figures.layout import LINE, WIDTH
from gapbench.reports.figures.measure import all_within, width
from gapbench.reports.figures.theme import style
from gapbench.reports.tables.terminal import label

_MOST = 30


def dropped(blocks: Sequence[Block]) -> FigureArtifact | None:
    """Draw the rates of every method that drops, from the settings of the first task it ran on.

    Returns:
        The figure, None if no method drops anything.
    """
    cells: dict[str, list[dict[str, Any]]] = {}
    labels: dict[str, str] = {}
    for block in blocks:
        for row in block.rows:
            name = label(row.method, row.variant)
            if name not in cells and row.config_hash in block.results.cells:
                drops = block.results.drops.get(row.config_hash, ())
                cells[name] = [identity(row) | {"name": name} | dict(drop) for drop in drops]
                labels |= {drop.position: drop.label for drop in drops}
    names = [name for name, found in cells.items() if found][:_MOST]
    if not names:
        return None
    data = pd.DataFrame([cell for name in names for cell in cells[name]]).drop(columns="label")
    title = (
        "What methods drop in training: share and pattern at each position, as set for the first "
        "task that each ran on. Element: single entries; column: one token or key for all features "
        "or queries; span: neighbouring tokens or keys; empty: nothing."
    )
    with style():
        figure = _draw(names, data, labels)
    return FigureArtifact("dropping", title, figure, data)


def _draw(names: list[str], data: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    shown = all_within(names, 2.0, 7.5)
    used = [name for name in labels if name in set(data["position"])]
    rates = data.pivot_table("rate", "name", "position", aggfunc="first")
    texts = [f"{rate:.3g} {kind}" for rate, kind in zip(data["rate"], data["pattern"], strict=True)]
    written = data.assign(text=texts).pivot_table("text", "name", "position", aggfunc="first")
    left, foot = 0.15 + max(width(name, 7.5) for name in shown), 0.4
    wide = min(1.0, (WIDTH - left - 0.1) / len(used))
    height = 0.05 + LINE * len(names) + foot
    figure = Figure(figsize=(WIDTH, height))
    box = (left / WIDTH, foot / height, wide * len(used) / WIDTH, LINE * len(names) / height)
    axis = figure.add_axes(box)
    depth = rates.reindex(index=names, columns=used).set_axis(shown, axis=0)
    heatmap(axis, depth, written.reindex(index=names, columns=used), "crest")
    axis.set_xticks(
        axis.get_xticks(), [_two_lines(labels[name]) for name in used], rotation=0, fontsize=7
    )
    return figure


def _two_lines(text: str) -> str:
    """Break a label at the blank that is nearest to its middle."""
    blanks = [place for place, letter in enumerate(text) if letter == " "]
    middle = min(blanks, key=lambda place: abs(place - len(text) / 2), default=len(text))
    return f"{text[:middle]}\n{text[middle + 1 :]}".rstrip()
