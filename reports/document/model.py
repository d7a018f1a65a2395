"""What a report consists of, apart from any format: sections of text, tables and figures.

Sections are made in `reports.sections`; `reports.render.html` and `reports.render.pdf` write the
same document. All text is plain; each output format escapes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Text:
    """A paragraph; a quiet one explains, and a reader in a hurry may pass over it."""

    text: str
    quiet: bool = False


@dataclass(frozen=True)
class Subheading:
    """The title of what follows in a section, up to the next one.

    Attributes:
        text: the title.
        facets: what a reader may filter all of it by: "task", "backbone".
    """

    text: str
    facets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bullets:
    """Sentences, each for itself."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Terms:
    """Names and what stands for them."""

    terms: Mapping[str, str]


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, what a reader may want explained, and how it is set.

    Attributes:
        heading: a word or two.
        hint: explanation; "" if the heading says it all.
        kind: "number" (set to the right), "text", or "code" (to be typed by a reader).
    """

    heading: str
    hint: str = ""
    kind: str = "number"


@dataclass(frozen=True)
class Value:
    """What a table shows in one place, and what it sorts by; without a key it sorts last."""

    text: str
    key: float | None = None


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: heads the row.
        values: one a column, in their order.
        colour: placeholder colour of the method it is about; None if it is about none.
        facets: what a reader may filter by: "task", "backbone", "method", "variant".
    """

    name: str
    values: tuple[Value, ...]
    colour: str | None = None
    facets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: says what is in it, for a caption and for screen readers.
        first: heading of the rows' names.
        columns: the others.
        rows: in the order in which they are first seen.
        footer: a row that sorting and filtering leave where it is; None if there is none.
    """

    title: str
    first: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    footer: Row | None = None


@dataclass(frozen=True)
class FigureArtifact:
    """A figure and the numbers that it shows.

    Attributes:
        name: of its files, unique in the report: letters, digits, "-" and "_".
        title: a sentence or two that state what it shows; drawn by the document, not in the figure.
        figure: drawn in the placeholder colours of `reports.figures.theme`.
        data: a row for each thing drawn.
    """

    name: str
    title: str
    figure: "Figure"
    data: pd.DataFrame


Part = Text | Subheading | Bullets | Terms | Table | FigureArtifact


@dataclass(frozen=True)
class Section:
    """A titled part of the report; the name is its anchor."""

    name: str
    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
