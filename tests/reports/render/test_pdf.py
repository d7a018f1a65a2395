"""The report as PDF: its text, outline and fonts, how it breaks, and that nothing is cut off.

Documents are built by hand from `reports.document.model`, so that each test says what it is about;
the last one is that of a results folder.
"""

import hashlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from pypdf import PdfReader
from pypdf.generic import DictionaryObject

from gapbench.reports.document.model import (
    Bullets,
    Card,
    Column,
    Document,
    FigureArtifact,
    Folded,
    Part,
    Row,
    Section,
    Subheading,
    Table,
    Terms,
    Text,
    Value,
)
from gapbench.reports.figures.theme import colour, style
from gapbench.reports.render import pdf
from gapbench.reports.render.report import document, gather
from tests.support.results_folder import FEW, fill

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


def test_text_of_every_kind_of_part_is_there() -> None:
    """Paragraphs, headings, lists, terms, tables and captions can be extracted as they are."""
    reader = read(
        make_document(
            Text("A paragraph says something."),
            Text("A quiet one explains it.", quiet=True),
            Subheading("On a task"),
            Bullets(("A sentence.", "Another one.")),
            Terms({"budget": "20 epochs", "protocol": "strict"}),
            make_table(2, "Scores of two", footer=True),
            make_picture(),
        )
    )
    text = " ".join(texts(reader))
    for said in (
        "A report Runs: 3 ok.",
        "A paragraph says something. A quiet one explains it. On a task",
        "A sentence. • Another one.",
        "budget 20 epochs protocol strict",
        "Table 1. Scores of two. score: mean test score over seeds. 95 %: interval of the mean.",
        "method score 95 % seeds method-0 0.000 \N{MINUS SIGN}0.012 to 0.834 5 method-1 0.001",
        "best possible 0.9",
        "Figure 1. Scores rise along training of scores. Data: figures/scores.csv.",
        "steps of scores",
    ):
        assert said in text


@pytest.mark.parametrize("hostile", [MARKUP, SCRIPT, "#panic()", "$x^2$ @ref <label> \\u{41}"])
def test_text_is_never_markup(hostile: str) -> None:
    """What means something to a typesetter or a browser appears literally, wherever it stands."""
    row = Row(hostile, (Value(hostile), Value(hostile), Value(hostile)), COLOURS[0])
    columns = (Column(hostile, hostile, "text"), Column("b", "", "code"), Column("c", "", "text"))
    made = Document(
        hostile,
        hostile,
        (
            Section(
                "evidence",
                hostile,
                (
                    Text(hostile),
                    Subheading(hostile),
                    Bullets((hostile,)),
                    Terms({hostile: hostile}),
                    Table(hostile, hostile, columns, (row,), row),
                ),
            ),
        ),
    )
    reader = read(made)
    # Title, subtitle, contents, heading, text, subheading, bullet, term twice, caption, three
    # headings of columns less two plain ones, its explanation twice, two rows of four.
    assert bare("".join(texts(reader))).count(bare(hostile)) >= 21
    assert reader.metadata is not None
    assert reader.metadata.title == hostile
    assert {title.removeprefix("1 ") for _, title, _ in entries(reader)} == {hostile}


def test_outline_has_every_section_and_subheading() -> None:
    """Bookmarks lead to every section, and under it to its subheadings, on the right pages."""
    reader = read(make_document(Subheading("first"), make_table(80), Subheading("second")))
    pages = texts(reader)
    found = entries(reader)
    assert [(depth, title) for depth, title, _ in found] == [
        (0, "1 Verdict"),
        (0, "2 Evidence"),
        (1, "first"),
        (1, "second"),
    ]
    assert [page for _, _, page in found] == [0, 0, 0, len(pages) - 1]
    assert len(pages) > 1
    assert all(title in pages[page] for _, title, page in found)


