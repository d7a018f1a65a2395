"""Figures of what methods store of their runs, as they declare it: see `bench.store.diagnostic`.

A kind of drawing is a function that is listed in `_KINDS`; no method is named here.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gapbench.bench.store.diagnostic import Diagnostic
from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.board import Board, identity
from gapbench.reports.figures.heat import heatmap
from gapbench.reports.figures.layout import LINE, WIDTH, below, head, key, marking, panels
from gapbench.reports.figures.measure import all_within, width
from gapbench.reports.figures.theme import INK, PAGE, style

_ROWS = 4
"""Most rows of a leaderboard in one figure: methods that report the same are few."""

_CELL = 0.42  # widest cell in inches
_READABLE = 0.25  # narrowest cell that bears a number
_NUMBER = re.compile(r"(.*?)\.(\d+)\.(.*)")

Stored = list[tuple[Any, dict[int, Mapping[str, Any]]]]
"""Rows of a board, and for each what its runs store, by seed."""
Drawn = tuple[str, Figure, pd.DataFrame]
"""What follows the declared title, the figure, and its data."""


def drawings(board: Board) -> Iterator[tuple[Diagnostic, FigureArtifact]]:
    """Draw what the methods of a board declare, those that declare the same in one figure."""
    declared = dict.fromkeys(
        each for row in board.rows for each in board.results.drawings.get(row.config_hash, ())
    )
    for kind, draw in _KINDS.items():
        for diagnostic in declared:
            if diagnostic.kind == kind and (stored := _stored(board, diagnostic)):
                with style():
                    caption, figure, data = draw(board, diagnostic, stored[:_ROWS])
                name = f"{diagnostic.figure}-{board.stem}"
                title = diagnostic.title + caption
                if len(stored) > _ROWS:
                    title += f" The first {_ROWS} of {len(stored)} rows that report it are drawn."
                yield diagnostic, FigureArtifact(name, title, figure, data)


def _stored(board: Board, diagnostic: Diagnostic) -> Stored:
    """Return the rows whose runs store a diagnostic, with all that these runs store by seed."""
    known = board.results.diagnostics
    found: dict[str, tuple[Any, dict[int, Mapping[str, Any]]]] = {}
    for row in board.rows:
        own: dict[int, Mapping[str, Any]] = {
            seed: known[run]
            for seed, run in row.ok_runs.items()
            if _holds(known.get(run, {}), diagnostic)
        }
        declared = diagnostic in board.results.drawings.get(row.config_hash, ())
        if own and declared:
            found.setdefault(row.config_hash, (row, own))  # two labels may share their runs
    return list(found.values())


def _holds(values: Mapping[str, Any], diagnostic: Diagnostic) -> bool:
    """Whether a run has something to draw: a selection may be empty if its choices are named."""
    stored = values.get(diagnostic.field)
    return stored is not None and bool(stored or values.get(diagnostic.entries))


def _selections(board: Board, diagnostic: Diagnostic, stored: Stored) -> Drawn:
    """Draw which entries each run selected, a line per seed, marks sized by what is stored."""
    data = pd.DataFrame(
        [
            identity(row) | {"seed": seed} | entry
            for row, by_seed in stored
            for seed, values in by_seed.items()
            for entry in _entries(diagnostic, values)
        ]
    )
    sized = diagnostic.sizes and data[diagnostic.sizes].notna().any()
    caption = f", {board.place}: filled are selected, hollow are not."
    caption += f" {diagnostic.caption}" if sized else ""
    return caption, _draw_selections(board, diagnostic, data), data


def _entries(diagnostic: Diagnostic, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a run, whether they were selected, and what sizes their marks."""
    selected, sizes = values[diagnostic.field], values.get(diagnostic.sizes)
    # Early records of version 0.1 do not name the entries that were not selected.
    names = values.get(diagnostic.entries) or (range(len(sizes)) if sizes else selected)
    if not sizes or len(sizes) != len(names):  # whose size is whose is not known
        sizes = [np.nan] * len(names)
    return [
        {diagnostic.noun: str(name), "selected": name in selected, diagnostic.sizes or "size": size}
        for name, size in zip(names, sizes, strict=True)
    ]


