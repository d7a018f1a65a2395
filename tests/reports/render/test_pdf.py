"""The report as PDF: its text, outline and fonts, how it breaks, and that nothing is cut off.

Documents are built by hand from `reports.document.model`, so that each test says what it is about;
the last one is that of a results folder.
"""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pypdf import PdfReader
from pypdf.generic import DictionaryObject

from gapbench.reports.document.model import (
    Bullets,
    Card,
    Column,
    Document,
    FigureArtifact,
    Folded,
    Row,
    Section,
    Subheading,
    Table,
    Terms,
    Text,
    Value,
)
from gapbench.reports.render import pdf, pdf_content
from tests.reports.conftest import Study
from tests.support.pdf_documents import (
    COLOURS,
    MARKUP,
    SCRIPT,
    assert_margins_are_blank,
    bare,
    entries,
    fonts,
    make_document,
    make_picture,
    make_row,
    make_table,
    read,
    texts,
)


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


def test_report_of_a_results_folder_says_all_that_the_document_says(
    few: Study, tmp_path: Path
) -> None:
    """From records to pages: every section, sentence, caption and row name is in the PDF."""
    made = few.content
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


def test_rows_have_the_marks_of_their_methods() -> None:
    """Methods of one colour are told apart by them, as in figures and on the page."""
    names = ("drop_lora", "hiddenkey", "ivon")
    rows = [make_row(0, name) for name in names]
    named = [replace(row, facets={"method": name}) for row, name in zip(rows, names, strict=True)]
    pages = [pdf.pages(make_document(replace(make_table(1), rows=(row,))), "png") for row in named]
    shapes = [pdf_content._line(row, ["a"], coloured=True, prose=False)["shape"] for row in named]
    assert len({str(shape) for shape in shapes}) == len(names)
    assert all(len(found) == 1 for found in pages)
