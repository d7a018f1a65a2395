"""Figures of overfitting and calibration; each says in its title what it shows.

Colours and layout are the work of `reports.figures.canvas`, numbers that of `reports.stats`.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from reports.figures.canvas import INK, PANELS_ACROSS, panels_under, style
from reports.leaderboard import rows
from reports.load import CURVE, Results
from reports.stats.reliability import Reliability, reliability
from reports.text import fitted, label, number, short

Floats = NDArray[np.float64]

_TRAIN, _TEST = CURVE.index("train_score"), CURVE.index("test_score")


def gap_curves(results: Results, block: pd.DataFrame, colours: dict[str, str]) -> Figure | None:
    """Draw along training what picks the checkpoint, on train and test, one panel per method.

    Lines are means over seeds, as far as all of them trained; bands reach from the lowest to the
    highest seed. Dotted lines mark the checkpoints that were chosen.

    Args:
        results: where the curves are.
        block: rows of `summarise` that share task and setting.
        colours: of each method.

    Returns:
        The figure, None if no run of the block has a curve.
    """
    panels = []
    for row in rows(block):
        hashes: list[str] = list(row.ok_runs.values())
        curves = [results.curves[name] for name in hashes if name in results.curves]
        if any(len(curve) > 1 for curve in curves):
            panels.append((row, curves))
    if not panels:
        return None
    first = panels[0][0]
    metric = results.cells[first.config_hash].cell.task.selection
    title = (
        f"Train (dashed) and test (solid) {metric} along training: {first.task}, "
        f"{first.backbone}. Band: lowest to highest seed. Dotted: chosen checkpoints."
    )
    with style():
        figure, axes = panels_under(title, len(panels), 1.55)
        for axis, (row, curves) in zip(axes, panels, strict=True):
            _draw_curves(axis, curves, colours[row.method])
            for step in row.checkpoints:
                axis.axvline(step, color=INK, linewidth=0.6, linestyle=":")
            _name(axis, row, f"gap {number(row.generalization_gap)}")
            axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        figure.supxlabel("optimiser step", fontsize=8.5, y=0.06 / figure.get_figheight())
        figure.supylabel(f"{metric} (mean over seeds)", fontsize=8.5, x=0.004)
    return figure


def reliability_diagrams(
    results: Results, block: pd.DataFrame, colours: dict[str, str]
) -> Figure | None:
    """Draw accuracy against confidence with counts, one panel per method, seeds pooled.

    Arguments are those of `gap_curves`.

    Returns:
        The figure, None if the block has no calibration or no stored predictions.
    """
    calibrated = block[block["ece"].notna()]
    panels: list[tuple[Any, Reliability]] = []
    for row in rows(calibrated):
        bins = _binned(results, str(row.config_hash), list(row.ok_runs))
        if bins is not None:
            panels.append((row, bins))
    if not panels:
        return None
    first = panels[0][0]
    known = any(bins.expected is not None for _, bins in panels)
    title = (
        f"Accuracy against confidence before temperature scaling: {first.task}, {first.backbone}. "
        "Below the diagonal: overconfident. All seeds pooled; bars count test predictions."
        + (" Hollow: the true probability of being right." if known else "")
    )
    with style():
        figure, axes = panels_under(title, len(panels), 2.0)
        most = max(int(bins.counts.max()) for _, bins in panels)
        for place, (axis, (row, bins)) in enumerate(zip(axes, panels, strict=True)):
            counts = _strip_below(axis, most, labelled=place % PANELS_ACROSS == 0)
            _draw_reliability(axis, counts, bins, colours[row.method])
            _name(
                axis,
                row,
                f"ECE {number(row.ece)} \N{RIGHTWARDS ARROW} {number(row.ece_calibrated)}",
            )
        figure.supxlabel(
            "confidence (probability of the predicted class)",
            fontsize=8.5,
            y=0.06 / figure.get_figheight(),
        )
        figure.supylabel("accuracy, and predictions in the bin", fontsize=8.5, x=0.004)
    return figure


def _draw_curves(axis: Axes, curves: Sequence[Floats], colour: str) -> None:
    length = min(len(curve) for curve in curves)
    stacked = np.stack([curve[:length] for curve in curves])
    steps = stacked[0, :, 0]
    for column, line in ((_TRAIN, "--"), (_TEST, "-")):
        scores = stacked[:, :, column]
        axis.fill_between(steps, scores.min(0), scores.max(0), color=colour, alpha=0.2, linewidth=0)
        axis.plot(steps, scores.mean(0), line, color=colour, linewidth=1.6)


def _binned(results: Results, config_hash: str, seeds: Sequence[int]) -> Reliability | None:
    """Pool the finite test predictions of a cell's seeds into bins."""
    stored = [results.predictions(config_hash, seed) for seed in seeds]
    frames = [frame for frame in stored if frame is not None]
    if not frames:
        return None
    frame = pd.concat(frames)
    logits = _numbered(frame, "logit_")
    finite = np.isfinite(logits).all(axis=1)
    if logits.shape[1] < 2 or not finite.any():
        return None
    truth = _numbered(frame, "true_probability_")[finite]
    labels = frame["label"].to_numpy()[finite]
    return reliability(logits[finite], labels, truth if truth.shape[1] else None)


def _numbered(frame: pd.DataFrame, prefix: str) -> Floats:
    """Return the columns ``prefix0``, ``prefix1``, ... in this order, `(n, columns)`."""
    width = sum(name.startswith(prefix) for name in frame.columns)
    return frame[[f"{prefix}{place}" for place in range(width)]].to_numpy(np.float64)


def _draw_reliability(axis: Axes, below: Axes, bins: Reliability, colour: str) -> None:
    filled = bins.counts > 0
    axis.plot([0, 1], [0, 1], color=INK, linewidth=0.7, linestyle=":")
    axis.plot(
        bins.confidence[filled],
        bins.accuracy[filled],
        "o-",
        color=colour,
        markersize=3.5,
        linewidth=1.2,
    )
    if bins.expected is not None:
        axis.plot(
            bins.confidence[filled],
            bins.expected[filled],
            "D",
            color=INK,
            markersize=4,
            markerfacecolor="none",
            markeredgewidth=0.7,
        )
    edges = np.linspace(0, 1, len(bins.counts) + 1)
    below.bar(edges[:-1], bins.counts, width=np.diff(edges), align="edge", color=colour, alpha=0.6)
    axis.set_ylim(0, 1.02)
    axis.set_yticks([0, 0.5, 1])


def _strip_below(axis: Axes, most: int, *, labelled: bool) -> Axes:
    """Cut a strip for counts up to ``most`` off the lower end of a panel."""
    box = axis.get_position()
    strip = 0.2 * box.height
    axis.set_position((box.x0, box.y0 + 1.4 * strip, box.width, box.height - 1.4 * strip))
    axis.tick_params(labelbottom=False)
    figure = cast("Figure", axis.get_figure())
    below: Axes = figure.add_axes((box.x0, box.y0, box.width, strip))
    for each in (axis, below):
        each.set_xlim(0, 1.01)
        each.set_xticks([0, 0.25, 0.5, 0.75, 1])
    below.set_xticklabels(["0", "", "0.5", "", "1"])
    below.set_ylim(0, most)
    below.set_yticks([0, most], ["0", short(most)] if labelled else ["", ""])
    return below


def _name(axis: Axes, row: Any, value: str) -> None:
    """Title a panel with its method and, below, a value."""
    name = fitted(label(row.method, row.variant), 30)
    axis.set_title(f"{name}\n{value}", fontsize=8.5, pad=3)