def _draw_selections(board: Board, diagnostic: Diagnostic, data: pd.DataFrame) -> Figure:
    noun, sizes = diagnostic.noun, diagnostic.sizes or "size"
    names = sorted(dict.fromkeys(data[noun]), key=lambda name: (not name.isdigit(), len(name)))
    lines: list[Any] = list(data.groupby(["config_hash", "seed"], sort=False))
    by_hash = {row.config_hash: board.named(row) for row in board.rows}
    seeds = [f", seed {run[1]}" for run, _ in lines]
    room = 2.0 - max(width(seed, 7.5) for seed in seeds)
    shown = all_within([by_hash[run[0]].name for run, _ in lines], room, 7.5)
    texts = [name + seed for name, seed in zip(shown, seeds, strict=True)]
    left, foot = 0.15 + max(width(text, 7.5) for text in texts), 0.4
    long = max(width(name, 7) for name in names) > _CELL
    foot += max(width(name, 7) for name in names) if long else 0.0
    height = 0.05 + LINE * len(lines) + foot
    wide = min(WIDTH - left - 0.1, _CELL * len(names))
    figure = Figure(figsize=(WIDTH, height))
    axis = figure.add_axes((left / WIDTH, foot / height, wide / WIDTH, LINE * len(lines) / height))
    largest = data[sizes].abs().max() or 1.0
    for line, (run, cells) in enumerate(lines):
        colour = by_hash[run[0]].look.colour
        for name, selected, found in cells[[noun, "selected", sizes]].itertuples(index=False):
            size = 2.5 + 5.5 * np.sqrt(abs(found) / largest) if np.isfinite(found) else 6.0
            face = colour if selected else PAGE
            axis.plot(names.index(name), line, "s", color=colour, ms=size, mfc=face, mew=0.8)
    axis.grid(visible=False)
    axis.set_xlim(-0.6, len(names) - 0.4)
    axis.set_ylim(len(lines) - 0.4, -0.6)
    axis.set_xticks(range(len(names)), names, rotation=90 if long else 0, fontsize=7)
    axis.set_yticks(range(len(lines)), texts)
    axis.set_xlabel(noun)
    return figure


def _kept(board: Board, diagnostic: Diagnostic, stored: Stored) -> Drawn:
    """Draw a number for each layer, mean over seeds, layers by kind and block."""
    data = pd.concat([_layers(row, diagnostic, own) for row, own in stored], ignore_index=True)
    if data.duplicated(["config_hash", "kind", "block"]).any():  # of an encoder and a decoder
        data["kind"] = [_NUMBER.sub(r"\1 \3", str(layer)) for layer in data["layer"]]
    return f", mean over seeds, {board.place}.", _draw_layers(board, data), data


def _layers(row: Any, diagnostic: Diagnostic, by_seed: Mapping[int, Any]) -> pd.DataFrame:
    """Return a row per layer: its kind, its block ("" if it is in none), and its mean number."""
    numbers = pd.DataFrame([values[diagnostic.field] for values in by_seed.values()])
    found = []
    for name in numbers.columns:
        parts = _NUMBER.fullmatch(str(name))
        block, kind = (parts[2], parts[3]) if parts else ("", str(name))
        own = numbers[name]
        cell = {"layer": name, "kind": kind, "block": block, "seeds": int(own.count())}
        cell |= {"mean": own.mean(), "lowest": own.min(), "highest": own.max()}
        found.append(identity(row) | cell)
    return pd.DataFrame(found)


