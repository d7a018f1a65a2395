"""Cells whose colours say how large a value is, with the value written in them.

Their colours are the same in both themes, and each text is black or white, whichever is better to
read on its cell.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from gapbench.reports.figures.theme import INK, PAGE

Colour = tuple[float, float, float]


def heatmap(
    axis: Axes,
    depth: pd.DataFrame,
    texts: pd.DataFrame | None,
    palette: str,
    *,
    low: float = 0.0,
    high: float = 1.0,
    said: pd.DataFrame | None = None,
) -> Callable[[float], Colour]:
    """Draw cells, the first row on top; where there is no value there is no cell, only its text.

    Args:
        axis: to draw into; ticks are at the middles of cells, and bear names only after `set`.
        depth: values between ``low`` and ``high``, NaN for none.
        texts: what stands in the cells; None for nothing.
        palette: seaborn's name of the colours.
        low: value of the first colour.
        high: value of the last.
        said: the `theme.tip` of each cell.

    Returns:
        The colour of a value.
    """
    import seaborn as sns  # takes a second to load, which few reports have need for

    shades = sns.color_palette(palette, as_cmap=True)

    def colour(value: float) -> Colour:
        red, green, blue, _ = shades((value - low) / (high - low))
        return float(red), float(green), float(blue)

    for (line, column), value in np.ndenumerate(depth.to_numpy(np.float64)):
        gid = None if said is None else said.iloc[line, column]
        ink = INK
        if np.isfinite(value):
            fill = colour(float(value))
            ink = "#ffffff" if luminance(fill) < 0.179 else "#000000"
            cell = Rectangle((column, line), 1, 1, fc=fill, ec=PAGE, lw=0.6, zorder=1, gid=gid)
            axis.add_artist(cell)  # not `add_patch`, which measures each
        text = None if texts is None else texts.iloc[line, column]
        if isinstance(text, str) and text:  # not where nothing was run
            _write(axis, column + 0.5, line + 0.5, text, ink).set(zorder=1, gid=gid)
    # Not seaborn's own cells, which no pointer could tell apart.
    axis.set(xlim=(0, len(depth.columns)), ylim=(len(depth.index), 0), xlabel="", ylabel="")
    axis.spines[:].set_visible(False)
    axis.set_xticks(np.arange(len(depth.columns)) + 0.5, depth.columns)
    axis.set_yticks(np.arange(len(depth.index)) + 0.5, depth.index, va="center")
    axis.grid(visible=False)
    return colour


def luminance(colour: Colour) -> float:
    """Return the relative luminance of red, green and blue in [0, 1], as WCAG 2 defines it.

    Above 0.179 black has the better contrast, below it white; either has 4.5 to 1 then.
    """
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def _write(axis: Axes, x: float, y: float, text: str, ink: str) -> Artist:
    return axis.text(
        x,
        y,
        text,
        ha="center",
        va="center_baseline",
        fontsize=6.5,
        color=ink,
    )
