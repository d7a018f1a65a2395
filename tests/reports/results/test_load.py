"""From a results folder to one row per planned run: nothing is lost and nothing invented."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import RecordError, StoreError
from gapbench.bench.store.record import Provenance, Record, Status
from gapbench.bench.store.record_io import read_record
from gapbench.bench.store.store import Store
from gapbench.reports.results.load import load
from gapbench.reports.results.rows import MISSING
from tests.support.results_folder import FEW, fill, make_cell, make_record, make_task, put


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a complete results folder of two tasks, three methods and two seeds."""
    return fill(tmp_path, methods=FEW, seeds=2)


def test_load_of_a_complete_folder_gives_a_row_per_planned_run(store: Store) -> None:
    """Every planned run is one row, in plan order, that repeats its record's values."""
    results = load(store)
    assert results.runs["run_hash"].tolist() == [row.run_hash for row in store.plans()]
    for row in results.runs.itertuples():
        record = read_record(store.root / str(row.path))
        assert isinstance(record, Record)
        assert (row.config_hash, row.seed) == (record.cell_hash, record.seed)
        assert row.test_score == record.score("test")
        assert row.train_loss == record.splits["train"].loss
        assert row.gapbench == record.provenance.versions["gapbench"]
        assert len(results.curves[str(row.run_hash)]) == len(record.curve)
    assert set(results.cells) == set(results.runs["config_hash"])


ORIGIN = {"git_commit": "a" * 40, "git_dirty": False}
OTHER_ORIGIN: dict[str, Any] = {
    "started_at": datetime(2027, 1, 1, tzinfo=UTC),
    "versions": {"gapbench": "0.1.0", "torch": "2.13.0", "numpy": "2.5.0"},
    "code_hash": "d" * 64,
    "device": "CPU of another maker",
    "device_type": "mps",
    "threads": 3,
    "git_commit": "b" * 40,
    "git_dirty": True,
}


@pytest.mark.parametrize("field", Provenance.model_fields)
def test_whatever_is_recorded_of_the_origin_shows_in_a_row(field: str, tmp_path: Path) -> None:
    """Two runs that differ in nothing else have different rows."""
    rows = []
    for name, change in (("one", {}), ("other", {field: OTHER_ORIGIN[field]})):
        made = Store(tmp_path / name)
        made.open_for_writing()
        made.write_plan("one", [(Run(make_cell(), 0), "default")])
        record = make_record()
        origin = record.provenance.model_copy(update=ORIGIN | change)
        put(made, record.model_copy(update={"provenance": origin}))
        rows.append(load(made).runs.iloc[0])
    assert not rows[0].equals(rows[1])


def test_load_keeps_values_of_other_metrics_under_their_own_names(store: Store) -> None:
    """Secondary metrics have their columns, empty for tasks without them."""
    runs = load(store).runs
    regression = runs["task"] == "syn_similarity"
    assert (runs.loc[regression, "test/pearson"] == runs.loc[regression, "test_score"] / 2).all()
    assert runs.loc[~regression, "test/pearson"].isna().all()
    assert runs.loc[regression, "ece"].isna().all()


def test_load_with_a_planned_run_not_done_keeps_it_as_missing(store: Store) -> None:
    """A hole in the plan is a row with status missing, its cell's hash, and no numbers."""
    (store.root / store.plans()[0].path).unlink()
    row = load(store).runs.iloc[0]
    assert (row["status"], row["detail"]) == (MISSING, "not run yet")
    assert row["config_hash"] == Path(store.plans()[0].path).parent.name
    assert row[["test_score", "ece", "train_seconds"]].isna().all()


def test_load_with_a_truncated_record_lists_it_and_reads_the_rest(store: Store) -> None:
    """A record cut off by a crash is named with the reason; its run is missing."""
    path = store.root / store.plans()[0].path
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    results = load(store)
    assert len(results.unreadable) == 1
    assert str(path) in results.unreadable[0]
    assert results.runs.iloc[0]["detail"] == "its record cannot be read"
    assert (results.runs["status"] == "ok").sum() == len(results.runs) - 1


def test_load_with_a_record_outside_all_plans_adds_it_with_no_suite(store: Store) -> None:
    """A stray record is kept, with an empty suite and variant."""
    put(store, make_record(make_cell("dora"), 7))
    stray = load(store).runs.iloc[-1]
    assert (stray["suite"], stray["variant"]) == ("", "")
    assert (stray["method"], stray["seed"], stray["status"]) == ("dora", 7, "ok")


def test_load_with_two_suites_wanting_a_run_gives_each_its_row(store: Store) -> None:
    """One record answers every suite that plans it."""
    store.write_plan("other", [(Run(make_cell("lora"), 0), "mine")])
    runs = load(store).runs
    row = runs[runs["suite"] == "other"].iloc[0]
    assert (row["variant"], row["status"]) == ("mine", "ok")
    assert (runs["run_hash"] == row["run_hash"]).sum() == 2


def test_load_of_a_failed_run_keeps_its_reason(store: Store) -> None:
    """A run that failed has its status, its reason and no scores."""
    put(store, make_record(make_cell("dora"), status=Status.DIVERGED, detail="NaN at step 3"))
    row = load(store).runs.iloc[-1]
    assert (row["status"], row["detail"]) == ("diverged", "NaN at step 3")
    assert row[["test_score", "generalization_gap", "tokens_per_second"]].isna().all()


def test_load_gives_equal_terms_one_setting_and_unequal_ones_another(store: Store) -> None:
    """Rows differ in setting when data, budget or task differ, not when the method does."""
    put(store, make_record(make_cell("lora", task=make_task(max_length=16)), 0))
    runs = load(store).runs
    planned = runs[(runs["suite"] != "") & (runs["task"] == "syn_sentiment")]
    assert planned["setting"].nunique() == 1
    assert runs.iloc[-1]["setting"] != planned.iloc[0]["setting"]


def test_load_of_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    """A folder without plans and records is an error that names it and the way out."""
    with pytest.raises(StoreError, match=r"holds no plan and no record.*gapbench run") as error:
        load(Store(tmp_path))
    assert str(tmp_path) in str(error.value)


def test_load_with_a_broken_plan_refuses(store: Store) -> None:
    """What is missing cannot be known without the plan, so a broken one is an error."""
    next((store.root / "plans").glob("*.json")).write_text("{", encoding="utf-8")
    with pytest.raises(RecordError, match="not a plan"):
        load(store)


def test_predictions_of_a_run_are_its_stored_table(store: Store) -> None:
    """Predictions are found by cell and seed, and are None where none were stored."""
    results = load(store)
    row = results.runs.iloc[0]
    items = results.items(row["config_hash"], row["seed"])
    assert items is not None
    assert {"example_id", "label", "logit_0", "logit_1"} <= set(items.table.column_names)
    assert results.items(row["config_hash"], 99) is None
