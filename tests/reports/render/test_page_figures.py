"""Figures in a real browser: what marks say, how filters reach them, and the choice of axes."""

import re
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from playwright.sync_api import expect

from gapbench.reports.document.model import (
    Column,
    Document,
    FigureArtifact,
    Row,
    Section,
    Table,
    Value,
)
from gapbench.reports.render import html
from tests.reports.conftest import Open, Study
from tests.support.results_folder import FEW


@pytest.fixture
def report(few: Study) -> Path:
    """Return the page of three methods on two tasks."""
    return few.page


def test_marks_say_what_they_show_and_follow_the_filter(open_page: Open, report: Path) -> None:
    """A mark names its method, its values and its seeds; those of other methods fade."""
    page = open_page(report, "#method=lora", width=1400)
    marks = page.locator("svg [data-method=lora]")
    assert "seeds" in str(marks.first.locator("title").text_content())
    assert page.locator("svg [data-method=head]:not(.dim)").count() == 0
    assert page.locator("svg [data-method=lora].dim").count() == 0
    findings = page.locator("figure.picture figcaption strong")
    assert all("Without filters: " in said for said in findings.all_inner_texts() if len(said) > 10)
    page.get_by_role("button", name="Clear filters").click()
    assert not any("Without" in said for said in findings.all_inner_texts())
    page.locator("[data-facet=method] summary").click()
    page.get_by_label("lora", exact=True).check()
    figure = page.locator("figure[data-points]").first
    mark = figure.locator("svg [data-method=lora]").last
    mark.scroll_into_view_if_needed()
    mark.hover()
    expect(page.locator("#tip")).to_contain_text("lora: ")


def test_metrics_are_named_in_words(open_page: Open, report: Path) -> None:
    """In text, tables and figures; the keys of suites and files are not for readers."""
    text = str(open_page(report).locator("main").text_content())
    assert text.count("mean squared error") > 10
    assert not re.search(r"\bmse\b", text)


def test_panels_that_fade_keep_the_scale_of_those_beside_them(
    open_page: Open, report: Path
) -> None:
    """Only the first panel of a row bears the numbers that the others are read by."""
    page = open_page(report, "#method=head", width=1400)
    first = page.locator("#tasks svg g.dim:has(> [transform^='rotate(-90'])").first
    seen = """e => {
      let shown = 1;
      for (; e.tagName !== "svg"; e = e.parentElement) shown *= getComputedStyle(e).opacity;
      return shown;
    }"""
    assert {each.evaluate(seen) for each in first.locator("> text[x]").all()} == {1}
    assert first.locator("> path").last.evaluate(seen) < 0.2
    assert first.locator("> text:not([x])").first.evaluate(seen) < 0.2


def test_filters_reach_names_and_cells(open_page: Open, report: Path) -> None:
    """A cell of the figure of all tasks has a task too, and a name fades with its point."""
    page = open_page(report, "#method=lora_dropout&task=syn_sentiment", width=1400)
    cells = page.locator("#all-tasks figure.picture").first.locator("svg [data-task]")
    said = cells.locator("title").all_text_contents()
    assert all("seeds" in each and " to " in each for each in said)
    kept = cells.and_(page.locator(":not(.dim)"))
    assert kept.locator("title").all_text_contents() == [said[0]]
    assert kept.get_attribute("data-method") == "lora_dropout"
    names = page.locator("figure[data-points] svg").last.locator("text", has_text="lora_dropout")
    assert names.count() == 2
    assert names.locator("xpath=ancestor::*[@data-method='lora_dropout']").count() == 2
    note = page.get_by_text("they change no sentence")
    expect(note.first).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(note.first).to_be_hidden()


def test_methods_have_the_markers_of_figures_in_tables_and_drawn_plots(
    open_page: Open, report: Path
) -> None:
    """More methods than colours are told apart by them."""
    page = open_page(report, width=1400)
    shape = "e => getComputedStyle(e, '::before').clipPath"
    rows = {name: f"figure.table tr[data-method={name}] th[style]" for name in ("lora", "head")}
    found = [page.locator(each).first.evaluate(shape) for each in rows.values()]
    assert all(each.startswith("polygon(") for each in found)
    assert found[0] != found[1]
    figure = page.locator("figure[data-points]").first
    figure.get_by_role("combobox").first.select_option("ece")
    drawn = figure.locator("svg.drawn")
    points = [drawn.locator(f"[data-method={name}] polygon") for name in rows]
    assert points[0].get_attribute("points") != points[1].get_attribute("points")


def test_both_axes_of_a_plot_can_be_chosen_and_taken_back(open_page: Open, report: Path) -> None:
    """The plot is drawn anew with a name at every point; "as printed" brings the first one back."""
    page = open_page(report, width=1400)
    figure = page.locator("figure[data-points]").first
    printed = figure.locator("svg").inner_html()
    up, across = figure.get_by_role("combobox").all()
    across.select_option("peak_memory_bytes")
    expect(figure.locator("figcaption")).not_to_contain_text(
        "no other compared method", use_inner_text=True
    )
    ticks = figure.locator("svg.drawn > text").all_text_contents()
    assert ticks
    assert not any(re.search(r"\d[kMGTP]$", each) for each in ticks)
    across.select_option("train_seconds")
    up.select_option("ece")
    drawn = figure.locator("svg.drawn")
    expect(drawn).to_be_visible()
    label = str(drawn.get_attribute("aria-label"))
    assert label.startswith("calibration error (ECE) (lower is better) against training time, s")
    names = {name.strip() for name in drawn.locator("g text").all_text_contents()}
    assert names == set(FEW)
    assert drawn.locator("g line").count() == 0
    up.select_option("score")
    bars = drawn.locator("g line").evaluate_all("all => all.map(e => e.getBBox().height)")
    assert len(bars) == len(FEW)
    assert min(bars) > 2
    for choice in (across, up):
        choice.select_option("")
    assert figure.locator("svg").inner_html() == printed
    expect(figure.locator("figcaption")).to_contain_text(
        "no other compared method", use_inner_text=True
    )


