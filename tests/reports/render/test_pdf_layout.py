"""What a page of the PDF holds: tables, words and figures are whole, together and inside."""

import re

import numpy as np
import pytest

from gapbench.reports.document.model import (
    Bullets,
    Column,
    Part,
    Row,
    Subheading,
    Table,
    Terms,
    Text,
    Value,
)
from gapbench.reports.render import pdf
from tests.support.pdf_documents import (
    SCORES,
    assert_margins_are_blank,
    bare,
    make_document,
    make_picture,
    make_row,
    make_table,
    read,
    texts,
)


def test_long_table_repeats_its_header_and_loses_no_row() -> None:
    """Its heading stands on each of its pages, and every row on one of them."""
    pages = texts(read(make_document(make_table(260, footer=True))))
    assert len(pages) > 3
    for page in pages:
        assert page.count("method score 95 % seeds") == 1
    text = " ".join(pages)
    assert all(text.count(f"method-{place} 0.{place:03}") == 1 for place in range(260))
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


def test_long_text_of_the_last_column_stands_below_its_row() -> None:
    """It has the width of the table there, and no heading that would take a column's room."""
    said = " ".join(f"word-{place}" for place in range(30))
    columns = (Column("score"), Column("claim and source", kind="text"))
    row = Row("method-0", (Value("0.5"), Value(said)))
    (page,) = texts(read(make_document(Table("Claims", "method", columns, (row,)))))
    assert f"method score method-0 0.5 {said}" in page
    short = Row("method-0", (Value("0.5"), Value("word-0")))
    (page,) = texts(read(make_document(Table("Claims", "method", columns, (short,)))))
    assert "method score claim and source method-0 0.5 word-0" in page
