"""What `templates/report.typ` typesets: a document as plain data, its figures as files beside it.

Text stays text: strings, those with long words in pieces, and runs of which some lead to a term.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gapbench.reports.document.model import (
    Bullets,
    Card,
    Column,
    Document,
    FigureArtifact,
    Folded,
    Part,
    Row,
    Subheading,
    Table,
    Terms,
    Text,
)
from gapbench.reports.figures import theme
from gapbench.reports.prose.glossary import PATTERN, anchor, term_of
from gapbench.reports.render import figure_files

_COMFORT = 11
"""Width in ems from which on a column of text rather wraps than has the whole table set smaller."""

_PROSE = 80
"""Letters from which on the last column of a table is set below each row, as wide as the table."""

_WORD = 20
"""Letters from which on a word may be broken: where it joins parts, or after so many."""

_LONG = 600
"""Letters from which on a paragraph or a row may itself break over pages."""

_LONG_WORD = re.compile(rf"\S{{{_WORD + 1},}}")
_PIECE = re.compile(rf"[/_:=|-]{{0,2}}[^/_:=|-]{{1,{_WORD}}}[/_:=|-]{{0,2}}|[/_:=|-]{{1,{_WORD}}}")
_SEAM = "\x1f"
_MINUS = re.compile(r"(?<![^\s(])-(?=[\d.])")
_FOLDED = (
    "Settings of every row, single scores and calibration in detail are in report.html, where they "
    "are folded away. Figures and tables have their numbers there."
)


@dataclass
class PdfContent:
    """Turns a document into what the template reads, and writes its figures beside it.

    Attributes:
        folder: for the figures.
        most_rows: of a table.
        numbers: of every table and figure, by its identity.
        glossary: terms that texts lead to.
        explained: number of the table that explained a column.
        met: terms that the section has led to.
    """

    folder: Path
    most_rows: int
    numbers: Mapping[int, int]
    glossary: Mapping[str, str]
    explained: dict[Column, int] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)

    def document(self, document: Document) -> dict[str, Any]:
        """Return all of a document."""
        shown = [(section, unfolded(section.parts)) for section in document.sections]
        sections = [
            self._section(section.title, parts)
            for section, parts in shown
            if any(not isinstance(part, Text | Subheading) for part in parts)
            or len(parts) == len(section.parts)
        ]
        text = json.dumps(sections, ensure_ascii=False)
        used = {term_of(found) for found in PATTERN.finditer(text)}
        terms = [(t, said, anchor(t)) for t, said in document.glossary.items() if t in used]
        words = [{"part": "words", "terms": terms, "leads": False}]
        sections += [{"title": "Words", "parts": words}] if terms else []
        subtitle = _pieces(f"{document.subtitle} {_FOLDED}")
        return {"title": _pieces(document.title), "subtitle": subtitle, "sections": sections}

    def _section(self, title: str, parts: tuple[Part, ...]) -> dict[str, Any]:
        self.met.clear()
        return {"title": _pieces(title), "parts": self.parts(parts)}

    def _said(self, text: str) -> Any:
        """Return a text whose first mentions of terms in a section lead to their sentences."""
        runs: list[Any] = []
        start = 0
        for found in PATTERN.finditer(text):
            term = term_of(found)
            if term in self.glossary and term not in self.met:
                self.met.add(term)
                runs += [_pieces(text[start : found.start()]), {"to": anchor(term), "as": found[0]}]
                start = found.end()
        return {"runs": [*runs, _pieces(text[start:])]} if runs else _pieces(text)

    def parts(self, parts: tuple[Part, ...]) -> list[dict[str, Any]]:
        """Return parts of a section, each with what it keeps on its page."""
        before = [None, *parts][: len(parts)]
        followers = [*parts[1:], None][: len(parts)]
        return [
            self._part(part)
            | {"leads": _leads(part, follower, first=place == 0), "floats": _floats(previous)}
            for place, (previous, part, follower) in enumerate(
                zip(before, parts, followers, strict=True)
            )
        ]

    def _part(self, part: Part) -> dict[str, Any]:
        match part:
            case Text():
                return {"part": "text", "text": self._said(part.text), "quiet": part.quiet}
            case Subheading():
                return {"part": "subheading", "text": _pieces(part.text)}
            case Bullets():
                return {"part": "bullets", "items": [self._said(item) for item in part.items]}
            case Terms():
                terms = [tuple(map(_pieces, term)) for term in part.terms.items()]
                return {"part": "terms", "terms": terms}
            case Table():
                return self._table(part)
            case Card():
                return self._card(part)
            case Folded():
                raise AssertionError("folded parts are left to the page")
            case FigureArtifact():
                file = self.folder / f"{part.name}.svg"
                file.write_text(figure_files.markup(part), encoding="utf-8")
                names = {
                    "finding": self._said(part.finding),
                    "title": self._said(_ended(part.title)),
                }
                alternative = _ended(part.alternative)
                return {
                    "part": "picture",
                    "number": self.numbers[id(part)],
                    "name": part.name,
                    "alternative": alternative,
                    **names,
                }

    def _table(self, table: Table) -> dict[str, Any]:
        own = self.numbers[id(table)]
        hinted = [column for column in table.columns if column.hint]
        where = {column: self.explained.setdefault(column, own) for column in hinted}
        rows = table.rows[: self.most_rows]
        footer = [table.footer] if table.footer else []
        texts = [_texts(row, table.columns) for row in (*rows, *footer)]
        coloured = any(row.colour for row in rows)
        heads = [Column(table.first, kind="text"), *table.columns]
        prose = len(heads) > 2 and max((len(cells[-1]) for cells in texts), default=0) > _PROSE
        heads = heads[:-1] if prose else heads
        lines = [
            _line(row, cells, coloured=coloured, prose=prose)
            for row, cells in zip((*rows, *footer), texts, strict=True)
        ]
        return {
            "part": "table",
            "number": own,
            "title": _pieces(_ended(table.title)),
            "like": sorted({place for place in where.values() if place < own}),
            "hints": [
                {"heading": column.heading, "hint": self._said(column.hint)}
                for column, place in where.items()
                if place == own
            ],
            "columns": [
                _column(column, [cells[place] for cells in texts], coloured=coloured and not place)
                for place, column in enumerate(heads)
            ],
            "rows": lines[: len(rows)],
            "footer": lines[-1] if footer else None,
            "left-out": _left_out(len(rows), len(table.rows)),
        }

    def _card(self, card: Card) -> dict[str, Any]:
        headline, certainty = self._said(card.headline), self._said(_minus(card.certainty))
        rows = [
            (self._said(e.name), *map(_minus, (e.first, e.second, e.difference)), card.reading(e))
            for e in card.measures
        ]
        return {
            "part": "card",
            "about": _pieces(card.about),
            "headline": headline,
            "certainty": certainty,
            "heads": card.heads,
            "measures": rows,
            "intervals": card.with_intervals,
            "points": [(name, self._said(_minus(said))) for name, said in card.points.items()],
            "tasks": [
                (_pieces(task), _pieces(use), self._said(_minus(shown)))
                for task, use, shown in card.tasks
            ],
        }


def numbers(document: Document) -> dict[int, int]:
    """Return the number that each table and figure has on the page, folded ones counted too."""
    parts = [part for section in document.sections for part in section.flat]
    kinds = (Table, FigureArtifact)
    own = ([id(part) for part in parts if isinstance(part, kind)] for kind in kinds)
    return {part: number for found in own for number, part in enumerate(found, start=1)}


def unfolded(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return what stands on paper: no folded parts, and no subheading with nothing below it."""
    kept = [part for part in parts if not isinstance(part, Folded)]
    if len(kept) == len(parts):
        return parts
    following = [*kept[1:], None][: len(kept)]
    return tuple(
        part
        for part, after in zip(kept, following, strict=True)
        if not (isinstance(part, Subheading) and (after is None or isinstance(after, Subheading)))
    )


