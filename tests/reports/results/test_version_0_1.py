"""What is drawn of records: what they declare, and of version 0.1 the same as before."""

import json
from pathlib import Path
from typing import Any

import pytest

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Run
from gapbench.bench.store.diagnostic import Diagnostic, Drop
from gapbench.bench.store.store import Store
from gapbench.reports.figures.board import boards
from gapbench.reports.figures.method_diagnostics import drawings
from gapbench.reports.render.report import gather
from gapbench.reports.results import version_0_1
from gapbench.reports.sections import sections
from gapbench.reports.tables.csv_columns import with_settings
from tests.support.results_folder import make_cell, make_record


def test_methods_declare_what_records_of_version_0_1_have_drawn() -> None:
    """A folder of both versions has one figure, whichever version a record is of."""
    declared = {each for cls in registry.discover().values() for each in cls.diagnostics}
    assert declared == set(version_0_1.DIAGNOSTICS)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("lora", {"dropout": 0.1}),
        ("hiddenkey", {}),
        ("r_drop", {}),
        ("lora_dropout", {"dropout": 0.2}),
        ("adalora_dropout", {}),
        ("unified_dropout", {"embedding_rate": 0.1, "head_rate": 0.1, "weight_rate": 0.1}),
        ("full", {}),
    ],
)
def test_methods_declare_the_drops_that_settings_of_version_0_1_show(
    method: str, settings: dict[str, Any]
) -> None:
    """Positions, rates and patterns are those that reports read off the settings before."""
    cls = registry.get(method)
    config = cls.Config(**settings)
    assert cls.drops(config) == version_0_1.drops(config.model_dump(mode="json"))


def test_a_method_of_its_own_is_drawn_from_its_records_alone(tmp_path: Path) -> None:
    """Nothing in reports names the method, its fields or its position."""
    store, cell = Store(tmp_path), make_cell("third_party", config={})
    store.open_for_writing()
    store.write_plan("quickstart", [(Run(cell, seed), "default") for seed in range(2)])
    shared = Diagnostic(kind="kept", field="shares", figure="shares", title="Share", noun="share")
    drop = Drop(position="values", label="values of attention", rate=0.25)
    for seed in range(2):
        notes = {"shares": {"layer.0.query": 0.5, "layer.1.query": 0.25 + seed}}
        declared = {"notes": notes, "diagnostics": (shared,), "drops": (drop,)}
        store.write(make_record(cell, seed, **declared))
    evidence = gather(tmp_path)
    [(diagnostic, figure)] = drawings(boards(evidence)[0])
    assert diagnostic == shared
    assert figure.data["mean"].tolist() == [0.5, 0.75]
    assert figure.title.startswith("Share, mean over seeds, ")
    assert with_settings(evidence.results.runs, evidence.results)["drop.values"].eq(0.25).all()
    [section] = [each for each in sections(evidence) if each.name == "findings"]
    assert any(getattr(part, "name", "").startswith("shares-") for part in section.flat)


def test_records_of_methods_that_declare_nothing_are_as_in_version_0_1(tmp_path: Path) -> None:
    """Their files have no field that version 0.1 would refuse."""
    store, record = Store(tmp_path), make_record(make_cell("full", config={}))
    store.open_for_writing()
    store.write(record)
    content = json.loads(store.record_path(record.run).read_text())
    assert content.keys().isdisjoint({"diagnostics", "drops", "train_overlap"})
