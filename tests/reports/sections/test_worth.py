"""Worth in examples: shown where the reference ran at several sizes, and of what."""

from pathlib import Path

import numpy as np
import pytest

from gapbench.bench.config.run import Budget, Cell, Run
from gapbench.bench.store.record import Status
from gapbench.bench.store.store import Store
from gapbench.reports.document.model import Table
from gapbench.reports.render.report import gather
from gapbench.reports.sections import worth
from tests.support.results_folder import _split, make_cell, make_record, make_task, put

SIZES = (128, 256, 512)
LORA = dict(zip(SIZES, (0.70, 0.75, 0.80), strict=True))


def _cell(method: str, size: int, **change: object) -> Cell:
    cell = make_cell(method, task=make_task())
    return cell.model_copy(update={"budget": Budget(steps=200, train_size=size), **change})


def _folder(root: Path, cells: dict[Cell, float], suite: str = "") -> Store:
    """Store five seeds of cells with given mean scores."""
    store = Store(root)
    store.open_for_writing()
    for cell, score in cells.items():
        runs = [Run(cell, seed) for seed in range(5)]
        name = suite or f"of {cell.budget.train_size}"
        store.write_plan(name, [(run, "default") for run in runs])
        shared = 0.001 * np.random.default_rng(1).standard_normal(5)
        own = 0.001 * np.random.default_rng([*cell.method.encode()]).standard_normal(5)
        for run, noise in zip(runs, shared + own - (shared + own).mean(), strict=True):
            splits = {name: _split(cell, score + noise, 0.5) for name in ("train", "test")}
            record = make_record(cell, run.seed)
            splits["validation"] = record.splits["validation"]
            put(store, record.model_copy(update={"splits": splits}))
    return store


def _shown(store: Store) -> dict[str, str] | None:
    found = worth.section(gather(store.root))
    if found is None:
        return None
    [table] = [part for part in found.flat if isinstance(part, Table)]
    return {row.name: row.values[1].text for row in table.rows}


def test_rows_are_worth_examples_of_the_reference(tmp_path: Path) -> None:
    """Half way up in score is half way in the logarithm; beyond the curve there is one end."""
    cells = {_cell("lora", size): score for size, score in LORA.items()}
    cells |= {_cell("lora_dropout", 256): 0.775, _cell("full", 256): 0.9, _cell("head", 256): 0.6}
    shown = _shown(_folder(tmp_path, cells))
    assert shown is not None
    assert shown["lora"] == ""
    between = 256 * 2**0.5 - 256
    assert shown["lora_dropout"].startswith(f"about {round(between, -1):+.0f} (+")
    assert shown["full"] == "more than +260"
    assert shown["head"] == "less than -130"


@pytest.mark.parametrize("change", [{"backbone_dropout": 0.1}, {"config": {"rank": 4}}])
def test_cells_that_differ_otherwise_make_no_curve(
    tmp_path: Path, change: dict[str, object]
) -> None:
    """Other settings of the reference, or of all, are another curve."""
    cells = {_cell("lora", 256): 0.75, _cell("lora_dropout", 256): 0.8}
    cells[_cell("lora", 512, **change)] = 0.9
    assert _shown(_folder(tmp_path, cells)) is None


def test_row_that_lost_a_run_is_worth_nothing_that_is_told(tmp_path: Path) -> None:
    """What is left of it would flatter, as no untrained row stands in for the lost run."""
    cells = {_cell("lora", size): score for size, score in LORA.items()}
    cells |= {_cell("lora_dropout", 256): 0.775, _cell("full", 256): 0.78}
    store = _folder(tmp_path, cells)
    lost = store.record_path(Run(_cell("full", 256), 4))
    lost.unlink()
    failed = make_record(_cell("full", 256), 4, status=Status.FAILED, detail="no room")
    put(store, failed)
    shown = _shown(store)
    assert shown is not None
    assert shown["full"] == ""
    assert shown["lora_dropout"].startswith("about ")
