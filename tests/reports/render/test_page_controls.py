"""What a reader does with a page in a real browser: sort, filter, link, choose colours."""

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from playwright.sync_api import Browser, Page, expect

from gapbench.reports.document.model import (
    Bullets,
    Column,
    Document,
    FigureArtifact,
    Row,
    Section,
    Subheading,
    Table,
    Terms,
    Text,
    Value,
)
from gapbench.reports.figures import theme
from gapbench.reports.prose.glossary import GLOSSARY, anchor
from gapbench.reports.render import html
from tests.reports.conftest import Open

HOSTILE = "<script>alert(1)</script>&\"'><img src=x onerror=alert(2)>"


def row(method: str, task: str, score: float | None, note: str = "", **facets: str) -> Row:
    """Return a row about a method with its score and a note."""
    text = "" if score is None else f"{score:.1f}"
    about = {"method": method, "task": task, **facets}
    return Row(method, (Value(text, score), Value(note)), None, about)


def table(task: str, *rows: Row) -> Table:
    """Return a table of scores with a footer."""
    columns = (Column("score", "mean over seeds", best="high"), Column("note", kind="text"))
    footer = Row("best possible", (Value("9.0", 9.0), Value("")))
    return Table(f"Scores of {task}", "method", columns, rows, footer)


