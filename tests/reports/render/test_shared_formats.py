"""Rows in the formats of others: what their published schemas ask for is there, and no more."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import gapbench
from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import ConfigError, StoreError
from gapbench.bench.store.record import Status
from gapbench.bench.store.store import Store
from gapbench.reports.render.shared_formats import SCHEMA_VERSION
from tests.support.known_truth import write
from tests.support.results_folder import fill, make_cell, make_record, make_task, put
from tests.support.small_suite import call

HUB = {"hub": "nyu-mll/glue", "config": "rte", "revision": "a" * 40}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": required | (optional or {}),
        "additionalProperties": False,
    }


TEXT, NUMBER = {"type": "string"}, {"type": "number"}
DETAILS = {"type": "object", "additionalProperties": TEXT}
BOUND = {"oneOf": [NUMBER, {"enum": ["Infinity", "-Infinity"]}]}
SOURCE = _object({"dataset_name": TEXT, "source_type": {"enum": ["hf_dataset", "other"]}},
                 {"hf_repo": TEXT, "hf_split": TEXT, "additional_details": DETAILS})  # fmt: skip
INTERVAL = _object({"lower": NUMBER, "upper": NUMBER},
                   {"confidence_level": {"minimum": 0, "maximum": 1}, "method": TEXT})  # fmt: skip
RESULT = _object(
    {
        "evaluation_name": TEXT,
        "source_data": SOURCE,
        "metric_config": _object(
            {"lower_is_better": {"type": "boolean"}},
            {"evaluation_description": TEXT, "metric_id": TEXT, "metric_name": TEXT,
             "score_type": {"enum": ["binary", "continuous", "levels"]},
             "min_score": BOUND, "max_score": BOUND},
        ),
        "score_details": _object(
            {"score": NUMBER},
            {"details": DETAILS, "uncertainty": _object(
                {}, {"confidence_interval": INTERVAL, "num_samples": {"type": "integer"}})},
        ),
    },
    {"evaluation_result_id": TEXT},
)  # fmt: skip
SCHEMA = _object(
    {
        "schema_version": {"const": SCHEMA_VERSION},
        "evaluation_id": TEXT,
        "retrieved_timestamp": TEXT,
        "source_metadata": _object(
            {"source_type": {"enum": ["documentation", "evaluation_run"]},
             "source_organization_name": TEXT,
             "evaluator_relationship": {
                 "enum": ["first_party", "third_party", "collaborative", "other"]}},
            {"source_name": TEXT, "additional_details": DETAILS},
        ),
        "eval_library": _object({"name": TEXT, "version": TEXT}),
        "model_info": _object(
            {"name": TEXT, "id": TEXT, "additional_details": DETAILS | {
                "required": ["deployment_type", "model_availability"]}}),
        "evaluation_results": {"type": "array", "minItems": 1, "items": RESULT},
    },
    {"evaluation_timestamp": TEXT},
)  # fmt: skip
"""What version 0.3.0 of Every Eval Ever asks of the parts that gapbench writes, in our own words.

Source: github.com/evaleval/every_eval_ever, commit 9bce413, every_eval_ever/schemas/.
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A built-in task, a regression, and one whose data are on the hub."""
    tasks = (
        make_task(),
        make_task("syn_similarity", kind="regression"),
        make_task("rte", source=HUB),
    )
    return fill(tmp_path_factory.mktemp("rows"), methods=("lora", "head"), tasks=tasks)


def test_every_row_fits_every_eval_ever(store: Store, tmp_path: Path) -> None:
    """A file for each method, a result for each task, where the coalition looks for them."""
    jsonschema = pytest.importorskip("jsonschema")
    paths = gapbench.load(store.root).publish(tmp_path)
    assert len(paths) == 2
    for path in paths:
        content = json.loads(path.read_text())
        jsonschema.Draft7Validator(SCHEMA).validate(content)
        place = path.relative_to(tmp_path).as_posix()
        assert re.fullmatch(r"data/gapbench/tiny-bert/(lora|head)/[0-9a-f-]{36}\.json", place)
        found = {each["evaluation_name"]: each for each in content["evaluation_results"]}
        assert found.keys() == {"gapbench.syn_sentiment", "gapbench.syn_similarity", "gapbench.rte"}
        assert found["gapbench.syn_similarity"]["metric_config"]["lower_is_better"] is True
        assert found["gapbench.rte"]["source_data"]["hf_repo"] == "nyu-mll/glue"
        board = gapbench.load(store.root).leaderboard(methods=path.parent.name).set_index("task")
        for name, each in found.items():
            row = board.loc[name.removeprefix("gapbench.")]
            details = each["score_details"]
            assert details["score"] == pytest.approx(row["score"])
            assert details["uncertainty"]["num_samples"] == row["n_seeds"] == 3
    again = gapbench.load(store.root).publish(tmp_path)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_hub_reads_rows_of_hub_data(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The required fields are there, dates are text, and other tasks are left out.

    Source: github.com/huggingface/hub-docs, commit 242f4a1, eval_results.yaml.
    """
    answer = call(capsys, "publish", store.root, tmp_path, "--format", "eval-results")
    assert answer.code == 0
    paths = [Path(line) for line in answer.out.splitlines()]
    assert len(paths) == 2
    for path in paths:
        assert re.fullmatch(r"gapbench_(lora|head)_[0-9a-f]{8}\.yaml", path.name)
        assert path.parent.name == ".eval_results"
        (entry,) = yaml.safe_load(path.read_text())
        assert entry.keys() <= {"dataset", "value", "date", "notes"}
        assert entry["dataset"] == {"id": "nyu-mll/glue", "task_id": "rte", "revision": "a" * 40}
        assert isinstance(entry["value"], float)
        assert entry["date"] == "2026-01-02"
        assert "mean of 3 seeds" in entry["notes"]