def test_pages_have_numbers_and_a_running_header() -> None:
    """Every page says its number; from the second on, the report's title and the section too."""
    pages = texts(read(make_document(make_table(150), title="My report")))
    assert len(pages) > 2
    for number, page in enumerate(pages, start=1):
        assert page.endswith(f"{number} of {len(pages)}")
        if number > 1:
            assert page.startswith("My report Evidence method score")


def test_metadata_names_the_title_and_no_date() -> None:
    """The file says what it is, and not when it was made."""
    reader = read(make_document(title="My report"))
    assert reader.metadata is not None
    assert reader.metadata.title == "My report"
    assert not {"/CreationDate", "/ModDate"} & set(reader.metadata)
    assert reader.trailer["/Root"]["/Lang"] == "en"


def test_figures_have_alternative_texts_and_tables_are_tagged() -> None:
    """A screen reader finds the title of a figure, and the cells of a table with their header."""
    reader = read(make_document(make_picture(), make_table(2)))
    kinds, alternatives = set(), set()
    for place in range(1, len(reader.xref[0]) + 1):
        element = reader.get_object(place)
        if isinstance(element, DictionaryObject) and element.get("/Type") == "/StructElem":
            kinds.add(element["/S"])
            alternatives.add(str(element.get("/Alt", "")))
    assert "Scores rise along training of scores." in alternatives
    assert {"/Table", "/TH", "/TD", "/THead", "/Caption", "/Figure", "/H1", "/L"} <= kinds


def test_fonts_are_embedded_and_figures_are_vectors() -> None:
    """Every font travels with the file, and no figure is made of pixels."""
    reader = read(make_document(make_picture(), make_table(2), Text("中文 🙂 ✓ \x01")))
    found = fonts(reader)
    assert any("Libertinus" in name for name in found)
    assert any("DejaVuSans" in name for name in found), "the font of the figures"
    for name, descriptor in found.items():
        assert {"/FontFile", "/FontFile2", "/FontFile3"} & set(descriptor), name
    assert not [image for page in reader.pages for image in page.images]


def test_long_table_repeats_its_header_and_loses_no_row() -> None:
    """Its heading stands on each of its pages, and every row on one of them."""
    pages = texts(read(make_document(make_table(200, footer=True))))
    assert len(pages) > 3
    for page in pages:
        assert page.count("method score 95 % seeds") == 1
    text = " ".join(pages)
    assert all(text.count(f"method-{place} 0.{place:03}") == 1 for place in range(200))
    assert text.count("best possible") == 1


def test_what_belongs_together_stays_on_one_page() -> None:
    """Wherever a page ends, captions, headings and explanations are not apart from their things."""
    parts: list[Part] = []
    for place in range(24):
        parts += [
            Text("Filler. " * (13 * (5 + 2 * place))),
            Subheading(f"heading-{place}"),
            Text(f"explanation-{place}", quiet=True),
            make_table(60 if place % 2 else 8, f"title-{place}", name=f"row-{place}-")
            if place % 3
            else make_picture(f"picture-{place}"),
        ]
    pages = texts(read(make_document(*parts)))
    tables = 0
    for place in range(24):
        (page,) = [page for page in pages if re.search(rf"heading-{place}\b", page)]
        assert re.search(rf"explanation-{place}\b", page)
        after = page[page.index(f"explanation-{place}") :]
        if place % 3 == 0:
            assert f"training of picture-{place}." in after
            assert f"steps of picture-{place} " in after
        else:
            tables += 1
            assert f"Table {tables}. title-{place}." in after
            shown = after.count(f"row-{place}-")
            assert shown == 8 or (place % 2 and shown >= 8), "a low table is kept whole"


@pytest.mark.parametrize("fold", [1, 4, 5, 12])
def test_wide_tables_stay_on_the_page(fold: int) -> None:
    """However many columns there are, each is there, and none is cut off at the edge."""
    columns = SCORES * fold
    named = tuple(Column(f"c{place}", "", each.kind) for place, each in enumerate(columns))
    rows = tuple(make_row(place, fold=fold) for place in range(5))
    made = make_document(Table("Wide", "method", named, rows))
    assert_margins_are_blank(made)
    words = " ".join(texts(read(made))).split()
    assert all(words.count(f"c{place}") == 1 for place in range(3 * fold))
    assert words.count("0.003") == fold