RTE = table(
    "rte",
    row("lora 10", "rte", 0.52, "b"),
    row("dora", "rte", None, ""),
    row("lora 9", "rte", 10.01, "a"),
    row("head", "rte", 0.58, "c"),
    row("bitfit", "rte", -3.0, "Ab"),
)
COLA = table("cola", row("lora 9", "cola", 0.7), row("dora", "cola", 0.6))
DOCUMENT = Document(
    "A report",
    "Of two tasks",
    (
        Section("verdict", "Verdict", (
            Subheading("rte", {"task": "rte"}), Bullets(("lora wins.",)),
            Subheading("cola", {"task": "cola"}), Bullets(("dora wins.",)),
        )),
        Section("leaderboard", "Leaderboard", (
            Text("How to read it.", quiet=True), Subheading("rte"), RTE, Subheading("cola"), COLA,
        )),
        Section("protocol", "Protocol", (Terms({"torch": "2"}),)),
    ),
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the file of a small page."""
    html.write(DOCUMENT, tmp_path / "report.html")
    return tmp_path / "report.html"


def drawn(text: str, *, high: float = 1) -> FigureArtifact:
    """Return a figure with a text in it, which is its title too."""
    with theme.style():
        figure = Figure(figsize=(3, high))
        figure.text(0.1, 0.5, text)
    return FigureArtifact("one", text, figure, pd.DataFrame({"a": [1]}))


def names(page: Page, table: int = 0) -> list[str]:
    """Return the names of the rows that a table shows, from top to bottom."""
    heads = page.locator("table").nth(table).locator("tbody tr:visible th")
    return [text.strip() for text in heads.all_inner_texts()]


def sort(page: Page, heading: str) -> None:
    """Press the heading of a column of the first table."""
    page.locator("table").first.get_by_role("button", name=heading, exact=True).click()


def tick(page: Page, facet: str, value: str) -> None:
    """Open a filter where it is closed, and tick one of its boxes."""
    details = page.locator(f"details[data-facet={facet}]")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    details.get_by_label(value, exact=True).check()


def test_numbers_sort_by_value_and_empty_cells_stay_last(open_page: Open, path: Path) -> None:
    """The best comes first; neither direction brings the empty cell up, and the footer stays."""
    page = open_page(path)
    sort(page, "score")
    assert names(page) == ["lora 9", "head", "lora 10", "bitfit", "dora"]
    heading = page.locator("table").first.locator("thead th").nth(1)
    assert heading.get_attribute("aria-sort") == "descending"
    sort(page, "score")
    assert names(page) == ["bitfit", "lora 10", "head", "lora 9", "dora"]
    assert heading.get_attribute("aria-sort") == "ascending"
    assert page.locator("table").first.locator("tfoot th").inner_text() == "best possible"
    assert page.locator("table").first.locator("tr").last.inner_text().startswith("best possible")


def test_text_sorts_as_people_sort_it(open_page: Open, path: Path) -> None:
    """Names are put in the order of the alphabet, and numbers in them by their size."""
    page = open_page(path)
    sort(page, "method")
    assert names(page) == ["bitfit", "dora", "head", "lora 9", "lora 10"]
    sort(page, "note")
    assert names(page) == ["lora 9", "bitfit", "lora 10", "head", "dora"]
    assert page.locator("th[aria-sort]").count() == 1


def test_number_that_only_looks_like_one_sorts_last(open_page: Open, tmp_path: Path) -> None:
    """A value without a key has no place among numbers, whatever its text is."""
    rows = (
        Row("a", (Value("1", None),)),
        Row("b", (Value("none", None),)),
        Row("c", (Value("12.3k", 12_300.0),)),
        Row("d", (Value("999", 999.0),)),
        Row("e", (Value("1e+04", 10_000.0),)),
    )
    part = Table("Odd numbers", "name", (Column("n"),), rows)
    document = Document("t", "s", (Section("a", "A", (part,)),))
    html.write(document, tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    sort(page, "n")
    sort(page, "n")
    assert names(page) == ["c", "e", "d", "a", "b"]


def test_filter_applies_to_all_tables_and_says_how_many_rows_it_hides(
    open_page: Open, path: Path
) -> None:
    """Boxes of one facet add up; a table without a row left goes, and so does its heading."""
    page = open_page(path)
    status = page.get_by_role("status")
    assert status.get_attribute("aria-live") == "polite"
    tick(page, "method", "dora")
    assert (names(page, 0), names(page, 1)) == (["dora"], ["dora"])
    expect(status).to_have_text("2 of 7 table rows shown, 5 hidden. Filter: method dora.")
    tick(page, "method", "head")
    assert (names(page, 0), names(page, 1)) == (["dora", "head"], ["dora"])
    tick(page, "task", "cola")
    expect(page.locator("table").first).to_be_hidden()
    expect(page.get_by_role("heading", name="rte")).to_have_count(0)
    assert names(page, 1) == ["dora"]
    expect(page.get_by_text("lora wins.")).to_be_hidden()
    expect(page.get_by_text("dora wins.")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    assert len(names(page, 0)) == 5
    expect(status).to_have_text("")
    expect(page.get_by_text("lora wins.")).to_be_visible()


def test_filtered_rows_stay_hidden_through_sorting(open_page: Open, path: Path) -> None:
    """Sorting moves rows and shows none that a filter hides."""
    page = open_page(path)
    tick(page, "method", "head")
    tick(page, "method", "lora 9")
    sort(page, "score")
    assert names(page) == ["lora 9", "head"]
    expect(page.locator("table").first.locator("tfoot")).to_be_visible()


def test_facets_with_one_value_offer_no_filter(open_page: Open, path: Path) -> None:
    """There is nothing to choose where all rows are alike."""
    page = open_page(path)
    assert page.locator("details.facet").count() == 2


def test_address_keeps_section_and_filters(open_page: Open, path: Path) -> None:
    """A filtered view can be linked: the same address shows the same rows."""
    page = open_page(path)
    tick(page, "method", "lora 9")
    tick(page, "task", "rte")
    page.get_by_role("link", name="Leaderboard").click()
    page.wait_for_function("location.hash.startsWith('#leaderboard&')")
    fragment = page.evaluate("location.hash")
    again = open_page(path, fragment)
    assert names(again, 0) == ["lora 9"]
    expect(again.locator("table").nth(1)).to_be_hidden()
    expect(again.get_by_role("status")).to_contain_text("1 of 7 table rows shown, 6 hidden")
    plain = open_page(path, "#leaderboard")
    assert len(names(plain, 0)) == 5


def test_address_with_unknown_names_shows_everything(open_page: Open, path: Path) -> None:
    """A link from another report, or a broken one, does no harm."""
    page = open_page(path, "#nowhere&method=unknown&x=%E0%A4%A&=1")
    assert len(names(page, 0)) == 5


def test_keyboard_reaches_every_control_and_enter_sorts(open_page: Open, path: Path) -> None:
    """Tab goes to the skip link first, then to filters and headings, each with a visible ring."""
    page = open_page(path)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent").strip())
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if reached[-1] == "score":
            page.keyboard.press("Enter")
            break
    assert {"Verdict", "method: all", "Dark colours", "method", "score"} <= set(reached)
    assert names(page)[0] == "lora 9"
    page.locator("details[data-facet=method] summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert names(page) == ["bitfit"]


def test_page_tells_its_parts_to_a_screen_reader(open_page: Open, path: Path) -> None:
    """Landmarks, the names of tables and regions, and the scope of heads are all there."""
    page = open_page(path)
    for role, name in (
        ("search", "Filter all tables"),
        ("navigation", "Sections"),
        ("table", "Table 1. Scores of rte"),
        ("group", "Table 1. Scores of rte"),
        ("region", "Leaderboard"),
    ):
        assert page.get_by_role(role, name=name, exact=True).count() == 1, name  # type: ignore[arg-type]
    assert page.get_by_role("main").count() == page.get_by_role("banner").count() == 1
    assert page.locator("thead th:not([scope=col]), tbody th:not([scope=row])").count() == 0
    assert page.locator("html").get_attribute("lang") == "en"


def test_button_turns_the_colours_over(open_page: Open, path: Path) -> None:
    """It starts from what the system asks for, and says which it shows."""
    background = "getComputedStyle(document.body).backgroundColor"
    for scheme, other in (("light", "dark"), ("dark", "light")):
        page = open_page(path, scheme=scheme)  # type: ignore[arg-type]
        button = page.get_by_role("button", name="Dark colours")
        before = page.evaluate(background)
        assert button.get_attribute("aria-pressed") == str(scheme == "dark").lower()
        button.click()
        assert button.get_attribute("aria-pressed") == str(other == "dark").lower()
        assert page.evaluate(background) != before
        button.click()
        assert page.evaluate(background) == before


def test_columns_explain_themselves(open_page: Open, path: Path) -> None:
    """What a heading means can be read without a mouse, and shows under one."""
    page = open_page(path)
    assert page.locator("thead").get_by_title("mean over seeds").all_inner_texts() == [
        "score",
        "score",
    ]
    page.get_by_text("What the columns mean").click()
    expect(page.get_by_text("mean over seeds")).to_be_visible()


def test_first_mention_of_a_term_in_a_section_leads_to_its_sentence(
    open_page: Open, tmp_path: Path
) -> None:
    """Wherever it stands: in text, lists, captions, cells and the meaning of columns."""
    terms = ("seed", "median", "Brier score", "temperature scaling", "collapsed", "checkpoint")
    columns = (Column("why", "temperature scaling of NLL", "text"),)
    parts = (
        Text("A seed."), Bullets(("One seed, the median.",)), drawn("Brier score of the median"),
        Table("By checkpoint", "method", columns, (Row("lora", (Value("seeds collapsed"),)),)),
    )  # fmt: skip
    sections = (Section("a", "A", parts), Section("b", "B", parts))
    html.write(Document("t", "s", sections, GLOSSARY), tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    for name in ("a", "b"):
        links = page.locator(f"#{name} a.term").evaluate_all(
            "all => all.map(e => e.getAttribute('href'))"
        )
        assert sorted(links) == sorted(f"#{anchor(term)}" for term in (*terms, "NLL"))
        assert all(page.locator(link).count() == 1 for link in links)


def test_hostile_text_stays_text_everywhere(open_page: Open, tmp_path: Path) -> None:
    """Names from data run no code and load nothing, in every kind of part and in filters."""
    facets = dict.fromkeys(("task", "backbone", "method", "variant"), HOSTILE)
    rows = (Row(HOSTILE, (Value(HOSTILE),), None, facets), Row("plain", (Value("x"),)))
    others = dict.fromkeys(facets, "other")
    parts = (
        Text(HOSTILE), Subheading(HOSTILE, {"task": HOSTILE}), Bullets((HOSTILE,)),
        Terms({HOSTILE: HOSTILE}),
        drawn(f"{HOSTILE} style=\"}} body {{ display: none }} x{{\""),
        Table(HOSTILE, HOSTILE, (Column(HOSTILE, HOSTILE, "code"),),
              (*rows, Row("o", (Value(""),), None, others)), rows[0]),
    )  # fmt: skip
    html.write(
        Document(HOSTILE, HOSTILE, (Section("a", HOSTILE, parts),)), tmp_path / "report.html"
    )
    page = open_page(tmp_path / "report.html")
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    assert page.title() == HOSTILE
    assert "display: none" in str(page.locator("svg text").text_content())
    assert page.locator("svg").get_attribute("aria-label").startswith(HOSTILE)  # type: ignore[union-attr]
    expect(page.locator("svg")).to_be_visible()
    tick(page, "method", HOSTILE)
    again = open_page(tmp_path / "report.html", page.evaluate("location.hash"))
    assert names(again) == [HOSTILE, "plain"]


def test_policy_stops_code_that_is_not_the_page_s_own(browser: Browser, path: Path) -> None:
    """Were something not escaped, the browser would still refuse to run it."""
    text = path.read_text(encoding="utf-8")
    hole = "<script>document.title = 'taken'</script><p onclick='document.title = 1'>Press</p>"
    path.write_text(text.replace("<main", hole + "<main"), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.get_by_text("Press").click()
    assert page.title() == "A report"
    sort(page, "score")
    assert names(page)[0] == "lora 9"
    page.close()