def test_part_of_a_test_split_is_told(tmp_path: Path) -> None:
    """Both formats say how many of its examples were scored."""
    task = make_task("rte", source=HUB).model_copy(update={"test_size": 100})
    loaded = gapbench.load(write(tmp_path / "known", {"lora": 0.6}, task=task).root)
    (path,) = loaded.publish(tmp_path / "a")
    (result,) = json.loads(path.read_text())["evaluation_results"]
    assert result["source_data"]["additional_details"]["test_size"] == "100"
    (path,) = loaded.publish(tmp_path / "b", format="eval-results")
    (entry,) = yaml.safe_load(path.read_text())
    assert "accuracy on 100 examples of test" in entry["notes"]


def test_lost_runs_in_a_mean_are_told(tmp_path: Path) -> None:
    """They are no seeds of their own: both formats say what they count as."""
    levels = {"lora": 0.6, "head": 0.5, "majority": 0.4}
    fates = {("lora", 1): Status.FAILED}
    store = write(tmp_path / "known", levels, fates=fates, task=make_task("rte", source=HUB))
    counted = "1 run without a score counted as majority"
    loaded = gapbench.load(store.root)
    (path,) = loaded.publish(tmp_path / "a", methods="lora")
    (result,) = json.loads(path.read_text())["evaluation_results"]
    assert result["score_details"]["details"] == {
        "mean over seeds": "0, 2, 3, 4",
        "lost runs": counted,
    }
    assert result["score_details"]["uncertainty"]["num_samples"] == 4
    (path,) = loaded.publish(tmp_path / "b", methods="lora", format="eval-results")
    (entry,) = yaml.safe_load(path.read_text())
    assert f"mean of 4 seeds, {counted}" in entry["notes"]


@pytest.mark.parametrize("form", ["eval-results", "every-eval-ever"])
def test_rows_whose_names_share_a_part_of_a_path_have_files_of_their_own(
    form: str, tmp_path: Path
) -> None:
    """None is written over by the next one."""
    store, task = Store(tmp_path / "results"), make_task("rte", source=HUB)
    store.open_for_writing()
    variants = ("größe 4", "grüße 4", "gr__e_4")
    cells = {
        name: make_cell("lora", task=task, config={"rank": n}) for n, name in enumerate(variants, 2)
    }
    planned = [(Run(cell, seed), name) for name, cell in cells.items() for seed in range(3)]
    store.write_plan("s", planned)
    for run, _ in planned:
        put(store, make_record(run.cell, run.seed))
    paths = gapbench.load(store.root).publish(tmp_path / "out", format=form)
    assert len({*paths}) == len({path.read_bytes() for path in paths}) == len(variants)


@pytest.mark.parametrize("form", ["eval-results", "every-eval-ever"])
def test_suites_and_settings_have_files_of_their_own(form: str, tmp_path: Path) -> None:
    """Two suites that share a cell, and records of other settings that no plan names."""
    tasks = [make_task(name, source=HUB | {"config": name}) for name in ("rte", "cola")]
    shared = [make_cell("lora", task=task) for task in tasks]
    stray = [make_cell("dora", task=tasks[0], config={"rank": rank}) for rank in (4, 64)]
    store = Store(tmp_path / "results")
    store.open_for_writing()
    for suite, cells in (("a", shared), ("b", shared[:1])):
        store.write_plan(suite, [(Run(cell, seed), "default") for cell in cells for seed in (0, 1)])
    for cell in (*shared, *stray):
        for seed in (0, 1):
            put(store, make_record(cell, seed))
    paths = gapbench.load(store.root).publish(tmp_path / "out", format=form)
    assert len({*paths}) == 4
    held = [path.read_text() for path in paths]
    assert sorted(text.count("cola") > 0 for text in held) == [False, False, False, True]


def test_what_cannot_be_written_is_refused(store: Store, tmp_path: Path) -> None:
    """An unknown format, and a folder without data of the hub."""
    results = gapbench.load(store.root)
    with pytest.raises(ConfigError, match="format 'csv' is unknown"):
        results.publish(tmp_path, format="csv")
    with pytest.raises(StoreError, match="no row with a score on data of the hub"):
        results.publish(tmp_path, format="eval-results", tasks="syn_sentiment")
