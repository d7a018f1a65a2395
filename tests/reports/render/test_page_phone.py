"""What a phone shows of a page before anyone scrolls."""

from pathlib import Path

import pytest

from gapbench.reports.render import html
from gapbench.reports.render.report import document, gather
from tests.reports.conftest import Open
from tests.support import results_folder
from tests.support.results_folder import fill, make_task
from tests.support.small_suite import REPOSITORY

# The lines of the name of the first method of the answer.
LINES = """
(() => {
  const lines = new Map();
  for (const node of e.querySelector("th").childNodes) {
    if (node.nodeType !== Node.TEXT_NODE) continue;
    for (let place = 0; place < node.length; place++) {
      const range = document.createRange();
      range.setStart(node, place);
      range.setEnd(node, place + 1);
      const top = Math.round(range.getBoundingClientRect().top);
      lines.set(top, (lines.get(top) ?? "") + node.data[place]);
    }
  }
  return [...lines.values()];
})()
"""


@pytest.mark.parametrize(
    ("name", "lines", "costs"),
    [
        ("airline_tweets", ["label_", "smoothing"], 3),
        ("small_data", ["mixup_hidden"], 2),
        ("sick", ["bilora / three ", "times the rate"], 1),
    ],
)
def test_phone_shows_the_answer_and_its_costs_first(
    open_page: Open, tmp_path: Path, name: str, lines: list[str], costs: int
) -> None:
    """On 390 x 844 pixels, with intervals; contents are folded, and no name breaks in a word."""
    study = REPOSITORY / "results" / "reference" / "measured" / name
    html.write(document(gather(study)), tmp_path / "report.html")
    page = open_page(tmp_path / "report.html", width=390)
    assert page.locator("nav").is_hidden()
    rows = page.locator(".card .columns tbody tr")
    shown = {each.locator("th").inner_text(): each for each in rows.all()}
    for cost in ("training cost", "scoring time", "peak memory")[:costs]:
        box = shown[cost].bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 844
    assert " to " in shown["accuracy"].locator("td").first.inner_text()
    assert "no difference shown" in shown["accuracy"].inner_text()
    assert page.locator(".card thead").evaluate(f"(e) => {LINES}") == lines
    page.get_by_text("Contents and filters").click()
    page.get_by_role("link", name="Limits").click()
    assert page.evaluate("location.hash") == "#limits"


def test_card_of_long_names_is_no_wider_than_a_phone(
    open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They break where they join words; what is still too wide scrolls in its frame."""
    best = "a_winner_with_long_name_adapter"
    monkeypatch.setitem(results_folder.SKILL, best, 0.9)
    tasks = tuple(make_task(f"customer_reviews_of_{what}") for what in ("books", "electronics"))
    root = fill(tmp_path / "results", methods=("lora", best), tasks=tasks).root
    html.write(document(gather(root)), tmp_path / "report.html")
    page = open_page(tmp_path / "report.html", width=390)
    assert page.locator(".card .tasks td", has_text=best).count() == 2
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
