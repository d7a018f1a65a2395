"""The figure of calibration: how far probabilities may be believed, before scaling."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.board import Board, identity
from gapbench.reports.figures.layout import (
    ACROSS,
    below,
    head,
    key,
    parted_panels,
)
from gapbench.reports.figures.subset import chosen, left_out
from gapbench.reports.figures.theme import INK, style
from gapbench.reports.results.predicted import Floats, Predicted
from gapbench.reports.stats.reliability import Reliability
from gapbench.reports.tables.terminal import label, number, short

_PANELS = 8
_HEIGHTS = (1.33, 0.33)

Judged = Mapping[str, Predicted]
"""The stored predictions of a board's rows, by config hash, where there are any."""


def reliability_diagrams(board: Board, judged: Judged) -> FigureArtifact | None:
    """Draw accuracy against confidence with counts, one panel per method.

    Returns:
        The figure, None if no row has class probabilities.
    """
    known = board.table[board.table["config_hash"].isin(list(judged)) & board.table["ece"].notna()]
    if known.empty:
        return None
    drawn = board.only(chosen(known, "ece", _PANELS, board.verdict.reference))
    found = {row.config_hash: judged[row.config_hash] for row in drawn.rows}
    bins = {name: each.reliability for name, each in found.items()}
    known_truth = any(each.true_probabilities is not None for each in found.values())
    title = (
        f"Accuracy against confidence on test, {board.place}, a line for each seed, before "
        "temperature scaling; below the diagonal a method is overconfident. Bars count predictions "
        "of all seeds. Above: ECE, the gaps of these bins weighted by their counts, mean over "
        "seeds, before and after scaling."
        + left_out(len(drawn.rows), len(known), "error", board.verdict.reference)
    )
    with style():
        figure, [axes, counts] = parted_panels(len(drawn.rows), _HEIGHTS)
        most = max(int(_counts(each).max()) for each in bins.values())
        for row, axis, count in zip(drawn.rows, axes, counts, strict=True):
            colour = board.named(row).look.colour
            _draw_lines(axis, bins[row.config_hash], colour)
            _draw_counts(count, _counts(bins[row.config_hash]), colour)
        names = [board.named(row).name for row in drawn.rows]
        head(axes, names, [f"ECE {_change(row)}" for row in drawn.rows])
        _scale(axes[0])
        counts[0].set_ylim(0, most)
        counts[0].set_yticks([0, most], ["0", short(most)])
        for place in range(0, len(axes), ACROSS):
            axes[place].set_ylabel("accuracy")
        below(figure, "confidence: probability of the predicted class")
        key(figure, _meanings(known_truth=known_truth))
    data = [_binned(row, bins[row.config_hash]) for row in drawn.rows]
    return FigureArtifact(
        f"reliability-{board.stem}",
        title,
        figure,
        pd.concat(data, ignore_index=True),
        _finding(drawn),
    )


def _finding(board: Board) -> str:
    """Say whose stated confidence is the furthest from the truth, and whose the nearest."""
    table = board.table.sort_values("ece", kind="stable")
    least, most = (
        f"{label(row['method'], row['variant'])} ({number(row['ece'])})"
        for _, row in table.iloc[[0, -1]].iterrows()
    )
    return f"On {board.rows[0].task}, the mean ECE is lowest for {least}, highest for {most}."


def _counts(by_seed: Mapping[int, Reliability]) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.sum([bins.counts for bins in by_seed.values()], axis=0)
    return counts


def draw_reliability(axis: Axes, by_seed: Mapping[int, Reliability], colour: str) -> None:
    """Draw accuracy against confidence of one method on given axes, a line for each seed."""
    _draw_lines(axis, by_seed, colour)
    _scale(axis)
    axis.set_xlabel("confidence: probability of the predicted class")
    axis.set_ylabel("accuracy")


def _draw_lines(axis: Axes, by_seed: Mapping[int, Reliability], colour: str) -> None:
    axis.plot([0, 1], [0, 1], color=INK, linewidth=0.7, linestyle=":")
    for bins in by_seed.values():
        filled = bins.counts > 0
        where = bins.confidence[filled]
        axis.plot(where, bins.accuracy[filled], "o-", color=colour, **_LINE)
        if bins.expected is not None:
            axis.plot(where, bins.expected[filled], **_HOLLOW)


def _draw_counts(axis: Axes, counts: NDArray[np.int64], colour: str) -> None:
    low, high = _edges(len(counts))
    bars: dict[str, Any] = {"width": high - low, "align": "edge", "color": colour, "alpha": 0.6}
    axis.bar(low, counts, **bars)


def _edges(bins: int) -> tuple[Floats, Floats]:
    """Return the ends of each bin."""
    edges = np.arange(bins + 1) / bins
    return edges[:-1], edges[1:]


def _change(row: Any) -> str:
    """Return the error of a row before and after temperature scaling."""
    known = filter(None, (number(row.ece), number(row.ece_calibrated)))
    return " \N{RIGHTWARDS ARROW} ".join(known)


def _scale(axis: Axes) -> None:
    """Set the limits and ticks that all panels share."""
    axis.set_xlim(0, 1.01)
    axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.set_ylim(0, 1.02)
    axis.set_yticks([0, 0.5, 1])


_LINE: dict[str, Any] = {"markersize": 2.5, "linewidth": 0.8}
_HOLLOW: dict[str, Any] = {
    "linestyle": "",
    "marker": "D",
    "color": INK,
    "markersize": 3.5,
    "markerfacecolor": "none",
    "markeredgewidth": 0.7,
}


def _meanings(*, known_truth: bool) -> list[Line2D]:
    right: dict[str, Any] = {"marker": "o", "color": INK, "markersize": 3.5, "linewidth": 1.2}
    handles = [Line2D([], [], label="share that is right", **right)]
    if known_truth:
        handles.append(Line2D([], [], label="true probability of being right", **_HOLLOW))
    return handles


def _binned(row: Any, by_seed: Mapping[int, Reliability]) -> pd.DataFrame:
    frames = []
    for seed, bins in by_seed.items():
        low, high = _edges(len(bins.counts))
        own = {
            "seed": seed,
            "bin_low": low,
            "bin_high": high,
            "count": bins.counts,
            "confidence": bins.confidence,
            "accuracy": bins.accuracy,
            "true_probability": np.nan if bins.expected is None else bins.expected,
        }
        frames.append(pd.DataFrame(identity(row) | own))
    return pd.concat(frames, ignore_index=True)
