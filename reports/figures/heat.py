"""Cells whose colours say how large a value is, with the value written in them.

Their colours are the same in both themes, and each text is black or white, whichever is better to
read on its cell.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gapbench.reports.figures.theme import PAGE

Colour = tuple[float, float, float]


def heatmap(
    axis: Axes,
    depth: pd.DataFrame,
    texts: pd.DataFrame | None,
    palette: str,
    *,
    low: float = 0.0,
    high: float = 1.0,
) -> Callable[[float], Colour]:
    """Draw cells, the first row on top; where there is no value there is no cell.

    Args:
        axis: to draw into; ticks are at the middles of cells, and bear names only after `set`.
        depth: values between ``low`` and ``high``, NaN for none.
        texts: what stands in the cells; None for nothing.
        palette: seaborn's name of the colours.
        low: value of the first colour.
        high: value of the last.

    Returns:
        The colour of a value.
    """
    import seaborn as sns  # takes a second to load, which few reports have need for

    shades = sns.color_palette(palette, as_cmap=True)
    look: dict[str, Any] = {"linewidths": 0.6, "linecolor": PAGE, "cbar": False, "cmap": shades}
    # Not its labels: it measures each in an image of the whole figure.
    bare = {"xticklabels": False, "yticklabels": False}
    sns.heatmap(depth, vmin=low, vmax=high, ax=axis, **bare, **look)
    axis.set_xticks(np.arange(len(depth.columns)) + 0.5, depth.columns)
    axis.set_yticks(np.arange(len(depth.index)) + 0.5, depth.index, va="center")
    axis.grid(visible=False)
    axis.set(xlabel="", ylabel="")

    def colour(value: float) -> Colour:
        red, green, blue, _ = shades((value - low) / (high - low))
        return float(red), float(green), float(blue)

    if texts is not None:
        _write(axis, depth, texts, colour)
    return colour


def luminance(colour: Colour) -> float:
    """Return the relative luminance of red, green and blue in [0, 1], as WCAG 2 defines it.

    Above 0.179 black has the better contrast, below it white; either has 4.5 to 1 then.
    """
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def _write(
    axis: Axes, depth: pd.DataFrame, texts: pd.DataFrame, colour: Callable[[float], Colour]
) -> None:
    depths = depth.to_numpy(np.float64).tolist()
    for (line, column), text in np.ndenumerate(texts.to_numpy(object)):
        value = depths[line][column]
        if np.isfinite(value):
            axis.text(
                column + 0.5,
                line + 0.5,
                str(text),
                ha="center",
                va="center_baseline",
                fontsize=6.5,
                color="#ffffff" if luminance(colour(value)) < 0.179 else "#000000",
            )
