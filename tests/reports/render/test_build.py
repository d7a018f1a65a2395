"""The report's files: complete, escaped, self-contained, built without training libraries."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import StoreError
from gapbench.bench.store.record import Status
from gapbench.reports.figures import theme as figure_theme
from gapbench.reports.render.build import Built, build, terminal
from gapbench.reports.render.report import document, gather
from tests.reports.conftest import Study
from tests.support.results_folder import fill, make_cell, make_record, make_task, put

VOID = {"meta", "br", "link", "img", "input", "hr", "wbr"}


class Page(HTMLParser):
    """Collects tags, and text outside of filters, and fails on tags that do not nest."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "form" not in self.open:
            self.text.append(data)

    def count(self, tag: str) -> int:
        """Return how often a tag stands in the page."""
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def results(few: Study) -> Path:
    """A results folder of three methods on two tasks."""
    return few.results


@pytest.fixture(scope="module")
def built(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The report of that folder; drawing it changes no global setting of matplotlib."""
    before = dict(mpl.rcParams)
    made = build(results, tmp_path_factory.mktemp("built"))
    assert dict(mpl.rcParams) == before
    return made


def test_build_writes_a_page_with_every_section(built: Built) -> None:
    """The page holds every section, table and figure, the answer first."""
    page = Page(built.report)
    sections = [attrs.get("id") for tag, attrs in page.tags if tag == "section"]
    assert " ".join(filter(None, sections)) == (
        "answer all-tasks tasks throughput claims failures protocol limits glossary"
    )
    # Matrices of scores and gaps; forest, tradeoff, curves and levels of two tasks; reliability of
    # the classification task; speed on one machine.
    assert page.count("svg") == 12
    text = "".join(page.text)
    assert "Every planned run ended well." in text
    assert "best possible" in text
    assert text.count("gapbench reproduce ") == 6


def test_build_writes_tables_that_read_back(built: Built, results: Path) -> None:
    """Floats in the CSV files have twelve digits, counts no decimals, and blanks stay blank."""
    read = pd.read_csv(built.leaderboard, dtype="str")
    digits = partial(pytest.approx, rel=1e-11, abs=0)
    assert read["score"].astype("float64").tolist() == digits(built.table["score"].tolist())
    assert read["trainable_params"].tolist() == ["14000"] * 6
    assert read["tune_trials"].isna().all()
    runs = pd.read_csv(built.runs, dtype="str")
    assert len(runs) == 18
    for _, row in runs.iterrows():
        record = json.loads((results / row["path"]).read_text(encoding="utf-8"))
        assert float(row["generalization_gap"]) == digits(record["generalization_gap"])
        assert float(row["train_seconds"]) == digits(record["cost"]["train_seconds"])


def test_build_shows_hostile_names_as_text(tmp_path: Path) -> None:
    """Markup and formulas in names and messages reach the page as text, in figures too."""
    hostile = "<script>alert(1)</script>$x$_&\"'"
    store = fill(tmp_path / "results", methods=("lora", hostile), tasks=(make_task(),))
    failed = make_record(make_cell("bad"), status=Status.FAILED, detail=hostile)
    put(store, failed)
    page = Page(build(store.root, tmp_path / "out").report)
    assert page.count("script") == 1
    assert not any("alert" in (value or "") for tag, attrs in page.tags
                   for name, value in attrs.items() if name.startswith("on"))  # fmt: skip
    assert "".join(page.text).count("<script>alert(1)</script>") >= 4


def test_build_makes_a_page_that_asks_for_nothing_from_outside(built: Built) -> None:
    """No link, image, style or script leads out of the file, and its policy forbids them."""
    page, source = Page(built.report), built.report.read_text(encoding="utf-8")
    for tag, attrs in page.tags:
        assert tag not in {"link", "img", "iframe", "object"}
        for name, value in attrs.items():
            if name in {"src", "href", "xlink:href"}:
                assert (value or "").startswith("#")
    assert not re.search(r"url\((?!#)|@import", "".join(page.text))
    policies = [attrs["content"] for tag, attrs in page.tags if "http-equiv" in attrs]
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policies == [
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    ]


@pytest.mark.usefixtures("no_figures")
def test_build_twice_gives_equal_files(built: Built, few: Study, tmp_path: Path) -> None:
    """The report is a function of the records alone; the other page has its own drawings."""
    assert few.page.read_bytes() == built.report.read_bytes()
    again = build(few.results, tmp_path)
    assert again.runs.read_bytes() == built.runs.read_bytes()


@pytest.mark.usefixtures("no_figures")
def test_build_lists_what_went_wrong_with_reasons(tmp_path: Path) -> None:
    """Failed, skipped, missing and unreadable runs each stand in the page with their reason."""
    store = fill(tmp_path / "results", methods=("lora",), tasks=(make_task(),))
    cells = {name: make_cell(name) for name in ("bad", "odd", "never")}
    store.write_plan("quickstart", [(Run(cell, 0), "default") for cell in cells.values()])
    put(store, make_record(cells["bad"], status=Status.OUT_OF_MEMORY, detail="9 GiB wanted"))
    put(store, make_record(cells["odd"], status=Status.SKIPPED, detail="too few layers"))
    broken = store.root / store.plans()[0].path
    broken.write_text("{", encoding="utf-8")
    text = "".join(Page(build(store.root, tmp_path / "out").report).text)
    for phrase in ("out of memory", "9 GiB wanted", "too few layers", "not run yet", str(broken)):
        assert phrase in text
    assert f"unreadable: {broken}" in terminal(store.root)


@pytest.mark.parametrize(
    ("suites", "title"),
    [
        ("a", "a: syn_sentiment on tiny-bert"),
        ("ab", "a and b: syn_sentiment on tiny-bert"),
        ("abc", "a and 2 other suites: syn_sentiment on tiny-bert"),
    ],
)
def test_title_leaves_out_no_suite_unsaid(tmp_path: Path, suites: str, title: str) -> None:
    """Of three, two were named and the third was not spoken of."""
    store = fill(tmp_path / "results", methods=(), tasks=(make_task(),))
    for suite in suites:
        store.write_plan(suite, [(Run(make_cell("lora"), 0), "default")])
    put(store, make_record(make_cell("lora")))
    assert document(gather(store.root)).title == title


@pytest.mark.usefixtures("page_alone")
def test_build_labels_the_paper_protocol_in_page_and_table(tmp_path: Path) -> None:
    """A run whose checkpoint was chosen on test is marked wherever its name stands."""
    store = fill(tmp_path / "results", methods=("head",), tasks=(make_task(),))
    for seed in range(2):
        put(store, make_record(make_cell("lora", protocol="paper"), seed))
    built = build(store.root, tmp_path / "out")
    assert built.table.set_index("method").loc["lora", "variant"] == "[paper]"
    page = Page(built.report)
    named = [text.strip() for text in page.text if re.match(r"lora\b", text.strip())]
    assert len(named) >= 5
    assert all("[paper]" in text for text in named)


@pytest.mark.parametrize("status", [Status.FAILED, Status.SKIPPED, Status.INTERRUPTED])
def test_build_without_any_score_still_makes_a_page(tmp_path: Path, status: Status) -> None:
    """A suite in which nothing ended well is reported as such, without figures."""
    store = fill(tmp_path / "results", methods=(), tasks=(make_task(),))
    put(store, make_record(make_cell("lora"), status=status, detail="because"))
    page = Page(build(store.root, tmp_path / "out").report)
    assert page.count("svg") == 0
    assert "No trained method has a score yet." in "".join(page.text)


def test_build_with_one_seed_of_one_method_without_extras_makes_a_page(tmp_path: Path) -> None:
    """Runs without curve, calibration, truth, checkpoint or cost leave gaps and no error."""
    store = fill(tmp_path / "results", methods=(), tasks=(make_task(),))
    bare: dict[str, Any] = dict.fromkeys(("calibration", "truth", "checkpoint", "cost"))
    store.write(make_record(make_cell("lora"), curve=(), **bare))
    page = Page(build(store.root, tmp_path / "out").report)
    text = "".join(page.text)
    assert "Too few seeds for an answer." in text
    assert page.count("svg") == 2


@pytest.mark.usefixtures("no_figures")
def test_build_into_an_unwritable_place_says_what_to_do(tmp_path: Path) -> None:
    """An output folder that is a file is an error that names it and the flag."""
    root = fill(tmp_path / "results", methods=("lora",), seeds=1).root
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(StoreError, match=r"cannot be written.*--out"):
        build(root, blocked)


def test_build_and_terminal_of_an_empty_folder_refuse(tmp_path: Path) -> None:
    """There is nothing to report, and no file is written."""
    with pytest.raises(StoreError, match="gapbench run quickstart"):
        build(tmp_path / "none", tmp_path / "out")
    with pytest.raises(StoreError, match="gapbench run quickstart"):
        terminal(tmp_path / "none")
    assert not (tmp_path / "out").exists()


def test_import_of_reports_loads_no_training_library() -> None:
    """Reports are built where neither torch nor transformers is wanted, and without pyplot."""
    code = (
        "import sys, gapbench.reports.render.build, gapbench.reports.render.html; "
        "print([name for name in ('torch', 'transformers', 'datasets', 'peft', 'optuna', "
        "'sqlalchemy', 'matplotlib.pyplot') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rrggbb`` as WCAG 2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(("theme", "page"), [("light", "#ffffff"), ("dark", "#14171b")])
def test_colours_stand_out_from_the_page_in_both_themes(theme: str, page: str) -> None:
    """Method colours reach a contrast of 3 to 1, text 4.5 to 1."""
    found = dict(re.findall(r"--([a-z]+(?:-\d)?): (#[0-9a-f]{6});", figure_theme.css(theme)))
    assert len(found) == 12
    for name, colour in found.items():
        first, second = sorted((luminance(colour), luminance(page)), reverse=True)
        contrast = (first + 0.05) / (second + 0.05)
        if name not in {"rule", "page"}:
            assert contrast >= (4.5 if name == "ink" else 3.0), name


def looks(*names: str) -> list[tuple[str, str]]:
    """Return colour and marker of methods."""
    return [(figure_theme.colour(name), figure_theme.marker(name)) for name in names]


def test_built_in_methods_have_looks_of_their_own() -> None:
    """A new one stands at the end of `methods/looks.txt`; those of other packages get any look."""
    folder = Path(figure_theme.__file__).parents[2] / "methods"
    names = {path.stem for path in folder.glob("[a-z]*.py")} - {"peft"}
    assert names == set(figure_theme._listed())
    assert len(set(looks(*names))) == len(names) > 40
    assert figure_theme._place("elsewhere") == 54  # in every process and release


@pytest.mark.parametrize(
    ("together", "alike"),
    [
        ("full head lora hiddenkey lora_dropout bilora flexora lora_early_stop", 0),
        (
            "lora hiddenkey lora_dropout flexora lora_weight_decay label_smoothing lora_early_stop "
            "allora bilora",
            1,
        ),
        (
            "lora hiddenkey lora_dropout flexora lora_weight_decay label_smoothing lora_early_stop "
            "allora lora_swa ivon",
            2,
        ),
    ],
)
def test_methods_that_are_often_compared_share_no_colour(together: str, alike: int) -> None:
    """There are eight; of nine or ten methods as many share one as have to."""
    names = together.split()
    assert len({colour for colour, _ in looks(*names)}) == len(names) - alike


def test_outline_of_a_marker_fills_its_square() -> None:
    """Pages draw it beside names, where figures draw the marker itself."""
    assert figure_theme.outline("^") == "50 0, 0 100, 100 100, 50 0"
    shapes = {figure_theme.shape(name) for name in figure_theme._listed()}
    assert len(shapes) == figure_theme.shapes().count("polygon(") == 9
