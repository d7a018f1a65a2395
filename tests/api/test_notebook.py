"""The notebooks of the documentation, run as a reader runs them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_suite import REPOSITORY

nbformat = pytest.importorskip("nbformat")
LESS = {
    r"\"tasks\": [\"syn_sentiment\"]": (
        r"\"tasks\": [{\"task\": \"syn_sentiment\", \"settings\": {\"validation_size\": 40, "
        r"\"source\": {\"sizes\": {\"train\": 120, \"test\": 60}}}}]"
    ),
    r"{\"epochs\": 6, \"evaluations\": 6}": r"{\"steps\": 6, \"evaluations\": 2}",
    "range(600)": "range(80)",
    r"print(Path(\"reviews.yaml\").read_text())": (
        r"whole = Path(\"reviews.yaml\").read_text()\n"
        r"fewer = whole.replace(\"epochs: 25\", \"epochs: 2\")\nassert fewer != whole\n"
        r"Path(\"reviews.yaml\").write_text(fewer)\nprint(fewer)"
    ),
    r"\"seeds\": 3": r"\"seeds\": 2",
}
"""What a reader runs, and the smaller work of these tests."""
FOLDER = REPOSITORY / "docs" / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))

runs_cells = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_stored_without_outputs(name: str) -> None:
    """What a machine gave is no part of it, so that changes can be read."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Start one kernel for all notebooks, since a start takes as long as their cells.

    It has no ipywidgets, which gapbench does not bring.
    """
    nbclient = pytest.importorskip("nbclient")
    client = nbclient.NotebookClient(nbformat.v4.new_notebook(), timeout=300)
    with client.setup_kernel():
        client.nb.cells = [
            nbformat.v4.new_code_cell("import sys; sys.modules['ipywidgets'] = None")
        ]
        client.execute_cell(client.nb.cells[0], 0)
        yield client


def executed(name: str, client: Any, folder: Path) -> list[dict[str, Any]]:
    """Run every cell of a notebook and return what was shown, by media type.

    Runs are shorter and fewer than those of a reader, and the rest is the same. No name, and no
    registered method, is left from the notebook before.
    """
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert any(whole in text for whole in LESS)
    for whole, less in LESS.items():
        text = text.replace(whole, less)
    client.nb = nbformat.reads(text, as_version=4)
    afresh = nbformat.v4.new_code_cell(
        f"%reset -f\n%cd -q {folder}\n"
        "from gapbench.bench.core import plugins; plugins.registered.clear(); del plugins"
    )
    client.nb.cells.insert(0, afresh)
    for index, cell in enumerate(client.nb.cells):
        client.execute_cell(cell, index)
    shown = [
        {"text/plain": output["text"]} if "text" in output else output["data"]
        for cell in client.nb.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    assert not [data for data in shown if "Warning" in data.get("text/plain", "")]
    return shown


def html(shown: list[dict[str, Any]]) -> str:
    """Return all HTML that was shown."""
    return "\n".join(data.get("text/html", "") for data in shown)


@pytest.mark.slow
@runs_cells
def test_first_study_shows_its_results(client: Any, tmp_path: Path) -> None:
    """A method of the notebook included; the last cell says what it did."""
    shown = executed("first_study", client, tmp_path)
    assert "4 runs (4 ok)" in html(shown)
    assert "ANSWER: syn_sentiment on tiny-encoder" in html(shown)
    assert any("image/png" in data for data in shown)
    last = shown[-1]["text/plain"]
    assert last.startswith("A: confidence_penalty\nB: lora\n")
    paths = list((tmp_path / "first_study" / "runs").rglob("seed-*.json"))
    assert len(paths) == 6


@pytest.mark.slow
@runs_cells
def test_own_data_leads_to_an_answer(client: Any, tmp_path: Path) -> None:
    """From a CSV file over `init` and `check` to a card and a plot."""
    shown = executed("own_data", client, tmp_path)
    text = "\n".join(data["text/plain"] for data in shown)
    assert "tasks:" in text
    assert "ANSWER: reviews" in html(shown)
    assert any("image/png" in data for data in shown)


@pytest.mark.slow
@runs_cells
def test_own_method_is_compared_and_is_lora_where_it_is_off(client: Any, tmp_path: Path) -> None:
    """Its class is as short as the title says, and a weight of 0 gives LoRA's scores."""
    source = nbformat.read(FOLDER / "own_method.ipynb", as_version=4).cells[2].source
    assert len(source.splitlines()) <= 30
    shown = executed("own_method", client, tmp_path)
    assert "strong" in html(shown)
    lines = [line.split() for line in shown[-1]["text/plain"].splitlines()[-2:]]
    assert all(first == second for _, first, second in lines)


@pytest.mark.slow
@runs_cells
def test_results_are_read_with_pandas(client: Any, tmp_path: Path) -> None:
    """An accuracy from stored outputs is the stored accuracy."""
    shown = executed("reading_results", client, tmp_path)
    said = next(d["text/plain"] for d in shown if "as stored" in d["text/plain"]).split()
    assert said[1].rstrip(",") == said[-1]
    assert (tmp_path / "leaderboard.csv").exists()
    assert any("image/png" in data for data in shown)
