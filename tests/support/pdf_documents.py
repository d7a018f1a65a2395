"""Documents to typeset, and readers of the PDF that comes out."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from pypdf import PdfReader
from pypdf.generic import DictionaryObject

from gapbench.reports.document.model import (
    Bullets,
    Column,
    Document,
    FigureArtifact,
    Part,
    Row,
    Section,
    Table,
    Value,
)
from gapbench.reports.figures.theme import colour, style
from gapbench.reports.render import pdf

MARKUP = "#*_$@<>[]\\ `x` // /* */ = - + ~ 'q' \"q\" --- ..."
SCRIPT = "<script>alert(1)</script>"
SCORES = (
    Column("score", "mean test score over seeds"),
    Column("95 %", "interval of the mean"),
    Column("seeds"),
)
COLOURS = [*map(colour, "abcdefgh")]


def make_row(place: int, name: str | None = None, *, fold: int = 1) -> Row:
    """Return a row of as many columns as `SCORES` has, or a multiple."""
    values = (Value(f"0.{place:03}", place), Value("-0.012 to 0.834"), Value("5", 5))
    return Row(name or f"method-{place}", values * fold, COLOURS[place % len(COLOURS)])


def make_table(
    n: int, title: str = "Scores", *, name: str = "method-", footer: bool = False
) -> Table:
    """Return a table of ``n`` rows, whose names begin alike."""
    last = Row("best possible", (Value("0.9"), Value(""), Value(""))) if footer else None
    return Table(
        title,
        "method",
        SCORES,
        tuple(make_row(place, f"{name}{place}") for place in range(n)),
        last,
    )


def make_picture(name: str = "scores", height: float = 2) -> FigureArtifact:
    """Return a figure with one line and a labelled axis, 7.2 inches wide."""
    with style():
        figure = Figure(figsize=(7.2, height))
        axis = figure.add_subplot()
        axis.plot([0, 1], [0, 1], color=COLOURS[0])
        axis.set_xlabel(f"steps of {name}")
    return FigureArtifact(
        name, f"Scores rise along training of {name}.", figure, pd.DataFrame({"x": [0]})
    )


def make_document(*parts: Part, title: str = "A report") -> Document:
    """Return a document of two sections, the second of them with the parts."""
    first = Section("verdict", "Verdict", (Bullets(("It depends.",)),))
    return Document(title, "Runs: 3 ok.", (first, Section("evidence", "Evidence", parts)))


def read(made: Document) -> PdfReader:
    """Return the PDF of a document."""
    (file,) = pdf.pages(made, "pdf")
    return PdfReader(io.BytesIO(file))


def texts(reader: PdfReader) -> list[str]:
    """Return the text of each page, with every run of white space as one space."""
    return [" ".join(page.extract_text().split()) for page in reader.pages]


def bare(text: str) -> str:
    """Return a text without white space, as lines may break inside long words."""
    return "".join(text.split())


def entries(reader: PdfReader) -> list[tuple[int, str, int]]:
    """Return depth, title and page of every bookmark."""

    def walk(outline: list[Any], depth: int) -> Iterator[tuple[int, str, int]]:
        for entry in outline:
            if isinstance(entry, list):
                yield from walk(entry, depth + 1)
            else:
                page = reader.get_destination_page_number(entry)
                assert page is not None
                yield depth, str(entry.title), page

    return list(walk(reader.outline, 0))


def fonts(reader: PdfReader) -> dict[str, DictionaryObject]:
    """Return the descriptor of every font of the pages and of the figures inside them."""
    found: dict[str, DictionaryObject] = {}

    def walk(resources: Any) -> None:
        for font in resources.get("/Font", {}).values():
            font = font.get_object()
            for inner in font.get("/DescendantFonts", [font]):
                inner = inner.get_object()
                found[str(inner["/BaseFont"])] = inner.get("/FontDescriptor", {})
        for image in resources.get("/XObject", {}).values():
            walk(image.get_object().get("/Resources", {}))

    for page in reader.pages:
        walk(page["/Resources"])
    return found


def assert_margins_are_blank(made: Document) -> None:
    """Render every page and fail if there is ink within 14 mm of its sides or 8 mm of its ends."""
    for number, page in enumerate(pdf.pages(made, "png"), start=1):
        ink = np.asarray(Image.open(io.BytesIO(page)).convert("L")) < 250
        side, end = round(14 / 25.4 * 144), round(8 / 25.4 * 144)
        assert ink.any(), f"page {number} is empty"
        assert not ink[:, :side].any(), f"page {number}: ink in the left margin"
        assert not ink[:, -side:].any(), f"page {number}: ink in the right margin"
        assert not ink[:end].any(), f"page {number}: ink in the upper margin"
        assert not ink[-end:].any(), f"page {number}: ink in the lower margin"
