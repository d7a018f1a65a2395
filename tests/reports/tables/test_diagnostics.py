"""What methods report of themselves, put together over seeds."""

from pathlib import Path
from typing import Any

import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.store.store import Store
from gapbench.reports.results.load import load
from gapbench.reports.tables.diagnostics import findings
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.summary import summarise
from tests.support.results_folder import make_cell, make_record, put


def _filled(root: Path, notes: list[dict[str, Any]]) -> Store:
    store = Store(root)
    store.open_for_writing()
    cell = make_cell("lora")
    store.write_plan("quickstart", [(Run(cell, seed), "default") for seed in range(len(notes))])
    for seed, note in enumerate(notes):
        put(store, make_record(cell, seed, notes=note))
    return store


@pytest.mark.parametrize(
    ("notes", "text"),
    [
        (
            [{"selected_blocks": [0, 2]}, {"selected_blocks": [2]}, {}],
            "0 (1/2), 2 (2/2)",
        ),
        ([{"selected_blocks": []}, {"selected_blocks": []}], "none"),
        ([{"drift": 1.0}, {"drift": 3.0}], "2 (1 to 3)"),
        ([{"drift": 0.118}, {"drift": 0.122}], "0.120 (0.118 to 0.122)"),
        ([{"drift": 900}, {"drift": 1200}], "1.05k (900 to 1.20k)"),
        ([{"ranks": {"a": 2, "b": 5}}, {"ranks": {"a": 4, "b": 5}}], "a: 3 (2 to 4); b: 5"),
        ([{"form": "softmax"}, {"form": "softmax"}], "softmax"),
        ([{"pairs": [[1, 2], [3, 4]]}, {"pairs": [[1, 2]]}], "[1, 2] (2/2), [3, 4] (1/2)"),
    ],
)
def test_notes_of_seeds_are_put_together_by_type(
    notes: list[dict[str, Any]], text: str, tmp_path: Path
) -> None:
    """Choices are counted, numbers averaged, mappings taken entry by entry, words listed."""
    results = load(_filled(tmp_path, notes))
    (finding,) = findings(results, next(rows(summarise(results))))
    assert finding.name == "lora"
    assert finding.text == text


def test_runs_without_notes_report_nothing(tmp_path: Path) -> None:
    """Most methods have nothing to say."""
    results = load(_filled(tmp_path, [{}, {}]))
    assert results.diagnostics == {}
    assert findings(results, next(rows(summarise(results)))) == []
