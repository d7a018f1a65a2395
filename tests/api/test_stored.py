"""Stored runs, folders and files in Python: as on the command line, and with paths and rows."""

import json
from pathlib import Path

import pytest

import gapbench
from gapbench.bench.core.errors import ConfigError, RecordError, StoreError
from gapbench.bench.execution.reproduce import compare
from gapbench.bench.store.record import Record
from gapbench.bench.store.record_io import read_record
from tests.support.small_suite import SmallSuite


@pytest.fixture
def done(small: SmallSuite) -> gapbench.Results:
    """The suite with the runs of head and LoRA done."""
    return gapbench.run(
        small.path,
        data=small.data,
        results=small.results,
        methods="head,lora",
        seeds=1,
        progress=False,
    )


def test_run_is_reproduced_and_exported_by_its_row(
    small: SmallSuite, done: gapbench.Results, tmp_path: Path
) -> None:
    """By the row that a frame gives, by hash and by file; records stay as they are."""
    before, row = small.records(), done.runs.query("method == 'lora'").iloc[0]
    given = {"data": small.data, "backbone": small.backbone, "results": small.results}
    again = gapbench.reproduce(row, **given)
    assert again.same
    assert repr(again).startswith("animals/random-bert/lora/")
    assert gapbench.reproduce(row["run_hash"][:10], **given) == again
    tuples = {each.run_hash: each for each in done.runs.itertuples()}
    assert gapbench.reproduce(tuples[row["run_hash"]], **given) == again
    assert gapbench.reproduce(small.results / row["path"], **given) == again
    exported = gapbench.export(row, tmp_path / "adapter", **given)
    assert (exported.folder / "adapter_model.safetensors").exists()
    assert exported.score_now == exported.score_before
    assert str(exported.folder) in repr(exported)
    assert small.records() == before


def test_what_is_not_there_or_not_known_is_refused(
    small: SmallSuite, done: gapbench.Results
) -> None:
    """With the same messages as on the command line."""
    with pytest.raises(RecordError, match=r"no run hash under .* begins with 'xyz'"):
        gapbench.reproduce("xyz", results=done.path)
    with pytest.raises(ConfigError, match="device 'gpu' is unknown"):
        gapbench.export("xyz", small.folder, results=done.path, device="gpu")
    with pytest.raises(StoreError, match="holds no plan and no record"):
        gapbench.status(small.folder)


def test_status_counts_runs_and_shows_failures(small: SmallSuite, done: gapbench.Results) -> None:
    """As an object with all counts, and as text."""
    path = small.results / done.runs["path"].iloc[0]
    path.write_text("{")
    status = gapbench.status(small.results)
    assert status.suites["small"].statuses == {"ok": 1, "missing": 1}
    counts, failure = repr(status).splitlines()
    assert counts == "small: 1 missing, 1 ok"
    assert failure.startswith(f"unreadable: {path}: ")
    assert status.done is False
    html = status._repr_html_()
    assert "<td>1</td>" in html
    assert "unreadable: " in html


def test_outputs_of_any_system_are_scored(tmp_path: Path) -> None:
    """Files go in as paths or texts; metrics are names."""
    rows = [{"sentence": "a", "label": 1}, {"sentence": "b", "label": 0}]
    references, predictions = tmp_path / "rows.jsonl", tmp_path / "given.jsonl"
    references.write_text("\n".join(map(json.dumps, rows)))
    predictions.write_text('{"prediction": 1}\n{"prediction": 1}')
    scored = gapbench.score("syn_sentiment", str(predictions), references, metrics="accuracy")
    assert scored.scores == {"accuracy": 0.5}
    assert scored.examples == 2


def test_reproduction_of_a_large_number_may_differ_by_its_rounding(done: gapbench.Results) -> None:
    """A perplexity of thousands has no four digits behind the point."""
    row = done.runs.query("method == 'lora'").iloc[0]
    record = read_record(done.path / row["path"])

    def having(value: float) -> Record:
        scores = record.splits["test"].model_copy(update={"metrics": {"perplexity": value}})
        return record.model_copy(update={"splits": record.splits | {"test": scores}})

    assert compare(having(5000.0), having(5000.003)).same
    assert not compare(having(5000.0), having(5001.0)).same
    assert not compare(having(0.5), having(0.5003)).same
