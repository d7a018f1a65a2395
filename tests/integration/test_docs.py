"""Pages show what the stored reference results say, and name files that there are."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from gapbench.bench.adaptation import registry
from gapbench.bench.cli.commands import discover
from gapbench.bench.experiment.suite import load as load_suite
from gapbench.bench.tasks.kinds import task_classes
from gapbench.reports.claims.model import load as load_claims

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted((REPOSITORY / "docs" / "methods").glob("*.md"))
NAMED = re.compile(
    r"(?<![\w/.])((?:bench|docs|methods|reports|suites|tests)/[a-z_0-9/]+(?:\.py|\.sh|/))"
)


def _script(name: str) -> ModuleType:
    """Return a script of `docs`, which is no package."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


measured, claims_table = _script("measured"), _script("claims_table")


def test_page_of_claims_shows_the_stored_claims() -> None:
    """It is what `python docs/claims_table.py` writes."""
    text = claims_table.PAGE.read_text(encoding="utf-8")
    assert claims_table.filled(text, load_claims()) == text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_shows_the_stored_results(page: Path) -> None:
    """A page is what `python docs/measured.py` writes from the stored tables."""
    text = page.read_text(encoding="utf-8")
    assert measured.filled(text, page.stem, measured.load()) == text


def test_readme_counts_the_methods_and_the_full_suite_runs_them() -> None:
    """A method of the package is counted, has a row in `quickstart_full`, and a line in a list."""
    known = set(registry.discover())
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert f"gapbench has {len(known)} methods" in readme
    suite, _ = load_suite("quickstart_full")
    assert known - {row.method.partition(":")[0] for row in suite.methods} == set()
    listed = (REPOSITORY / "docs" / "methods.md").read_text(encoding="utf-8")
    assert [name for name in sorted(known) if f"`{name}" not in listed] == []


def test_every_command_has_a_line_on_the_page_of_commands() -> None:
    """With what it does, beside its own help."""
    page = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    assert [name for name in discover() if f"| `gapbench {name}" not in page] == []


def test_section_puts_a_method_beside_lora() -> None:
    """Scores come with half of their interval; what was not measured is a dash, not a number."""
    rows = [
        {"method": "lora", "score": 0.5, "generalization_gap": 0.2, "ece": 0.1},
        {"method": "dora", "score": 0.6, "score_ci_low": 0.5, "score_ci_high": 0.7},
        {"method": "lora", "score": 0.4, "variant": "rank 1"},
    ]
    shared = {"suite": "toy", "task": "rte", "backbone": "tiny", "metric": "accuracy", "n_seeds": 3}
    shared |= {"variant": "default"}
    columns = ["score_ci_low", "score_ci_high", "gap_ci_low", "gap_ci_high"]
    table = pd.DataFrame([shared | row for row in rows], columns=[*shared, *rows[0], *columns])
    lines = measured.section("dora", table).splitlines()
    assert lines[2] == "| rte | tiny | accuracy | 0.600 ± 0.100 | 0.500 | - | 0.200 | - | 0.100 |"
    assert measured.section("bilora", table) == "Not yet.\n"
    varied = measured.section("lora", table)
    assert "| rte, rank 1 | tiny | accuracy | 0.400 | 0.500 |" in varied
    both = pd.concat([table, table.assign(suite="other")])
    assert "| rte (other), rank 1 | tiny |" in measured.section("lora", both)


def test_every_suite_of_reference_results_is_stored() -> None:
    """The stored tables are those of suites that exist, maybe beside them, and hold scores."""
    table = measured.load()
    places = (REPOSITORY / "suites", measured.MEASURED)
    assert set(table["suite"]) <= {path.stem for place in places for path in place.rglob("*.yaml")}
    assert table["score"].notna().any()


def test_files_that_pages_name_exist() -> None:
    """A page names files and folders of the code by where they are."""
    pages = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]
    pages = [page for page in pages if page.name != "CHANGELOG.md"]
    named = {
        (page.relative_to(REPOSITORY), name)
        for page in pages
        for name in NAMED.findall(page.read_text(encoding="utf-8"))
    }
    assert len(named) > 50
    assert not [f"{page}: {name}" for page, name in named if not (REPOSITORY / name).exists()]


def test_glossary_names_what_exists() -> None:
    """Every symbol of the glossary is in the file beside it."""
    page = (REPOSITORY / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.count("|") == 5]
    words = [row for row in rows if "`" in row[-1]]
    assert len(words) > 50
    wrong = [
        symbol
        for *_, symbols, files in words
        for symbol in re.findall(r"`([^`]+)`", symbols)
        for text in ["".join((REPOSITORY / f).read_text() for f in re.findall(r"`([^`]+)`", files))]
        if not all(re.search(rf"\b{part}\b", text) for part in symbol.split("."))
    ]
    assert not wrong


def test_links_between_pages_lead_somewhere() -> None:
    """A link to a file of the repository is not broken."""
    pages = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]
    links = {
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        if "://" not in link
    }
    assert len(links) > 50
    assert not [f"{page}: {link}" for page, link in links if not (page.parent / link).exists()]


def test_readme_is_short() -> None:
    """The README is what a first reader needs; everything else has a page."""
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").split()) <= 1000


def test_page_of_suites_names_every_field_of_a_task_file() -> None:
    """Of all kinds of task."""
    page = (REPOSITORY / "docs" / "suites.md").read_text(encoding="utf-8")
    fields = {name for owner in task_classes().values() for name in owner.model_fields}
    assert [name for name in sorted(fields) if f"`{name}`" not in page] == []
