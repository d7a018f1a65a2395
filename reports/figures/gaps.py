"""Figures of the generalization gap: its width, and whether narrow gaps come with good scores."""

import pandas as pd
from matplotlib.axes import Axes

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.block import Block, identity
from gapbench.reports.figures.layout import estimates, listed, mark
from gapbench.reports.figures.subset import chosen, left_out
from gapbench.reports.figures.theme import INK, style

_MOST = 40


def gaps(block: Block) -> FigureArtifact | None:
    """Draw each method's gap with its interval, and its score against its gap.

    Returns:
        The figure, None if no gap is known.
    """
    known = block.table[block.table["generalization_gap"].notna()]
    if known.empty:
        return None
    drawn = block.only(
        chosen(known, "generalization_gap", _MOST).sort_values("generalization_gap", kind="stable")
    )
    title = (
        f"Generalization gap of each method, {block.place}: train minus test {block.metric}"
        f"{'' if block.upward else ', sign flipped'}, mean with 95 % interval over seeds; "
        f"above zero, scores are better on seen examples. Right: test {block.metric} "
        f"({block.better}) against the gap; up is better, left overfits less."
        + left_out(len(drawn.rows), len(known), "gap")
    )
    with style():
        names = [block.named(row) for row in drawn.rows]
        gap = f"gap, {block.metric}"
        figure, [left, right] = listed(names, [gap], beside=2.15, least=2.2)
        left.axvline(0, color=INK, linewidth=0.8)
        means, low, high = (
            [getattr(row, name) for row in drawn.rows]
            for name in ("generalization_gap", "gap_ci_low", "gap_ci_high")
        )
        estimates(left, means, (low, high), names)
        right.set_xlabel(gap)
        _draw_scores(right, drawn)
    fields = ("n_seeds", "generalization_gap", "gap_ci_low", "gap_ci_high", "score")
    data = pd.DataFrame(
        [identity(row) | {name: getattr(row, name) for name in fields} for row in drawn.rows]
    )
    return FigureArtifact(f"gaps-{block.stem}", title, figure, data)


def _draw_scores(axis: Axes, block: Block) -> None:
    axis.axvline(0, color=INK, linewidth=0.8)
    for row in block.rows:
        mark(axis, row.generalization_gap, row.score, block.named(row).look)
    axis.set_ylabel(f"test {block.metric}")
    if not block.upward:
        axis.invert_yaxis()
