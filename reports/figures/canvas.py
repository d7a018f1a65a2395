"""How figures look: one colour per method, colours that follow the page's theme, SVG output.

A figure is drawn in placeholder colours, and `svg` puts a CSS variable with a light fallback in
their place: inside the page it follows the theme, and on its own it is an ordinary light figure.
What figures show is the work of the other modules here.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#010203"
RULE = "#010204"
PANELS_ACROSS = 4
_PANEL_WIDTH = 2.45
_FIRST_METHOD = 0x010210

_THEME = {
    "ink": (INK, "#1c2127", "#e4e8ec"),
    "rule": (RULE, "#c9ced6", "#454d57"),
}
# Okabe and Ito's colours, which stay apart for colour-blind readers, shifted until each has a
# contrast of at least 3 to 1 against the page in its theme.
_METHODS = (
    ("#0072b2", "#4ba6e8"),
    ("#d55e00", "#ff8a3d"),
    ("#008060", "#2fc795"),
    ("#b8528c", "#e795c3"),
    ("#9a6b00", "#f0c145"),
    ("#3c8fc4", "#9bdcff"),
    ("#6a4aa3", "#b49cf0"),
    ("#5f6771", "#a9b2bd"),
)

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.facecolor": "none",
    "font.size": 8.5,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "gapbench",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}

_drawn: WeakKeyDictionary[Figure, str] = WeakKeyDictionary()
"""Markup of figures: each is drawn once for the page, the PDF and its own files."""


def colours(methods: Iterable[str]) -> dict[str, str]:
    """Give each method its colour; after eight they repeat, so names always stand beside them."""
    distinct = dict.fromkeys(methods)
    return {name: _placeholder(place % len(_METHODS)) for place, name in enumerate(distinct)}


def css(theme: str) -> str:
    """Return the CSS variables of a theme.

    Args:
        theme: "light" or "dark".
    """
    column = {"light": 0, "dark": 1}[theme]
    pairs = {name: values[1:] for name, values in _THEME.items()}
    pairs |= {f"method-{place}": pair for place, pair in enumerate(_METHODS)}
    return " ".join(f"--{name}: {pair[column]};" for name, pair in pairs.items())


def variable(colour: str) -> str:
    """Return the CSS value of a placeholder colour."""
    return _variables()[colour]


@contextmanager
def style() -> Iterator[None]:
    """Apply the look to what is drawn inside, and leave matplotlib's own settings as they were."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The browser picks a font that has the glyph; here it is only measured.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def svg(figure: Figure, description: str) -> str:
    """Return a figure as one SVG element that may stand inside a page, many times over.

    Args:
        figure: drawn inside `style`; not changed any more after the first call.
        description: what a screen reader says in its place.
    """
    if figure not in _drawn:
        _drawn[figure] = _draw(figure)
    return _drawn[figure].replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)


def light(markup: str) -> str:
    """Return markup with light colours for the CSS variables that `svg` and `variable` write."""
    return re.sub(r"var\(--[a-z0-9-]+, (#[0-9a-f]{6})\)", r"\1", markup)


def _draw(figure: Figure) -> str:
    buffer = io.StringIO()
    with style():
        # No date and no creator: equal records give equal files.
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    for placeholder, value in _variables().items():
        text = text.replace(placeholder, value)
    return text


def panels_under(title: str, n: int, panel_height: float) -> tuple[Figure, list[Axes]]:
    """Lay out panels with shared axes under a title.

    Args:
        title: of the whole figure; wrapped to its width.
        n: number of panels, at least 1.
        panel_height: height of each in inches.
    """
    columns = min(PANELS_ACROSS, n)
    rows = -(-n // columns)
    width = max(2, columns) * _PANEL_WIDTH + 0.67
    lines = len(_wrapped(title, width))
    top, bottom, between = 0.42 + 0.17 * lines, 0.55, 0.62
    height = top + bottom + rows * panel_height + (rows - 1) * between
    figure = Figure(figsize=(width, height))
    title_over(figure, title, width, height)
    grid = figure.subplots(
        rows,
        columns,
        sharex=True,
        sharey=True,
        squeeze=False,
        gridspec_kw={
            "left": 0.72 / width,
            "right": 1 - 0.1 / width,
            "top": 1 - top / height,
            "bottom": bottom / height,
            "hspace": between / panel_height,
            "wspace": 0.13,
        },
    )
    axes = list(grid.flat)
    for place, axis in enumerate(axes):
        if place >= n:
            axis.remove()
        elif place + columns >= n:
            axis.tick_params(labelbottom=True)
    return figure, axes[:n]


def title_over(figure: Figure, title: str, width: float, height: float) -> None:
    """Write a title at the top of a figure of ``width`` x ``height`` inches."""
    text = "\n".join(_wrapped(title, width))
    figure.text(0.06 / width, 1 - 0.06 / height, text, va="top", fontsize=9.5, weight="bold")


def _wrapped(title: str, width: float) -> list[str]:
    return textwrap.wrap(title, int(width * 12)) or [""]


def _placeholder(place: int) -> str:
    return f"#{_FIRST_METHOD + place:06x}"


def _variables() -> dict[str, str]:
    theme = {values[0]: f"var(--{name}, {values[1]})" for name, values in _THEME.items()}
    methods = {
        _placeholder(place): f"var(--method-{place}, {light})"
        for place, (light, _) in enumerate(_METHODS)
    }
    return theme | methods
