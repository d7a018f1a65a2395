"""What a report consists of, apart from any format: the answer, then sections of its evidence.

Sections are made in `reports.sections`; `reports.render.html` and `reports.render.pdf` write the
same document. All text is plain; each output format escapes it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

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
        best: which numbers are best; the first click on the heading sorts them to the top.
    """

    heading: str
    hint: str = ""
    kind: str = "number"
    best: Literal["low", "high"] = "low"


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
        title: how to read it; drawn by the document, not in the figure.
        figure: drawn in the placeholder colours of `reports.figures.theme`.
        data: a row for each thing drawn.
        finding: a sentence that says what it shows, "" if the title does.
        axes: measures of `data` that a reader may choose as axes, each with its name, its unit and
            which values are best ("low" or "high"); empty if nothing can be chosen.
    """

    name: str
    title: str
    figure: "Figure"
    data: pd.DataFrame
    finding: str = ""
    axes: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)

    @property
    def alternative(self) -> str:
        """What a screen reader says in its place."""
        return self.finding or self.title


@dataclass(frozen=True)
class Measure:
    """A line of the answer's table: one measure of two methods, and how they differ.

    Attributes:
        name: what is measured.
        first: of the method that the answer is about.
        second: of the method beside it.
        difference: first minus second with its interval, or a multiple; "" if unknown.
        reading: "better", "worse", "no difference shown", "cheaper", "dearer", or "" where nothing
            is told.
    """

    name: str
    first: str
    second: str
    difference: str
    reading: str


@dataclass(frozen=True)
class Card:
    """The answer, short enough for one screen.

    Attributes:
        about: which tasks, backbone and suite.
        headline: what to use.
        certainty: how sure that is.
        heads: name and role of the two methods in `measures`.
        measures: what the method does and costs beside another.
        points: further answers, each under its question.
        tasks: a line for each task, where there are several: task, method to use, what is shown.
    """

    about: str
    headline: str
    certainty: str
    heads: tuple[tuple[str, str], tuple[str, str]]
    measures: tuple[Measure, ...]
    points: Mapping[str, str]
    tasks: tuple[tuple[str, str, str], ...] = ()

    @property
    def with_intervals(self) -> bool:
        """Whether any difference of `measures` has an interval."""
        return any("(" in each.difference for each in self.measures)

    def reading(self, measure: Measure) -> str:
        """Return what a measure shows, with the name of the method that it is said of."""
        short = measure.reading.count(" ") or not measure.reading
        return measure.reading if short else f"{self.heads[0][0]} is {measure.reading}"


@dataclass(frozen=True)
class Folded:
    """Detail that the page folds away, and the PDF leaves to the page.

    Attributes:
        title: names what is inside.
        parts: in their order.
    """

    title: str
    parts: "tuple[Part, ...]"


Part = Text | Subheading | Bullets | Terms | Table | FigureArtifact | Card | Folded


@dataclass(frozen=True)
class Section:
    """A titled part of the report; the name is its anchor."""

    name: str
    title: str
    parts: tuple[Part, ...]

    @property
    def flat(self) -> Iterator[Part]:
        """All parts, those inside of others too."""
        return flattened(self.parts)


def flattened(parts: Iterable[Part]) -> Iterator[Part]:
    """Yield parts and, in their place, what folded ones hold."""
    for part in parts:
        if isinstance(part, Folded):
            yield from flattened(part.parts)
        else:
            yield part


@dataclass(frozen=True)
class Document:
    """The whole report.

    Attributes:
        title: suite, data and backbone.
        subtitle: runs, date and versions.
        sections: the answer first.
        glossary: a sentence for each statistical term.
    """

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    glossary: Mapping[str, str] = field(default_factory=dict)