@pytest.mark.parametrize("words", [1, 4, 9])
def test_texts_break_only_where_the_page_is_too_narrow(words: int) -> None:
    """A row that fits on the page has one line, however its columns differ."""
    reason = " ".join(["its metric is undefined"] * words)
    columns = (Column("status", kind="text"), Column("reason", kind="text"), Column("seeds"))
    row = Row("syn_similarity on tiny", (Value("no score"), Value(reason), Value("0, 1")))
    reader = read(make_document(Table("Troubles", "task", columns, (row,))))
    lines = reader.pages[0].extract_text().splitlines()
    whole = [line for line in lines if "syn_similarity" in line and "0, 1" in line]
    assert [reason in line for line in whole] == ([True] if words < 9 else [])


def test_long_words_and_texts_stay_on_the_page_and_whole() -> None:
    """Names without spaces break, cells higher than a page go on, and nothing is lost of either."""
    long, code = "a_long_name/" * 12 + "x" * 150, "gapbench reproduce " + "0123456789abcdef" * 12
    novel = " ".join(f"word{place}" for place in range(1500))
    columns = (Column("command", "", "code"), Column("reason", "", "text"), Column("score"))
    rows = (
        Row(long, (Value(code), Value("short"), Value("0.1"))),
        Row("b", (Value("code"), Value(novel), Value("9" * 200))),
    )
    made = make_document(
        Subheading(long),
        Text(long),
        Bullets((long,)),
        Terms({long: long}),
        make_picture(),
        Table(long, "method", columns, rows),
    )
    assert_margins_are_blank(made)
    pages = [page.extract_text() for page in read(made).pages]
    text = bare("".join(pages))
    assert text.count(long) >= 7
    assert bare(code) in text
    assert set(novel.split()) <= set(" ".join(pages).split())


def test_tall_figures_fit_on_a_page() -> None:
    """A figure higher than a page is made smaller, and keeps its caption."""
    made = make_document(make_picture("tall", height=30))
    assert_margins_are_blank(made)
    (page,) = [page for page in texts(read(made)) if "steps of tall" in page]
    assert "Figure 1. Scores rise along training of tall." in page


def test_columns_are_explained_once() -> None:
    """A later table points to those that explain its columns, and explains what is new alone."""
    rows = tuple(make_row(place) for place in range(2))
    parts = (
        make_table(2, "One"),
        make_table(2, "Two"),
        Table("Three", "method", (Column("time", "seconds"), *SCORES[1:]), rows),
        Table(
            "Four", "method", (Column("time", "seconds"), Column("score", "of all"), *SCORES), ()
        ),
        Table("Five", "method", (Column("plain"),), ()),
    )
    text = " ".join(texts(read(make_document(*parts))))
    assert text.count("mean test score over seeds") == 1
    assert "Table 2. Two. Columns as in Table 1. method" in text
    assert "Table 3. Three. Columns as in Table 1. time: seconds. method" in text
    assert "Table 4. Four. Columns as in Table 1 and Table 3. score: of all. method" in text
    assert "Table 5. Five. method plain" in text


