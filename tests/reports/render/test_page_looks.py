"""How a page looks in a real browser: contrast, width, print. With few methods and with many."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from pypdf import PdfReader

from gapbench.bench.store.record import Status
from gapbench.reports.document.model import (
    Card,
    Column,
    Document,
    Row,
    Section,
    Subheading,
    Table,
    Terms,
    Text,
    Value,
)
from gapbench.reports.render import html
from gapbench.reports.render.report import document, gather
from tests.reports.conftest import Open, Study
from tests.reports.render.test_page_controls import drawn
from tests.support.results_folder import FEW, fill, make_cell, make_record, put
from tests.support.small_suite import REPOSITORY

A4_WIDTH = 595.28
"""In points."""

MARGIN = 14 / 25.4 * 72

ON_PAPER = round((A4_WIDTH - 2 * MARGIN) / 0.75)
"""Width of what is printed, in pixels."""

# Of every visible piece of text: its contrast with what lies behind it, as WCAG 2.1 defines it.
# What lies behind is asked of the browser point by point, so that bars and bands in figures count.
CONTRASTS = """
() => {
  const parsed = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const over = (top, a, below) => top.map((c, i) => a * c + (1 - a) * below[i]);
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => {
      const s = c / 255;
      return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const opacity = (element) => {
    let a = 1;
    for (let e = element; e; e = e.parentElement) a *= Number(getComputedStyle(e).opacity);
    return a;
  };
  const layer = (element) => {
    const style = getComputedStyle(element);
    if (!(element instanceof SVGElement)) return parsed(style.backgroundColor);
    if (!(element instanceof SVGGeometryElement) || style.fill === "none") return null;
    const { rgb, a } = parsed(style.fill);
    return { rgb, a: a * Number(style.fillOpacity) };
  };
  const behind = (element, x, y) => {
    const stack = document.elementsFromPoint(x, y);
    const place = stack.indexOf(element);
    const layers = place < 0 ? [] : stack.slice(place);
    if (place < 0) for (let e = element; e; e = e.parentElement) layers.push(e);
    let colour = [255, 255, 255];
    for (const e of layers.reverse()) {
      const found = e instanceof SVGTextContentElement ? null : layer(e);
      if (found) colour = over(found.rgb, found.a * opacity(e), colour);
    }
    return colour;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const element = node.parentElement;
    if (!node.textContent.trim() || element.closest("script, style, legend, .skip")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (!box.width || !box.height || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const own = parsed(element instanceof SVGElement ? style.fill : style.color);
    const background = behind(element, box.x + box.width / 2, box.y + box.height / 2);
    const ink = over(own.rgb, own.a * opacity(element), background);
    const [low, high] = [luminance(ink), luminance(background)].sort((a, b) => a - b);
    found.push([node.textContent.trim(), (high + 0.05) / (low + 0.05)]);
  }
  return found;
}
"""

# What reaches over the right edge although no container scrolls it.
TOO_WIDE = """
() => [...document.querySelectorAll("body *")]
  .filter((e) => !e.closest(".scroll, .skip, legend"))
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
  .map((e) => e.outerHTML.slice(0, 80))
"""


# Texts of the answer that lie on each other.
OVERLAPS = """
() => {
  const boxes = [...document.querySelectorAll(".card :is(th, td, dt, dd, p, caption)")]
    .map((e) => { const r = document.createRange(); r.selectNodeContents(e); return [e, r]; })
    .map(([e, r]) => [e.textContent, r.getBoundingClientRect()])
    .filter(([, box]) => box.width && box.height);
  const cross = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
    && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  return boxes.flatMap(([text, a], place) =>
    boxes.slice(place + 1).filter(([, b]) => cross(a, b)).map(([other]) => [text, other]));
}
"""

ONLY_HEADINGS = """
() => [...document.querySelectorAll("section")]
  .filter((e) => e.checkVisibility())
  .filter((e) => ![...e.querySelectorAll(".block > *, dl")]
    .some((part) => part.checkVisibility() && !part.matches(".quiet, h3")))
  .map((e) => e.id)
"""


MEASURED = Path(__file__).parents[3] / "results" / "reference" / "measured"

CLIPPED = """
[...document.querySelectorAll("h1, h2, h3, p, li, dd, figcaption, button, summary")]
  .filter((e) => e.scrollWidth > e.clientWidth + 1)
"""


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study with 24 methods, one of a long name, and failures, on two tasks."""
    folder = tmp_path_factory.mktemp("many")
    long = "a_method_whose_name_" + "goes_on_" * 6
    methods = (*FEW, "majority", "full", long, *(f"method_{place:02d}" for place in range(18)))
    store = fill(folder / "results", methods=methods, seeds=2)
    detail = "out of memory at /a/very/long/path/" + "without_a_space/" * 12
    put(store, make_record(make_cell("bad"), status=Status.OUT_OF_MEMORY, detail=detail))
    html.write(document(gather(store.root)), folder / "report.html")
    return folder / "report.html"


@pytest.fixture(params=["few", "many"])
def report(request: pytest.FixtureRequest) -> Path:
    """The page of a study with 3 methods, and of one with 24."""
    if request.param == "many":
        return Path(request.getfixturevalue("many"))
    study: Study = request.getfixturevalue("few")
    return study.page


def opened(open_page: Open, path: Path, **look: Any) -> Page:
    """Return a page in a window that is as high as the page, with everything folded out."""
    page = open_page(path, **look)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    resize(page, look.get("width", 1280))
    return page


def resize(page: Page, width: int) -> None:
    """Make the window as wide as given and as high as the page."""
    page.set_viewport_size({"width": width, "height": 900})
    height = page.evaluate("Math.ceil(document.documentElement.getBoundingClientRect().height)")
    page.set_viewport_size({"width": width, "height": height + 50})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast_in_both_themes(open_page: Open, report: Path, scheme: str) -> None:
    """Every text, in figures too, reaches 4.5 to 1 against what is behind it (WCAG 2.1, AA)."""
    page = opened(open_page, report, width=1600, scheme=scheme)
    found = page.evaluate(CONTRASTS)
    assert len(found) > 300
    assert len([text for text, _ in found if text.startswith("optimiser step")]) >= 1
    assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []


def test_contrast_is_measured_as_defined(open_page: Open, tmp_path: Path) -> None:
    """The measure agrees with known values, through transparency, shapes and opacity."""
    page = """<!DOCTYPE html><body style="background: #fff; margin: 0">
    <p style="color: #000">black</p><p style="color: #777">grey</p>
    <div style="background: #000"><p style="color: #fff8">half</p></div>
    <p style="color: #000; opacity: 0.5">faint</p>
    <svg width="200" height="60"><rect width="200" height="60" fill="#00f"/>
    <text x="20" y="40" fill="#fff">blue</text></svg></body>"""
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    found = dict(open_page(path).evaluate(CONTRASTS))
    known = {"black": 21.0, "grey": 4.478, "half": 5.917, "faint": 3.95, "blue": 8.592}
    assert found == {text: pytest.approx(ratio, abs=0.1) for text, ratio in known.items()}


def test_nothing_overflows_and_lines_of_prose_are_readable(open_page: Open, report: Path) -> None:
    """The page never scrolls sideways; what is wide scrolls inside its own region.

    On a wide screen no paragraph runs over more than about 100 letters a line.
    """
    page = opened(open_page, report, width=400)
    for width in (400, 1000, 1600):
        resize(page, width)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width
        assert page.evaluate(TOO_WIDE) == []
        assert page.evaluate(f"({CLIPPED}).length") == 0
    ems = page.evaluate(
        "[...document.querySelectorAll('p, li')]"
        ".map((e) => e.clientWidth / parseFloat(getComputedStyle(e).fontSize))"
    )
    assert max(ems) < 56


def test_comparison_fits_a_window_of_a_laptop(open_page: Open, report: Path) -> None:
    """The widest tables show every column at 1400 pixels where no name is long."""
    if "many" in report.parent.name:
        pytest.skip("one of its names is long")
    page = opened(open_page, report, width=1400)
    wide = "[...document.querySelectorAll('.scroll:has(.wide)')]"
    assert page.evaluate(f"{wide}.length") >= 2
    assert page.evaluate(f"{wide}.filter((e) => e.scrollWidth > e.clientWidth + 1).length") == 0


@pytest.mark.parametrize("study", ["airline_tweets", "sick", "small_data"])
def test_stored_reports_fit_a_window_of_a_laptop(open_page: Open, study: str) -> None:
    """Times and memory of two machines, marked by daggers, make the widest tables there are."""
    page = opened(open_page, MEASURED / study / "report.html", width=1400)
    wide = "[...document.querySelectorAll('.scroll:has(.wide)')]"
    assert page.evaluate(f"{wide}.length") >= 1
    assert page.evaluate(f"{wide}.filter((e) => e.scrollWidth > e.clientWidth + 1).length") == 0
    page.emulate_media(media="print")
    page.set_viewport_size({"width": ON_PAPER, "height": 900})
    assert page.evaluate(TOO_WIDE.replace(".scroll, ", "")) == []


def test_answer_shows_every_column_where_a_name_is_longer(open_page: Open, tmp_path: Path) -> None:
    """Of the reference study, whose best other method is label smoothing, at 1400 pixels."""
    study = REPOSITORY / "results" / "reference" / "measured" / "airline_tweets"
    html.write(document(gather(study)), tmp_path / "report.html")
    page = opened(open_page, tmp_path / "report.html", width=1400)
    cut = "(e) => e.scrollWidth - e.clientWidth"
    assert page.evaluate(f"[...document.querySelectorAll('.card .scroll')].map({cut})") == [0]
    assert "label_smoothing" in page.locator(".card thead").first.inner_text()


def test_print_is_light_and_cuts_no_table(open_page: Open, report: Path) -> None:
    """On paper all tables and figures fit the page, controls are gone and columns explained."""
    page = open_page(report, scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": ON_PAPER, "height": 900})
    assert page.evaluate(TOO_WIDE.replace(".scroll, ", "")) == []
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate(ONLY_HEADINGS) == []
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.get_by_role("button", name="Dark colours").is_hidden()
    assert page.locator("nav").is_hidden()
    file = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))
    text = ""
    for sheet in file.pages:
        assert float(sheet.mediabox.width) == pytest.approx(A4_WIDTH, abs=1)
        pieces = placed(sheet)
        assert max((left for _, left in pieces), default=0) <= A4_WIDTH - MARGIN + 1
        text += "".join(piece for piece, _ in pieces)
    assert "minus that of lora" in " ".join(text.split())


def placed(sheet: Any) -> list[tuple[str, float]]:
    """Return the pieces of text on a sheet, and where each starts from the left, in points."""
    found: list[tuple[str, float]] = []

    def visit(text: str, matrix: list[float], inner: list[float], *_: Any) -> None:
        if text.strip():
            found.append((text, matrix[0] * inner[4] + matrix[4]))

    sheet.extract_text(visitor_text=visit)
    return found


def test_printed_tables_repeat_their_head_and_split_no_row(open_page: Open, tmp_path: Path) -> None:
    """A table over several sheets has its head on each, and every row whole on one of them."""
    note = "words " * 60
    rows = tuple(
        Row(f"from{place}", (Value(f"{place}", place), Value(f"{note} to{place}")))
        for place in range(60)
    )
    columns = (Column("measure"), Column("remark", kind="text"))
    part = Table("A long table", "designation", columns, rows)
    content = Document("Title", "sub", (Section("a", "Section", (part,)),))
    html.write(content, tmp_path / "page.html")
    page = open_page(tmp_path / "page.html")
    file = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))
    sheets = [sheet.extract_text() for sheet in file.pages]
    assert len(sheets) >= 3
    seen: list[str] = []
    for text in sheets:
        assert ("designation" in text) == ("remark" in text) == ("words" in text)
        starts, ends = re.findall(r"from(\d+)", text), re.findall(r"to(\d+)", text)
        assert starts == ends
        seen += starts
    assert seen == [str(place) for place in range(60)]


