"""The figure of scores and losses along training, where overfitting can be seen to set in."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from gapbench.bench.metrics.base import metric_in_words
from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.board import Board, direction, identity
from gapbench.reports.figures.layout import ACROSS, below, head, key, parted_panels
from gapbench.reports.figures.measure import within
from gapbench.reports.figures.subset import chosen, left_out
from gapbench.reports.figures.theme import INK, style
from gapbench.reports.results.rows import CURVE, SPLITS
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import few

Floats = NDArray[np.float64]

_MOST = 8
_LINES: dict[str, Any] = {"train": "--", "validation": ":", "test": "-"}
_WIDTHS = {"train": 1.2, "validation": 1.0, "test": 1.6}
_HEIGHTS = (0.96, 0.85)
_RISE = 0.01
"""Least mean rise of a loss that is worth a word."""
_SEEDS = 3  # fewer of them rise together by chance too often
_JUDGED = ("test", "validation")
_UNLIKE = (
    " Where runs were scored at different steps, values are those at the steps of the shortest "
    "run, read from straight lines between points."
)


def curves(board: Board) -> FigureArtifact | None:
    """Draw score and loss of the three splits along training, a pair of panels per method.

    Lines are means over seeds at one step, as far as all of them trained; bands reach from the
    lowest to the highest seed.

    Returns:
        The figure, None if no run of the board has a curve.
    """
    stored = board.results.curves
    found = [
        place
        for place, row in enumerate(board.rows)
        if any(len(stored.get(run, ())) > 1 for run in row.ok_runs.values())
    ]
    if not found:
        return None
    drawn = board.only(
        chosen(board.table.iloc[found], "generalization_gap", _MOST, board.verdict.reference)
    )
    task = board.results.cells[drawn.rows[0].config_hash].cell.task
    metric = metric_in_words(task.selection)
    better = direction(upward=task.selection_metric.higher_is_better)
    title = (
        f"Along training, {board.place}: {metric} above ({better}), loss below. Lines are "
        "means over seeds, bands reach from the lowest to the highest. Where the test loss "
        f"turns up, a method overfits: clearly, if it and the validation loss both rise by {_RISE} "
        f"in the mean of at least {_SEEDS} seeds, and with each of them. Train and test are "
        "samples here, of about 128 examples at most, so that their levels differ from those of "
        "all; the gap is of all, at the chosen checkpoints."
        + left_out(len(drawn.rows), len(found), "gap", board.verdict.reference)
    )
    if not all(_alike(_stored(drawn, row)) for row in drawn.rows):
        title += _UNLIKE
    said = _finding(board.only(board.table.iloc[found]))
    with style():
        figure, frames = _draw(drawn, metric)
    return FigureArtifact(
        f"curves-{board.stem}", title, figure, pd.concat(frames, ignore_index=True), said
    )


def _finding(board: Board) -> str:
    """Say which methods overfit: with every seed, losses of test and validation end too high.

    Each seed has a lowest point of its own. Of points that differ by chance alone one is the lowest
    as well, so validation has to rise from there too, as much and with every seed, of several.
    """
    rises = {}
    for row in board.rows:
        curves = _curves(board, row)
        test, validation = (curves[:, :, CURVE.index(f"{of}_loss")] for of in _JUDGED)
        known = np.isfinite(test).all(axis=0)
        if known.any():
            lowest = test[:, known].argmin(axis=1)[:, None]
            rises[board.named(row).name] = [
                losses[:, -1:] - np.take_along_axis(losses, lowest, axis=1)
                for losses in (test[:, known], validation[:, known])
            ]
    rose = {
        name: float(test.mean())
        for name, (test, validation) in rises.items()
        if len(test) >= _SEEDS
        and all(each.mean() >= _RISE and each.min() > 0 for each in (test, validation))
    }
    task = board.rows[0].task
    if not rose:
        return (
            f"On {task}, no method clearly overfits: for none do the losses of test and validation "
            "both end clearly above where the test loss was lowest."
        )
    most = max(rose, key=rose.__getitem__)
    return (
        f"On {task}, {len(rose)} of {len(rises)} methods clearly overfit"
        f"{'s' if len(rose) == 1 else ''}: "
        f"{few(list(rose))}. The test loss turns up again with every seed, most for {most}: it "
        f"ends {number(rose[most])} above its lowest point in the mean."
    )


def _draw(board: Board, metric: str) -> tuple[Figure, list[pd.DataFrame]]:
    """Draw a panel per method, parted into score and loss."""
    rows = board.rows
    figure, [upper, lower] = parted_panels(len(rows), _HEIGHTS)
    frames = []
    for row, score, loss in zip(rows, upper, lower, strict=True):
        curves = _curves(board, row)
        for axis, kind in ((score, "score"), (loss, "loss")):
            frames += _draw_splits(axis, curves, kind, identity(row), board.named(row).look.colour)
        _draw_checkpoints(loss, row)
        score.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        for axis, kind in ((score, metric), (loss, "loss")):
            axis.set_gid(board.tip(row, f"{kind} along training"))
            axis.yaxis.set_major_locator(MaxNLocator(4))
    gaps = [f"gap {number(row.generalization_gap)}" for row in rows]
    head(upper, [board.named(row).name for row in rows], gaps)
    for place in range(0, len(rows), ACROSS):
        upper[place].set_ylabel(within(metric, 0.9, 8))
        lower[place].set_ylabel("loss")
    below(figure, "optimiser step")
    key(figure, _meanings())
    return figure, frames


def _meanings() -> list[Line2D]:
    lines = [
        Line2D([], [], color=INK, linestyle=_LINES[name], linewidth=_WIDTHS[name], label=name)
        for name in SPLITS
    ]
    checkpoint = Line2D([], [], color=INK, linestyle="", marker="^", label="chosen checkpoints")
    return [*lines, checkpoint]


def draw_curves(axis: Axes, board: Board, row: Any, of: str) -> bool:
    """Draw the score or the loss of a row on given axes; return whether it has any.

    Args:
        axis: the axes.
        board: the board of the row.
        row: one of its rows.
        of: "score" or "loss".
    """
    if not any(run in board.results.curves for run in row.ok_runs.values()):
        return False
    _draw_splits(axis, _curves(board, row), of, identity(row), board.named(row).look.colour)
    _draw_checkpoints(axis, row)
    task = board.results.cells[row.config_hash].cell.task
    axis.set_xlabel("optimiser step")
    axis.set_ylabel(metric_in_words(task.selection) if of == "score" else "loss")
    axis.legend(handles=_meanings())
    return True


def _draw_checkpoints(axis: Axes, row: Any) -> None:
    """Mark the steps of the chosen checkpoints: triangles that stand on the foot of axes."""
    chosen, size = row.checkpoints, 4
    half = ScaledTranslation(0, (size / 2 + 0.5) / 72, axis.figure.dpi_scale_trans)
    foot = axis.get_xaxis_transform() + half  # or the axis runs through them
    axis.plot(
        chosen, [0.0] * len(chosen), "^", color=INK, markersize=size, transform=foot, clip_on=False
    )


def _curves(board: Board, row: Any) -> Floats:
    """Return the curves of a row's seeds as far as all of them go, (seeds, points, columns).

    Of runs that were scored at unlike steps, as those of folds of unlike sizes are, values are
    those at the steps of the shortest run.
    """
    found = _stored(board, row)
    if _alike(found):
        length = min(map(len, found))
        return np.stack([curve[:length] for curve in found])
    shortest = min(found, key=lambda curve: float(curve[-1, 0]))
    values = np.stack([_at(curve, shortest[:, 0]) for curve in found])
    return np.where(np.isfinite(shortest), values, np.nan)


def _stored(board: Board, row: Any) -> list[Floats]:
    """Return the curves of a row's seeds."""
    stored = board.results.curves
    return [stored[run] for run in row.ok_runs.values() if run in stored]