def _draw_layers(board: Board, data: pd.DataFrame) -> Figure:
    """Draw a heatmap per method, one above the other, with one scale of colours."""
    kinds = [str(kind) for kind in dict.fromkeys(data["kind"])]
    numbers = sorted({str(name) for name in data["block"]}, key=lambda name: (len(name), name))
    names = all_within(kinds, 2.2, 7.5)
    left = 0.15 + max(width(name, 7.5) for name in names)
    cell = min(_CELL, (WIDTH - left - 0.1) / len(numbers))
    each, foot = LINE * len(kinds) + 0.3, 0.4
    groups = list(data.groupby("config_hash", sort=False))
    height = each * len(groups) + foot
    by_hash = {row.config_hash: board.named(row) for row in board.rows}
    figure = Figure(figsize=(WIDTH, height))
    titles = all_within([by_hash[str(config)].name for config, _ in groups], 4.0, 8)
    for place, (_, cells) in enumerate(groups):
        low = height - (place + 1) * each
        box = (left / WIDTH, low / height, cell * len(numbers) / WIDTH, (each - 0.3) / height)
        axis = figure.add_axes(box)
        means = cells.pivot_table("mean", "kind", "block", aggfunc="first", sort=False)
        means = means.reindex(index=kinds, columns=numbers).set_axis(names, axis=0)
        texts = means.map("{:.3g}".format, na_action="ignore") if cell >= _READABLE else None
        heatmap(axis, means, texts, "crest", high=max(1.0, float(data["mean"].max())))
        axis.set_title(titles[place])
        axis.tick_params(axis="x", labelbottom=place == len(groups) - 1, rotation=0)
    figure.axes[-1].set_xlabel("block")
    return figure


def _profiles(board: Board, diagnostic: Diagnostic, stored: Stored) -> Drawn:
    """Draw the numbers of every layer, largest first, mean over seeds."""
    data = pd.concat([_places(row, diagnostic, own) for row, own in stored], ignore_index=True)
    caption = (
        f", {board.place}: thin lines are layers, means over seeds; the thick line is their mean. "
        f"{diagnostic.caption}"
    ).rstrip()
    figure, axes = panels(len(stored), 1.5, heading=0.18)
    for axis, (row, _) in zip(axes, stored, strict=True):
        _draw_profiles(axis, board, row, data[data["config_hash"] == row.config_hash])
    head(axes, [board.named(row).name for row, _ in stored], [""] * len(stored))
    axes[0].set_ylabel(diagnostic.noun)
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
    return caption, figure, data


def _places(row: Any, diagnostic: Diagnostic, by_seed: Mapping[int, Any]) -> pd.DataFrame:
    """Return a row per layer and place: the mean value over the seeds that have it."""
    profiles: dict[str, list[list[float]]] = {}
    for values in by_seed.values():
        for layer, profile in values[diagnostic.field].items():
            profiles.setdefault(layer, []).append(profile)
    frames = []
    for layer, found in profiles.items():
        # Runs may hold unlike counts, as of kept ranks.
        numbers = pd.DataFrame([pd.Series(each, dtype=float) for each in found])
        own = {"layer": layer, "seeds": numbers.count(), "place": range(1, numbers.shape[1] + 1)}
        frames.append(pd.DataFrame(identity(row) | own | {"value": numbers.mean()}))
    return pd.concat(frames)


def _draw_profiles(axis: Axes, board: Board, row: Any, data: pd.DataFrame) -> None:
    look = board.named(row).look
    wide = data.pivot_table("value", "place", "layer", sort=False)
    axis.plot(wide.index, wide.to_numpy(), color=look.colour, linewidth=0.5, alpha=0.5)
    axis.plot(wide.index, wide.mean(axis=1), color=look.colour, linewidth=2)
    full = bool(wide.notna().all(axis=None))
    if full and np.allclose(wide.sum(), 1, rtol=0, atol=1e-5 * len(wide)):  # as a softmax gives
        axis.axhline(1 / len(wide), color=INK, linewidth=0.9, linestyle=":")
    axis.set_ylim(bottom=min(0.0, float(wide.min().min())))


_KINDS = {"selection": _selections, "kept": _kept, "profiles": _profiles}
