"""The figure of what methods drop: where, in which pattern, and at what rate, as they were set."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.block import Block, identity
from gapbench.reports.figures.heat import heatmap
from gapbench.reports.figures.layout import LINE, WIDTH
from gapbench.reports.figures.measure import width, within
from gapbench.reports.figures.theme import style
from gapbench.reports.tables.terminal import label

_POSITIONS = {
    "logit": "attention\nbefore softmax",
    "weight": "attention\nafter softmax",
    "ffn": "feed-forward\noutput",
    "embedding": "word\nembeddings",
    "head": "input of\nthe head",
    "update": "input of\nthe update",
    "rows": "rows and columns\nof the update",
}
_MOST = 30


def dropped(blocks: Sequence[Block]) -> FigureArtifact | None:
    """Draw the rates of every method that drops, from the settings of the first task it ran on.

    Returns:
        The picture, None if no method drops anything.
    """
    cells: dict[str, list[dict[str, Any]]] = {}
    for block in blocks:
        for row in block.rows:
            record = block.results.cells.get(row.config_hash)
            name = label(row.method, row.variant)
            if record is not None and name not in cells:
                found = _positions(record.cell.config)
                cells[name] = [identity(row) | {"name": name} | position for position in found]
    names = [name for name, found in cells.items() if found][:_MOST]
    if not names:
        return None
    data = pd.DataFrame([cell for name in names for cell in cells[name]])
    title = (
        "What methods drop in training: share and pattern at each position, as set for the first "
        "task that each ran on. Element: single entries; column: one token or key for all features "
        "or queries; span: neighbouring tokens or keys; empty: nothing."
    )
    with style():
        figure = _draw(names, data)
    return FigureArtifact("dropping", title, figure, data)


def _positions(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return where a method drops by its settings: position, rate and pattern."""
    rates = {name: config.get(f"{name}_rate") for name in ("logit", "weight", "embedding", "head")}
    if "ffn_rate" in config:
        tied = config["ffn_rate"] is None
        rates["ffn"] = config.get("logit_rate") if tied else config["ffn_rate"]
    rates |= {"update": config.get("dropout"), "rows": config.get("rate")}
    patterns = {name: config.get(f"{name}_pattern", "") for name in rates}
    patterns |= {"head": "element", "update": "element", "rows": "row, column"}
    return [
        {"position": name, "rate": float(rate), "pattern": patterns[name]}
        for name, rate in rates.items()
        if isinstance(rate, int | float) and rate > 0
    ]


def _draw(names: list[str], data: pd.DataFrame) -> Figure:
    shown = [within(name, 2.0, 7.5) for name in names]
    used = [name for name in _POSITIONS if name in set(data["position"])]
    rates = data.pivot_table("rate", "name", "position", aggfunc="first")
    texts = data.assign(text=[f"{rate:.3g} {pattern}" for rate, pattern in _pairs(data)])
    written = texts.pivot_table("text", "name", "position", aggfunc="first")
    left, foot = 0.15 + max(width(name, 7.5) for name in shown), 0.4
    wide = min(1.0, (WIDTH - left - 0.1) / len(used))
    height = 0.05 + LINE * len(names) + foot
    figure = Figure(figsize=(WIDTH, height))
    box = (left / WIDTH, foot / height, wide * len(used) / WIDTH, LINE * len(names) / height)
    axis = figure.add_axes(box)
    depth = rates.reindex(index=names, columns=used).set_axis(shown, axis=0)
    heatmap(axis, depth, written.reindex(index=names, columns=used), "crest")
    axis.set_xticks(axis.get_xticks(), [_POSITIONS[name] for name in used], rotation=0, fontsize=7)
    return figure


def _pairs(data: pd.DataFrame) -> list[tuple[float, str]]:
    return list(zip(data["rate"], data["pattern"], strict=True))
