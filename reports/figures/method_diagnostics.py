"""Figures of what methods report of themselves: chosen blocks, kept ranks, values, what is dropped.

Each shows what the notes of records hold; `reports.tables.diagnostics` has the same in words.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.block import Block, identity
from gapbench.reports.figures.heat import heatmap
from gapbench.reports.figures.layout import LINE, WIDTH, below, head, key, marking, panels
from gapbench.reports.figures.measure import width, within
from gapbench.reports.figures.theme import INK, PAGE, style

_ROWS = 4
"""Most rows of a leaderboard in one figure: methods that report the same are few."""

_CELL = 0.42  # widest cell in inches
_READABLE = 0.25  # narrowest cell that bears a number
_NUMBER = re.compile(r"(.*?)\.(\d+)\.(.*)")


def chosen_blocks(block: Block) -> FigureArtifact | None:
    """Draw which blocks each run trains, a line per seed.

    The size of a mark follows what the search found, where it searched.

    Returns:
        The picture, None if no method chooses blocks.
    """
    noted = _noted(block, "selected_blocks")
    if not noted:
        return None
    data = pd.DataFrame(
        [
            identity(row) | {"seed": seed} | cell
            for row, notes in noted
            for seed, note in notes.items()
            for cell in _choices(note)
        ]
    )
    searched = data["alpha_hat"].notna().any()
    title = f"Blocks that each run trains, {block.place}: filled are selected, hollow are not."
    if searched:
        title += " The larger a mark, the further the search moved alpha_hat from 0."
    with style():
        figure = _draw_choices(block, data)
    return FigureArtifact(f"blocks-{block.stem}", title, figure, data)


def _noted(block: Block, name: str) -> list[tuple[Any, dict[int, dict[str, Any]]]]:
    """Return the rows whose runs have a note, with all notes of these runs by seed."""
    notes = block.results.notes
    found = [
        (row, {seed: notes[run] for seed, run in row.ok_runs.items() if name in notes.get(run, {})})
        for row in block.rows
    ]
    # Two labels may share their runs.
    own = {row.config_hash: (row, noted) for row, noted in reversed(found) if noted}
    return list(reversed(own.values()))[:_ROWS]


def _choices(note: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the blocks of a run, whether they were selected, and what the search found."""
    selected, found = note["selected_blocks"], note.get("alpha_hat")
    # Records of earlier versions do not name the blocks that were not selected.
    names = note.get("blocks") or (range(len(found)) if found else selected)
    found = found or [np.nan] * len(names)
    return [
        {"block": str(name), "selected": name in selected, "alpha_hat": value}
        for name, value in zip(names, found, strict=True)
    ]


def _draw_choices(block: Block, data: pd.DataFrame) -> Figure:
    names = sorted(dict.fromkeys(data["block"]), key=lambda name: (not name.isdigit(), len(name)))
    lines: list[Any] = list(data.groupby(["config_hash", "seed"], sort=False))
    by_hash = {row.config_hash: block.named(row) for row in block.rows}
    texts = [f"{by_hash[run[0]].name}, seed {run[1]}" for run, _ in lines]
    texts = [within(text, 2.0, 7.5) for text in texts]
    left, foot = 0.15 + max(width(text, 7.5) for text in texts), 0.4
    long = max(width(name, 7) for name in names) > _CELL
    foot += max(width(name, 7) for name in names) if long else 0.0
    height = 0.05 + LINE * len(lines) + foot
    wide = min(WIDTH - left - 0.1, _CELL * len(names))
    figure = Figure(figsize=(WIDTH, height))
    axis = figure.add_axes((left / WIDTH, foot / height, wide / WIDTH, LINE * len(lines) / height))
    largest = data["alpha_hat"].abs().max()
    for line, (run, cells) in enumerate(lines):
        colour = by_hash[run[0]].look.colour
        for name, selected, found in cells[["block", "selected", "alpha_hat"]].itertuples(
            index=False
        ):
            size = 2.5 + 5.5 * np.sqrt(abs(found) / largest) if np.isfinite(found) else 6.0
            face = colour if selected else PAGE
            axis.plot(names.index(name), line, "s", color=colour, ms=size, mfc=face, mew=0.8)
    axis.grid(visible=False)
    axis.set_xlim(-0.6, len(names) - 0.4)
    axis.set_ylim(len(lines) - 0.4, -0.6)
    axis.set_xticks(range(len(names)), names, rotation=90 if long else 0, fontsize=7)
    axis.set_yticks(range(len(lines)), texts)
    axis.set_xlabel("block")
    return figure


def kept_ranks(block: Block) -> FigureArtifact | None:
    """Draw the rank that each layer keeps, mean over seeds, layers by kind and block.

    Returns:
        The picture, None if no method shares a budget of ranks between layers.
    """
    noted = _noted(block, "kept_ranks")
    if not noted:
        return None
    data = pd.concat([_ranks(row, notes) for row, notes in noted], ignore_index=True)
    title = f"Rank that each layer keeps after training, mean over seeds, {block.place}."
    with style():
        figure = _draw_ranks(block, data)
    return FigureArtifact(f"kept-ranks-{block.stem}", title, figure, data)