def _minus(text: str) -> str:
    return _MINUS.sub("\N{MINUS SIGN}", text)


def _leads(part: Part, follower: Part | None, *, first: bool) -> bool:
    """Tell whether a part stays on the page of what follows.

    A text that explains a table or a figure does, and so does the one that opens a section; a long
    one would leave too much of a page empty.
    """
    if not isinstance(part, Text) or len(part.text) > _LONG:
        return False
    return isinstance(follower, Table | FigureArtifact) or (first and follower is not None)


def _floats(previous: Part | None) -> bool:
    """Tell whether a figure may leave its place for a page with room: no text leads to it."""
    return isinstance(previous, Table | FigureArtifact)


def _texts(row: Row, columns: tuple[Column, ...]) -> list[str]:
    """Return what a row shows, its name first."""
    values = zip(row.values, columns, strict=True)
    return [
        row.name,
        *(
            _minus(value.text) if column.kind == "number" else value.text
            for value, column in values
        ),
    ]


def _line(row: Row, cells: list[str], *, coloured: bool, prose: bool) -> dict[str, Any]:
    """Return a row; those of a table with colours all leave room for one."""
    method = row.facets.get("method")
    return {
        "cells": [_pieces(cell) for cell in (cells[:-1] if prose else cells)],
        "below": _pieces(cells[-1]) if prose else "",
        "colour": theme.light(theme.variable(row.colour)) if row.colour else None,
        "shape": theme.corners(theme.marker(method)) if method else [],
        "coloured": coloured,
        "long": max(map(len, cells)) > _LONG,
    }


def _column(column: Column, texts: list[str], *, coloured: bool) -> dict[str, Any]:
    """Return a column with those of its texts that tell how wide it is."""
    return {
        "heading": column.heading,
        "kind": column.kind,
        "comfort": _COMFORT,
        "coloured": coloured,
        "longest": sorted(dict.fromkeys(texts), key=len)[-3:],
        "words": column.heading.split(),
    }


def _pieces(text: str) -> str | list[str]:
    """Return a text, in pieces between which lines may end if it has long words.

    A number and its per cent sign stay on one line.
    """
    text = text.replace(" %", "\N{NO-BREAK SPACE}%")
    if not _LONG_WORD.search(text):
        return text
    return _LONG_WORD.sub(lambda word: _SEAM.join(_PIECE.findall(word[0])), text).split(_SEAM)


def _ended(title: str) -> str:
    """Return a title as a sentence, so that another may follow."""
    return title if title.endswith((".", "!", "?")) else f"{title}."


def _left_out(shown: int, n: int) -> str:
    """Say what a table does not show; "" if it shows everything."""
    if shown == n:
        return ""
    return (
        f"The first {shown:,} of {n:,} rows. All of them are in report.html; leaderboard.csv has a "
        "line for every cell and runs.csv one for every run."
    )
