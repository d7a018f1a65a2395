"""How figures look: one colour and marker per method, colours of the page's theme, SVG output.

A figure is drawn in placeholder colours, and `svg` puts CSS variables in their place, so that
inside a page it follows the theme; `light` makes it an ordinary light figure.
The other modules here draw the figures; `layout` arranges them.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib as mpl
import numpy as np
from matplotlib import markers
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D

from gapbench.reports.figures.markup import TIP, compact

INK = "#010203"
RULE = "#010204"
PAGE = "#010205"
UNTRAINED = "#010206"
_FIRST_METHOD = 0x010210

_THEME = {
    "ink": (INK, "#1c2127", "#e4e8ec"),
    "rule": (RULE, "#c9ced6", "#454d57"),
    "page": (PAGE, "#ffffff", "#14171b"),
    "untrained": (UNTRAINED, "#767f8a", "#8f99a5"),
}
# Found by search from eight named hues: each has a contrast of at least 3 to 1 against the page in
# its theme, and any two stay apart for readers with any of the three kinds of colour blindness
# (simulated as Machado et al. 2009 do, measured in Oklab).
_METHODS = (
    ("#0f51cf", "#6e8bff"),  # blue
    ("#b0593f", "#fe9a15"),  # clay, orange
    ("#2b5a08", "#1dd19d"),  # green
    ("#7a2c77", "#b8609e"),  # plum
    ("#989515", "#faf15f"),  # olive, yellow
    ("#173f4d", "#a9ebf1"),  # petrol, ice
    ("#7883ed", "#cba6fc"),  # lilac
    ("#e55ca1", "#ff4a5e"),  # rose
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 8,
    "axes.titlepad": 3,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.06,
    "figure.facecolor": "none",
    "font.size": 8,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "legend.borderaxespad": 0.4,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "gapbench",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "xtick.labelsize": 7.5,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.color": INK,
    "ytick.labelsize": 7.5,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}
_COLOURS = (
    *("color", "facecolor", "edgecolor"),
    *("markerfacecolor", "markerfacecoloralt", "markeredgecolor"),
)
"""Properties of artists that hold a colour."""
_drawn: WeakKeyDictionary[Figure, str] = WeakKeyDictionary()
"""The markup of figures that were drawn before: a page and the files beside it share it."""


def colour(method: str) -> str:
    """Return the placeholder colour of a method, the same in every report."""
    return _placeholder(_place(method) % len(_METHODS))


def marker(method: str) -> str:
    """Return the marker of a method, which tells it from others of its colour."""
    # One further in every round, so that the methods of a round differ in their markers too.
    return _MARKERS[sum(divmod(_place(method), len(_METHODS))) % len(_MARKERS)]


@cache
def corners(marker: str) -> list[list[int]]:
    """Return the corners of a marker in a square from 0 to 100, from left and from above."""
    drawn = markers.MarkerStyle(marker)
    path = drawn.get_path().transformed(drawn.get_transform())
    polygons = path.transformed(Affine2D().scale(100, -100)).to_polygons()
    found = np.asarray(polygons[0], dtype=np.float64)
    rounded: list[list[int]] = np.rint(50 + 50 * found / abs(found).max()).astype(int).tolist()
    return rounded


def outline(marker: str) -> str:
    """Return the corners of a marker as SVG writes them."""
    return ", ".join(f"{x} {y}" for x, y in corners(marker))


def shapes() -> str:
    """Return the CSS variables that cut a square to the shape of each marker."""
    found = [re.sub(r"\d+", r"\g<0>%", outline(each)) for each in _MARKERS]
    return " ".join(f"--marker-{place}: polygon({each});" for place, each in enumerate(found))


def shape(method: str) -> str:
    """Return the CSS value that cuts a square to the shape of a method's marker."""
    return f"var(--marker-{_MARKERS.index(marker(method))})"


def _place(method: str) -> int:
    """Return the place of a method among all looks: where it is listed, or by its name."""
    looks = len(_METHODS) * len(_MARKERS)
    digest = hashlib.sha256(method.encode()).digest()
    return _listed().get(method, int.from_bytes(digest[:4]) % looks)


@cache
def _listed() -> dict[str, int]:
    lines = files("gapbench.methods").joinpath("looks.txt").read_text("utf-8").split("\n")
    names = [line for line in lines if line and not line.startswith("#")]
    return {name: place for place, name in enumerate(names)}


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
    return f"var(--{_names()[colour]})"


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
        figure: drawn inside `style`. The first call keeps its markup and empties it, since it takes
            a hundred times as much memory.
        description: what a screen reader says of it.
    """
    if figure not in _drawn:
        _drawn[figure] = _draw(figure)
        for axis in figure.axes:  # `clear` would fill them anew
            figure.delaxes(axis)
    return _drawn[figure].replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)


def tip(facets: Mapping[str, str], text: str) -> str:
    """Return the `gid` of a mark that says what it shows, and what a reader may filter it by.

    Args:
        facets: as rows of tables have them, such as "method".
        text: shown where the pointer rests.
    """
    return "".join(f"{TIP}{each}" for each in (*(f"{k}={v}" for k, v in facets.items()), text))


def light(markup: str) -> str:
    """Return markup with light colours for the CSS variables that `svg` and `variable` write."""
    values = {name: values[1] for name, values in _THEME.items()}
    values |= {f"method-{place}": pair[0] for place, pair in enumerate(_METHODS)}
    return re.sub(r"var\(--([a-z0-9-]+)\)", lambda found: values.get(found[1], found[0]), markup)


def paint(axis: Axes) -> None:
    """Put the light theme's colours in place of the placeholders on axes, and remove tips."""
    real = {placeholder: light(variable(placeholder)) for placeholder in _names()}
    for artist in axis.findobj():
        if (artist.get_gid() or "").startswith(TIP):
            artist.set_gid(None)
        for name in _COLOURS:
            values = to_rgba_array(getattr(artist, f"get_{name}", lambda: "none")())
            if len(values) and (found := real.get(to_hex(values[0]))):
                getattr(artist, f"set_{name}")(found)


def _draw(figure: Figure) -> str:
    buffer = io.StringIO()
    with style():
        # No date and no creator: equal records give equal files.
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        # Not `savefig`, which draws twice.
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(buffer, metadata=nothing)
    text = compact(buffer.getvalue())
    for placeholder in _names():
        text = text.replace(placeholder, variable(placeholder))
    return text


def _placeholder(place: int) -> str:
    return f"#{_FIRST_METHOD + place:06x}"


def _names() -> dict[str, str]:
    """Return the name of the CSS variable of every placeholder colour."""
    theme = {values[0]: name for name, values in _THEME.items()}
    return theme | {_placeholder(place): f"method-{place}" for place in range(len(_METHODS))}
