"""A document as one self-contained HTML page that asks for nothing from the network.

`templates/report.html` lays out what it is given and has no content of its own. It escapes all
text; the only markup passed to it are figures, in which matplotlib has escaped all text.
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from gapbench.reports.document.model import (
    Document,
    FigureArtifact,
    Part,
    Row,
    Section,
    Subheading,
    Table,
    Value,
)
from gapbench.reports.figures import theme
from gapbench.reports.prose.glossary import PATTERN, anchor, term_of
from gapbench.reports.render.chart_points import points
from gapbench.reports.render.files import put

FACETS = ("task", "backbone", "method", "variant")
"""What a reader may filter by, in the order of the filters."""

_TAG = re.compile(r"<[^>]*>")
_STYLE = re.compile(r' style="([^"]*)"')


@dataclass(frozen=True)
class _Block:
    """A subheading and what follows it; the first block of a section may lack one."""

    heading: Subheading | None
    parts: tuple[Part, ...]

    @property
    def over_tasks(self) -> bool:
        """Whether it has numbers of methods that are of several tasks, whichever are filtered."""
        found = [row.facets for part in self.parts if isinstance(part, Table) for row in part.rows]
        return any(facets and "task" not in facets for facets in found)


@dataclass(frozen=True)
class _Outline:
    """A section as the page lays it out; `hints` explain the columns of all its tables."""

    name: str
    title: str
    blocks: tuple[_Block, ...]
    hints: Mapping[str, str]


@dataclass
class _Figures:
    """The figures of a page as markup. Each style stands once in the page: few repeat often.

    Attributes:
        names: class of each style, in the order in which they are met.
    """

    names: dict[str, str] = field(default_factory=dict)

    def markup(self, artifact: FigureArtifact) -> Markup:
        svg = theme.svg(artifact.figure, artifact.alternative)
        text = _TAG.sub(lambda tag: _STYLE.sub(self._named, tag[0]), svg)
        return _constant(text)  # but for text, which `svg` has escaped

    def css(self) -> Markup:
        return _constant("\n".join(f".{name}{{{style}}}" for style, name in self.names.items()))

    def _named(self, found: re.Match[str]) -> str:
        return f' class="{self.names.setdefault(found[1], f"s{len(self.names)}")}"'


@dataclass
class _Explainer:
    """Leads from the first mention of a term in a section to its sentence in the glossary."""

    glossary: Mapping[str, str]
    met: set[str] = field(default_factory=set)

    def begin(self) -> str:
        """Begin a section."""
        self.met.clear()
        return ""

    def explained(self, text: str) -> Markup:
        escaped = str(escape(text.replace(" %", "\N{NO-BREAK SPACE}%")))
        return _constant(PATTERN.sub(self._link, escaped))

    def _link(self, found: re.Match[str]) -> str:
        term = term_of(found)
        if term in self.met or term not in self.glossary:
            return found[0]
        self.met.add(term)
        said = escape(self.glossary[term])
        return f'<a class="term" href="#{anchor(term)}" title="{said}">{found[0]}</a>'


def write(document: Document, path: Path) -> None:
    """Write a document as a page.

    Raises:
        OSError: if the file cannot be written.
    """
    put(path, page(document))


def page(document: Document) -> str:
    """Return a document as the text of a page."""
    environment = Environment(
        loader=PackageLoader("gapbench.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A number and its per cent sign stay on one line.
    environment.filters["tied"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")
    explainer = _Explainer(document.glossary)
    environment.filters["explained"] = explainer.explained
    environment.filters["parted"] = _parted
    figures = _Figures()
    drawn = {artifact.name: figures.markup(artifact) for artifact in _artifacts(document)}
    script = f"\n{_source('report.js')}\n"
    return environment.get_template("report.html").render(
        document=document,
        sections=[_outline(section) for section in document.sections],
        choices=_choices(document),
        kind_of=lambda part: type(part).__name__,
        shared=_shared,
        own=lambda row, shared: {k: v for k, v in row.facets.items() if shared.get(k) != v},
        key=_key,
        svg=lambda artifact: drawn[artifact.name],
        width=_width,
        dot=_dot,
        shapes=_constant(theme.shapes()),
        light=_constant(theme.css("light")),
        dark=_constant(theme.css("dark")),
        style=_constant(_source("report.css")),
        drawing=figures.css(),
        points=points,
        begin=explainer.begin,
        anchor=anchor,
        script=_constant(_source("report.js")),
        policy=_policy(script),
    )


def _policy(script: str) -> str:
    """Allow nothing but what stands in the page, and of scripts this one alone."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _parted(text: str) -> Markup:
    """Return a name whose lines may end where it joins words, and elsewhere only if they must."""
    return _constant(re.sub("([_/])", r"\1<wbr>", str(escape(text))))


def _dot(row: Row) -> str:
    """Return the style of the mark before a row's name, which looks as in figures."""
    colour = f"--dot: {theme.variable(row.colour)}" if row.colour else ""
    method = row.facets.get("method")
    return f"{colour}; --mark: {theme.shape(method)}" if colour and method else colour


def _outline(section: Section) -> _Outline:
    blocks: list[_Block] = []
    for part in section.parts:
        if isinstance(part, Subheading):
            blocks.append(_Block(part, ()))
        else:
            last = blocks.pop() if blocks else _Block(None, ())
            blocks.append(_Block(last.heading, (*last.parts, part)))
    tables = [part for part in section.flat if isinstance(part, Table)]
    columns = dict.fromkeys(column for part in tables for column in part.columns if column.hint)
    hints: dict[str, str] = {}
    for column in columns:
        known = hints.get(column.heading)
        hints[column.heading] = f"{known}; or {column.hint}" if known else column.hint
    return _Outline(section.name, section.title, tuple(blocks), hints)


def _choices(document: Document) -> dict[str, list[str]]:
    """Return the values of each facet, where there are several to choose from."""
    found: dict[str, set[str]] = {name: set() for name in FACETS}
    for section in document.sections:
        for part in section.flat:
            if isinstance(part, Table):
                for row in part.rows:
                    for name, value in row.facets.items():
                        found[name].add(value)
    return {name: sorted(values) for name, values in found.items() if len(values) > 1}


def _shared(table: Table) -> dict[str, str]:
    """Return the facets that all rows of a table have alike; they are written once."""
    each = [set(row.facets.items()) for row in table.rows]
    return dict(sorted(set.intersection(*each))) if each else {}


def _key(value: Value, kind: str) -> Markup | str:
    """Return what a cell of a column of numbers sorts by, where that is not what it shows."""
    if kind != "number" or _shows_number(value):
        return ""
    return Markup(' data-key="{}"').format("" if value.key is None else f"{value.key:.6g}")


def _shows_number(value: Value) -> bool:
    """Whether the text of a cell sorts as its key does, but for rounding."""
    if value.key is None:
        return value.text == ""
    try:
        return abs(float(value.text) - value.key) <= 5e-3 * max(1.0, abs(value.key))
    except ValueError:
        return False


def _artifacts(document: Document) -> Iterator[FigureArtifact]:
    for section in document.sections:
        yield from (part for part in section.flat if isinstance(part, FigureArtifact))


def _width(artifact: FigureArtifact, scale: float) -> int:
    """Return the width of a figure in pixels, of which an inch has 96."""
    return round(artifact.figure.get_figwidth() * 96 * scale)


def _source(name: str) -> str:
    return (files("gapbench.reports") / "templates" / name).read_text(encoding="utf-8")


def _constant(text: str) -> Markup:
    """Mark text as safe that the program itself holds."""
    return Markup(text)  # noqa: S704