def test_names_of_a_plot_that_is_drawn_anew_hide_no_other(open_page: Open, tmp_path: Path) -> None:
    """Of many points on one spot some go without; the caption says so, and their marks tell it."""
    names = [f"lora / variant {place}" for place in range(20)]
    data = pd.DataFrame(
        {"name": names, "method": "lora", "variant": names, "about": ""}
        | {"score": 0.5, "generalization_gap": 0.1, "trainable_params": 74_900}
    )
    axes = {name: (name, "", "low") for name in data.columns[4:]}
    figure = FigureArtifact("points", "Points", Figure((3, 2)), data, "Points.", axes)
    path = tmp_path / "report.html"
    html.write(Document("t", "s", (Section("a", "A", (figure,)),)), path)
    page = open_page(path)
    page.get_by_role("combobox").last.select_option("trainable_params")
    drawn = page.locator("svg.drawn")
    boxes = [each.bounding_box() for each in drawn.locator("g text").all()]
    assert 2 < len(boxes) < len(names)
    tops = sorted((box["x"], box["y"]) for box in boxes if box)
    assert len(set(tops)) == len(boxes)
    assert drawn.locator("g title").count() == len(names)
    expect(page.locator("figcaption")).to_contain_text("Point at a mark without a name")
    assert any(each.endswith("k") for each in drawn.locator("> text").all_text_contents())


def test_arrow_keys_go_from_mark_to_mark(open_page: Open, report: Path) -> None:
    """A figure is one stop of the keyboard; its marks tell the same there as under the pointer."""
    page = open_page(report, "#method=lora", width=1400)
    frame = page.locator("figure[data-points] .scroll").first
    titles = frame.locator("svg [data-method=lora] title").all_text_contents()
    frame.focus()
    for key, title in (("ArrowLeft", titles[-1]), ("ArrowRight", titles[0])):
        page.keyboard.press(key)
        expect(page.locator("#tip")).to_have_text(title)
        assert frame.locator(".at title").all_text_contents() == [title]
    page.keyboard.press("Escape")
    expect(page.locator("#tip")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tip")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator("#tip")).to_be_hidden()
    assert frame.locator(".at").count() == 0


def test_interval_of_the_score_sorts_as_the_score_does(open_page: Open, report: Path) -> None:
    """The best stands on top after the first click, over all tasks and on one."""
    page = open_page(report, width=1400)
    tables = page.locator("figure.table:has(button:text-is('95 %'))")
    compared = tables.filter(has=page.get_by_role("button", name="Δ score", exact=True)).all()
    assert len(compared) == 3
    for table in compared:
        tops = []
        for heading in ("95 %", "Δ score"):
            table.get_by_role("button", name=heading, exact=True).click()
            tops.append(table.locator("tbody th").first.inner_text())
        assert tops[0] == tops[1]


def test_table_is_copied_as_it_is_sorted(open_page: Open, report: Path) -> None:
    """Both forms hold the rows that are shown, in their order, and escape what their form needs."""
    page = open_page(report, "#method=lora", width=1400)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    table = page.locator("figure.table:visible").first
    for button, start in (("Copy CSV", "method,"), ("Copy LaTeX", "\\begin{tabular}{lr")):
        table.get_by_role("button", name=button).click()
        expect(table.get_by_text("Copied").last).to_be_visible()
        text = page.evaluate("navigator.clipboard.readText()")
        assert text.startswith(start)
        assert "lora" in text
        assert "head" not in text


def test_tasks_of_the_answer_are_copied_too(open_page: Open, report: Path) -> None:
    """What to use on each task, with what is shown, as the card has it."""
    page = open_page(report, width=1400)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".card").get_by_role("button", name="Copy CSV").click()
    expect(page.locator(".card").get_by_text("Copied")).to_be_visible()
    head, *lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert head == "task,use,what is shown"
    assert [line.partition(",")[0] for line in lines] == ["syn_sentiment", "syn_similarity"]


def test_text_is_set_to_the_left_in_latex(open_page: Open, tmp_path: Path) -> None:
    """Long text in a column of some width, or it would run over the edge of the paper."""
    columns = (Column("seeds"), Column("why", kind="text"), Column("how", kind="text"))
    rows = (
        Row("lora", (Value("5", 5), Value("a word"), Value("words " * 20))),
        Row("r-drop", (Value("<1 ms", 1), Value("-0.3 to -.1"), Value("2026-12-01"))),
    )
    section = Section("a", "A", (Table("T", "method", columns, rows),))
    html.write(Document("t", "s", (section,)), tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy LaTeX").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    text = page.evaluate("navigator.clipboard.readText()")
    assert text.startswith("\\begin{tabular}{lrlp{0.3\\linewidth}}\n")
    assert "r-drop & $<$1 ms & $-$0.3 to $-$.1 & 2026-12-01 \\\\" in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(open_page: Open, report: Path, scheme: str) -> None:
    """The checks of axe-core, with everything folded out."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(report, width=1400, scheme=scheme)  # type: ignore[arg-type]
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    faults = axe.run(page).response["violations"]
    serious = [each["id"] for each in faults if each["impact"] in {"serious", "critical"}]
    assert serious == []