def test_tables_are_cut_only_as_far_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the most rows, the longest tables are cut to one length and say so."""
    monkeypatch.setattr(pdf, "MOST_ROWS", 60)
    made = make_document(make_table(500), make_table(10), make_table(2000))
    text = " ".join(texts(read(made)))
    assert text.count("method-9 ") == 3
    assert text.count("method-24 ") == 2
    assert "method-25 " not in text
    assert "The first 25 of 500 rows." in text
    assert "The first 25 of 2,000 rows." in text
    assert text.count("rows.") == 2


def test_most_rows_is_the_largest_length_that_keeps_the_total(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One row more for each table would be too many, as counting says."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        lengths = [int(n) for n in rng.integers(0, 40, rng.integers(1, 9))]
        most = int(rng.integers(1, 120))
        monkeypatch.setattr(pdf, "MOST_ROWS", most)
        found = pdf.most_rows(make_document(*map(make_table, lengths)))
        total = [sum(min(n, cut) for n in lengths) for cut in (found, found + 1)]
        assert total[0] <= most
        assert total[1] > most or total[0] == sum(lengths)


def test_degenerate_documents_have_a_page() -> None:
    """No section, an empty one, an empty table, empty texts: a page each time."""
    empty = Table("", "", (Column(""),), ())
    blank = Row("", (Value(""),))
    for made in (
        Document("", "", ()),
        make_document(),
        make_document(empty, Text(""), Bullets(()), Terms({}), Subheading("")),
        make_document(Table("", "", (Column(""),), (blank,), blank)),
        make_document(Table("no columns", "method", (), (Row("a", ()),))),
    ):
        assert len(read(made).pages) == 1


def test_characters_that_fonts_lack_do_not_stop_it() -> None:
    """Control characters, foreign scripts, half of a surrogate pair: a box at worst."""
    odd = "a\x00b\x1f c\ud800d 中文 العربية 🙂 \u202e \ufffe"
    reader = read(
        make_document(Text(odd), Table(odd, odd, (Column(odd),), (Row(odd, (Value(odd),)),)))
    )
    assert "a" in texts(reader)[0]


def digest() -> str:
    """Return the hash of the PDF of one document."""
    (file,) = pdf.pages(make_document(make_picture(), make_table(30)), "pdf")
    return hashlib.sha256(file).hexdigest()


def test_equal_documents_give_equal_bytes() -> None:
    """Another process, with its hashes seeded otherwise and in another zone, writes the same."""
    script = "from tests.reports.render.test_pdf import digest; print(digest())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"},
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == digest()


def test_report_of_a_results_folder_says_all_that_the_document_says(tmp_path: Path) -> None:
    """From records to pages: every section, sentence, caption and row name is in the PDF."""
    made = document(gather(fill(tmp_path / "results", methods=FEW).root))
    pdf.write(made, tmp_path / "report.pdf")
    reader = PdfReader(tmp_path / "report.pdf")
    text = bare("".join(texts(reader)))
    sections = [title for depth, title, _ in entries(reader) if depth == 0]
    titles = [*(each.title for each in made.sections), "Words"]
    assert sections == [f"{n} {title}" for n, title in enumerate(titles, start=1)]
    parts = [part for section in made.sections for part in section.parts]
    for part in parts:
        match part:
            case Folded():
                continue  # is left to the page
            case Card():
                said = [part.headline, *part.points, *(each.name for each in part.measures)]
            case Text() | Subheading():
                said = [part.text]
            case Bullets():
                said = list(part.items)
            case Terms():
                said = [*part.terms, *part.terms.values()]
            case Table():
                said = [part.title, *(row.name for row in part.rows)]
            case FigureArtifact():
                said = [part.title]
        for each in said:
            assert bare(each) in text, each
    assert_margins_are_blank(made)


@pytest.mark.parametrize("name", ["模型", "모델", "ผล", "🦙"])
def test_characters_without_a_glyph_are_told(name: str) -> None:
    """A reader of boxes learns which characters they stand for, and where to see them."""
    [first, *_] = texts(read(make_document(make_table(2, name=f"{name}-"))))
    assert "shows boxes in their place" in first
    assert all(f"U+{ord(character):04X}" in first for character in name)


def test_known_characters_need_no_notice() -> None:
    """Letters with marks, Greek, Cyrillic and signs of mathematics have glyphs."""
    name = "naïve-Ärger-κ-ж-≤±≠“”"
    [first, *_] = texts(read(make_document(make_table(2, name=name))))
    assert "boxes" not in first