def sheets(open_page: Open, path: Path, *sections: Section) -> list[str]:
    """Return the texts of the sheets on which a document of sections is printed."""
    html.write(Document("Title", "sub", sections), path)
    file = PdfReader(io.BytesIO(open_page(path).pdf(prefer_css_page_size=True)))
    return [sheet.extract_text() for sheet in file.pages]


def test_printed_heading_stays_with_its_picture(open_page: Open, tmp_path: Path) -> None:
    """Behind a list of words too, however far down the sheet the list ends."""
    parts = (Subheading("Heading"), drawn("picture", high=3))
    for lines in range(37, 52, 2):
        filler = Terms({f"word {place}": "said" for place in range(lines)})
        before, after = Section("a", "Before", (filler,)), Section("b", "After", parts)
        texts = sheets(open_page, tmp_path / "page.html", before, after)
        assert [("Heading" in text) for text in texts] == [("Data:" in text) for text in texts]


def test_printed_answer_starts_below_the_title(open_page: Open, tmp_path: Path) -> None:
    """One that fills a sheet goes on overleaf, and leaves no sheet with nothing but a title."""
    tasks = tuple((f"task {place}", "lora", "shown " * 30) for place in range(30))
    card = Card("about", "Use lora.", "", (("a", ""), ("b", "")), (), {"Why": "because"}, tasks)
    first, *_ = sheets(open_page, tmp_path / "page.html", Section("a", "Answer", (card, Text("."))))
    assert "Use lora." in first


def test_filtered_print_says_what_it_leaves_out(open_page: Open, report: Path) -> None:
    """A print of a filtered view names the filter, and does not pass for the whole."""
    page = open_page(report, "#method=lora")
    page.emulate_media(media="print")
    assert page.get_by_role("status").is_visible()
    assert "Filter: method lora." in page.get_by_role("status").inner_text()
