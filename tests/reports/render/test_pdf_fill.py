"""How full the pages of the PDF are: tables go on, figures move to where there is room."""

import io
import re
from itertools import chain
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gapbench.reports.document.model import (
    Bullets,
    Card,
    Document,
    Folded,
    Part,
    Section,
    Subheading,
    Table,
    Text,
)
from gapbench.reports.prose.glossary import glossary
from gapbench.reports.render import pdf
from tests.support.pdf_documents import (
    SCORES,
    make_document,
    make_picture,
    make_row,
    make_table,
    read,
    texts,
)

TOP, FOOT = 22 / 297, 1 - 18 / 297
"""Where the text of a page begins and ends, as shares of its height."""


def filled(made: Document) -> list[float]:
    """Return how far down the text of each page reaches, as a share of its room."""
    shares = []
    for page in pdf.pages(made, "png"):
        grey = np.asarray(Image.open(io.BytesIO(page)).convert("L"))
        high = len(grey)
        inside = grey[int(high * TOP) : int(high * FOOT)]
        lines = np.flatnonzero((inside < 225).any(axis=1))
        shares.append(float(lines.max() + 1) / len(inside))
    return shares


def test_cut_tables_leave_no_third_of_a_page_blank() -> None:
    """Many of them, of 24 rows and more columns than fit, one after the other."""
    parts: list[Part] = []
    for place in range(8):
        rows = tuple(make_row(each, fold=4) for each in range(24))
        table = Table(f"Scores of task {place}", "method", SCORES * 4, rows)
        parts += [Subheading(f"task {place}"), Text("No recommendation yet."), table]
    shares = filled(make_document(*parts))[:-1]
    assert min(shares) > 0.7, shares


def test_figure_moves_and_what_follows_fills_its_room() -> None:
    """It stands at an end of the next page where this one has no room, and text comes before it."""
    parts = (make_table(32), make_picture("tall", height=4.5), *[Text("word " * 80)] * 8)
    made = make_document(*parts)
    assert filled(made)[0] > 0.9
    first, second, *_ = texts(read(made))
    assert "word" in first
    assert "steps of tall" in second


def test_two_cards_of_many_tasks_share_the_first_page() -> None:
    """The answers for two backbones are seen together."""
    heads = (("lora", "use this"), ("dora", "reference"))
    tasks = tuple((f"task_{place}", "lora", "better than dora by 0.1") for place in range(12))
    said = {"Settings": "rank 8. " * 12, "Read with care": "Few seeds. " * 60}
    cards = [Card(name, f"Use {name}.", "Sure. " * 40, heads, (), said, tasks) for name in "ab"]
    pages = texts(read(Document("A report", "Runs.", (Section("answer", "Answer", (*cards,)),))))
    assert len(pages) == 1


def test_two_figures_that_float_leave_no_hole_between_them() -> None:
    """Both stand at the top of a page, and what is left of it is below them."""
    pictures = (make_picture("first", height=3.5), make_picture("second", height=4.0))
    made = make_document(make_table(32), *pictures, Text("word " * 80))
    assert sum("steps of first" in page and "steps of second" in page for page in texts(read(made)))
    for page in pdf.pages(made, "png"):
        grey = np.asarray(Image.open(io.BytesIO(page)).convert("L"))
        inside = grey[int(len(grey) * TOP) : int(len(grey) * FOOT)]
        lines = np.flatnonzero((inside < 225).any(axis=1))
        assert np.diff(lines).max() < 0.1 * len(inside)


def order(made: Document) -> list[str]:
    """Return the headings and figures of a document as they are met, page by page from the top."""
    met: list[str] = []
    for page in read(made).pages:
        lines: dict[float, str] = {}

        def visit(said: str, at: list[float], inner: list[float], *_: Any) -> None:
            height = round(inner[5] * at[3] + at[5])
            lines[height] = lines.get(height, "") + said  # noqa: B023

        page.extract_text(visitor_text=visit)
        for height in sorted(lines, reverse=True):
            met += re.findall(r"heading|(?<=of )picture-\d(?=\.)", lines[height])
    return met


@pytest.mark.parametrize("rows", range(2, 40, 4))
def test_figures_stand_below_their_heading_and_in_their_order(rows: int) -> None:
    """Wherever a page ends, a figure that moves to another page passes neither."""
    parts: list[Part] = [make_table(rows), Subheading("heading"), make_table(3)]
    for place in range(0, 4, 2):
        names = [f"picture-{place + each}" for each in range(2)]
        parts += [make_picture(names[0], 3), make_picture(names[1], 2), make_table(5 + rows)]
    assert order(make_document(*parts)) == ["heading", *(f"picture-{n}" for n in range(4))]


def test_figures_follow_their_section_and_each_other() -> None:
    """One at the top of a page does not stand above its title, nor above an earlier one."""
    parts: list[Part] = []
    rng = np.random.default_rng(1)
    for place in range(8):
        parts += [Subheading(f"task {place}"), Text("None is better.")]
        parts += [
            make_picture(f"forest{place}", 2 + rng.random()),
            make_table(int(rng.integers(7, 22))),
        ]
        parts += [make_picture(f"cost{place}", 2.5)]
        parts += [make_picture(f"curves{place}", 3 + 2 * rng.random())]
    pages = texts(read(make_document(*parts)))
    assert pages[0].index("Evidence") < pages[0].index("Figure 1.")
    shown = [[int(number) for number in re.findall(r"Figure (\d+)\.", page)] for page in pages]
    assert sorted(chain.from_iterable(shown)) == list(range(1, 25))
    assert all(numbers == sorted(numbers) for numbers in shown)
    assert f"1 of {len(pages)}" in pages[0]


def test_figures_and_tables_have_the_numbers_of_the_page() -> None:
    """Folded ones, which only the page has, are counted."""
    folded = Folded("More", (make_picture("inside"), make_table(2)))
    parts = (make_picture("first"), folded, Text("Then:"), make_picture("last"), make_table(3))
    text = " ".join(texts(read(make_document(*parts))))
    assert re.findall(r"(Figure|Table) (\d+)\.", text) == [
        ("Figure", "1"),
        ("Figure", "3"),
        ("Table", "2"),
    ]


def test_words_stand_in_two_columns() -> None:
    """All that a document uses fit on the page of a short report, with their sentences."""
    used = {name: said for name, said in glossary(()).items() if name != "Brier score"}
    parts = (make_table(8), Text(", ".join(used)))
    made = Document("A report", "Runs.", (Section("a", "A", parts),), glossary(()))
    (page,) = texts(read(made))
    for term, sentence in used.items():
        assert page.count(term) >= 2
        assert sentence.split()[-1] in page
    assert "Brier score" not in page


def test_first_mention_of_a_term_in_a_section_leads_to_its_sentence() -> None:
    """In text, lists and captions; a second mention and an option of a command lead nowhere."""
    parts = (
        Text("A seed, and a seed more: --seeds 5."),
        Bullets(("The median.", "A checkpoint of a seed.")),
    )
    sections = (Section("a", "A", parts), Section("b", "B", parts))
    reader = read(Document("A report", "Runs.", sections, glossary(())))
    led = [each.get_object()["/Dest"][2:4] for page in reader.pages for each in page["/Annots"]]
    assert (led[:3], len(led)) == (led[3:], 6)
    assert len({tuple(place) for place in led}) == 3
