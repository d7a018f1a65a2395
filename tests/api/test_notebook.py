"""The notebook of the documentation, run as a reader runs it."""

from pathlib import Path

import pytest

from tests.support.small_suite import REPOSITORY

nbformat = pytest.importorskip("nbformat")
BUDGET = r"{\"epochs\": 6, \"evaluations\": 6}"
SHORTER = BUDGET.replace("6", "2")
NOTEBOOK = REPOSITORY / "docs" / "notebooks" / "first_study.ipynb"


def test_notebook_is_stored_without_outputs() -> None:
    """What a machine gave is no part of it, so that changes can be read."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_notebook_runs_and_shows_its_results(tmp_path: Path) -> None:
    """Every cell runs, a method of the notebook included, and the last says what it did.

    Runs are a third as long as those of a reader, and the rest is the same.
    """
    nbclient = pytest.importorskip("nbclient")
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert text.count(BUDGET) == 1
    notebook = nbformat.reads(text.replace(BUDGET, SHORTER), as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=where).execute()
    shown = [
        output["data"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "data" in output
    ]
    text = "\n".join(data.get("text/html", "") for data in shown)
    assert "6 runs (6 ok)" in text
    assert "ANSWER: syn_sentiment on tiny-encoder" in text
    assert any("image/png" in data for data in shown)
    last = shown[-1]["text/plain"]
    assert last.startswith("A: confidence_penalty\nB: lora\n")
    paths = list((tmp_path / "first_study" / "runs").rglob("seed-*.json"))
    assert len(paths) == 9