def _alike(found: list[Floats]) -> bool:
    """Return whether curves were scored at the same steps, as far as all of them go."""
    length = min(map(len, found), default=0)
    return all(np.array_equal(curve[:length, 0], found[0][:length, 0]) for curve in found)


def _at(curve: Floats, steps: Floats) -> Floats:
    """Return a curve at given steps, on straight lines between its points, and NaN beyond them."""
    columns = [steps]
    for values in curve[:, 1:].T:
        known = np.isfinite(values) if np.isfinite(values).any() else np.ones(len(values), bool)
        own = curve[known, 0], values[known]
        columns.append(np.interp(steps, *own, left=np.nan, right=np.nan))
    return np.stack(columns, axis=1)


def _draw_splits(
    axis: Axes, curves: Floats, kind: str, identity: dict[str, str], colour: str
) -> list[pd.DataFrame]:
    """Draw score or loss of every split that has it, and return what is drawn.

    Train and test are drawn at the points where all seeds have them.
    """
    frames = []
    for name in SPLITS:
        values = curves[:, :, CURVE.index(f"{name}_{kind}")]
        known = np.isfinite(values).all(axis=0)
        if not known.any():
            continue
        steps, values = curves[0, known, 0], values[:, known]
        mean, low, high = values.mean(0), values.min(0), values.max(0)
        axis.fill_between(steps, low, high, color=colour, alpha=0.16, linewidth=0)
        axis.plot(steps, mean, _LINES[name], color=colour, linewidth=_WIDTHS[name])
        drawn = {"split": name, "of": kind, "step": steps.astype(int), "mean": mean}
        frames.append(pd.DataFrame(identity | drawn | {"lowest": low, "highest": high}))
    return frames