def _ranks(row: Any, notes: Mapping[int, Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row per layer: its kind, its block ("" if it is in none), and its mean rank."""
    ranks = pd.DataFrame([note["kept_ranks"] for note in notes.values()])
    found = []
    for name in ranks.columns:
        parts = _NUMBER.fullmatch(str(name))
        block, kind = (parts[2], parts[3]) if parts else ("", str(name))
        values = {"mean": ranks[name].mean(), "lowest": ranks[name].min()}
        cell = {"layer": name, "kind": kind, "block": block, "seeds": int(ranks[name].count())}
        found.append(identity(row) | cell | values | {"highest": ranks[name].max()})
    return pd.DataFrame(found)


def _draw_ranks(block: Block, data: pd.DataFrame) -> Figure:
    """Draw a heatmap per method, one above the other, with one scale of colours."""
    kinds = [str(kind) for kind in dict.fromkeys(data["kind"])]
    numbers = sorted({str(name) for name in data["block"]}, key=lambda name: (len(name), name))
    names = [within(kind, 2.2, 7.5) for kind in kinds]
    left = 0.15 + max(width(name, 7.5) for name in names)
    cell = min(_CELL, (WIDTH - left - 0.1) / len(numbers))
    each, foot = LINE * len(kinds) + 0.3, 0.4
    groups = list(data.groupby("config_hash", sort=False))
    height = each * len(groups) + foot
    by_hash = {row.config_hash: block.named(row) for row in block.rows}
    figure = Figure(figsize=(WIDTH, height))
    for place, (config, cells) in enumerate(groups):
        low = height - (place + 1) * each
        box = (left / WIDTH, low / height, cell * len(numbers) / WIDTH, (each - 0.3) / height)
        axis = figure.add_axes(box)
        means = cells.pivot_table("mean", "kind", "block", aggfunc="first", sort=False)
        means = means.reindex(index=kinds, columns=numbers).set_axis(names, axis=0)
        texts = means.map(lambda value: f"{value:.3g}") if cell >= _READABLE else None
        heatmap(axis, means, texts, "crest", high=max(1.0, float(data["mean"].max())))
        axis.set_title(within(by_hash[str(config)].name, 4.0, 8))
        axis.tick_params(axis="x", labelbottom=place == len(groups) - 1, rotation=0)
    figure.axes[-1].set_xlabel("block")
    return figure


def value_profiles(block: Block) -> FigureArtifact | None:
    """Draw the pseudo singular values of every layer, largest first, mean over seeds.

    Returns:
        The picture, None if no method has such values.
    """
    noted = _noted(block, "pseudo_singular_values")
    if not noted:
        return None
    data = pd.concat([_values(row, notes) for row, notes in noted], ignore_index=True)
    title = (
        f"Pseudo singular values of every layer, largest first, {block.place}: thin lines are "
        "layers, means over seeds; the thick line is their mean. Dotted: equal values of sum 1, "
        "from which a softmax starts. The steeper a line, the fewer directions its update uses."
    )
    with style():
        figure, axes = panels(len(noted), 1.5, heading=0.18)
        for axis, (row, _) in zip(axes, noted, strict=True):
            _draw_values(axis, block, row, data[data["config_hash"] == row.config_hash])
        axes[0].set_ylabel("value")
        axes[0].xaxis.set_major_locator(MaxNLocator(6, integer=True))
        below(figure, "place in the layer")
        key(
            figure,
            [
                marking("layer", "", linestyle="-", linewidth=0.6, alpha=0.6),
                marking("mean of layers", "", linestyle="-", linewidth=2),
                marking("equal values", "", linestyle=":", linewidth=0.9),
            ],
        )
    return FigureArtifact(f"values-{block.stem}", title, figure, data)


def _values(row: Any, notes: Mapping[int, Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row per layer and place: the mean value over seeds."""
    profiles: dict[str, list[list[float]]] = {}
    for note in notes.values():
        for layer, values in note["pseudo_singular_values"].items():
            profiles.setdefault(layer, []).append(values)
    frames = []
    for layer, found in profiles.items():
        mean = np.mean(found, axis=0)
        own = {"layer": layer, "seeds": len(found), "place": range(1, len(mean) + 1)}
        frames.append(pd.DataFrame(identity(row) | own | {"value": mean}))
    return pd.concat(frames)


def _draw_values(axis: Axes, block: Block, row: Any, data: pd.DataFrame) -> None:
    look = block.named(row).look
    wide = data.pivot_table("value", "place", "layer", sort=False)
    axis.plot(wide.index, wide.to_numpy(), color=look.colour, linewidth=0.5, alpha=0.5)
    axis.plot(wide.index, wide.mean(axis=1), color=look.colour, linewidth=2)
    config = block.results.cells[row.config_hash].cell.config
    if config.get("values") == "softmax":
        axis.axhline(1 / len(wide), color=INK, linewidth=0.9, linestyle=":")
    head(axis, block.named(row).name)
    axis.set_ylim(bottom=min(0.0, float(wide.min().min())))
