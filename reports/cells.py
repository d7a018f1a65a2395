"""What tables and figures become on a page: cells with sorting keys, lines, columns, markup.

A field may be dotted, and so reach into what a row holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from reports.figures import canvas
from reports.text import number, short
from reports.verdict import interval


@dataclass(frozen=True)
class Value:
    """One table cell: what it shows, and what it sorts by (None sorts last)."""

    text: str
    key: float | None = None


@dataclass(frozen=True)
class Line:
    """One table row: the name of a cell, the colour of its method, and its values."""

    name: str
    colour: str
    values: list[Value]


Column = tuple[str, str, Callable[[Any], Value]]
"""Heading, explanation, and what a row shows there."""


def line(name: str, colour: str, row: Any, columns: tuple[Column, ...]) -> Line:
    """Return a table row.

    Args:
        name: of the cell.
        colour: placeholder of its method.
        row: what the columns read.
        columns: of the table.
    """
    return Line(name, canvas.variable(colour), [value(row) for _, _, value in columns])


def plain(field: str, digits: int = 3) -> Callable[[Any], Value]:
    """Show a number with fixed decimals."""
    read = attrgetter(field)
    return lambda row: _value(read(row), number(read(row), digits))


def shortened(field: str, one: float = 1) -> Callable[[Any], Value]:
    """Show a number in three digits, where ``one`` of the field is one of its unit."""
    read = attrgetter(field)

    def value(row: Any) -> Value:
        raw = read(row)
        return _value(raw, "" if pd.isna(raw) else short(raw / one))

    return value


def ends(low: str, high: str) -> Callable[[Any], Value]:
    """Show the ends of an interval, sorted by the lower one."""
    first, last = attrgetter(low), attrgetter(high)
    return lambda row: _value(first(row), interval(first(row), last(row)))


def markup(figure: Figure | None) -> Markup | None:
    """Return a figure as SVG that says its title to a screen reader."""
    if figure is None:
        return None
    title = " ".join(figure.texts[0].get_text().split())
    return Markup(canvas.svg(figure, title))  # noqa: S704 - matplotlib and `svg` escape all text


def _value(raw: Any, text: str) -> Value:
    return Value(text, None if pd.isna(raw) else float(raw))
