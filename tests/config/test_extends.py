"""A task file may extend another one."""

from pathlib import Path

import pytest
import yaml

from gapbench.bench.config.task_files import load, of_file
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.data.sources import Sources

BASE = {
    "name": "base",
    "version": 1,
    "kind": "generation",
    "description": "",
    "source": {"files": "parquet"},
    "text": ["question"],
    "label": "answer",
    "generation": {"decoding": {"beams": 2, "max_new_tokens": 9}},
    "metrics": ["bleu"],
    "checkpoint_metric": "perplexity",
    "validation_size": 5,
    "max_length": 64,
}


def put(folder: Path, **files: dict[str, object]) -> Path:
    """Write task files beside a suite."""
    (folder / "tasks").mkdir(exist_ok=True)
    for name, content in ({"base": BASE} | files).items():
        (folder / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder


def test_own_fields_are_laid_over_those_of_the_other_task(tmp_path: Path) -> None:
    """Mappings are merged, null takes a field away, and rows are in the other task's folder."""
    own = {
        "name": "own",
        "extends": "base",
        "generation": {"decoding": {"beams": 1}},
        "splits": {"train": None, "test": "held"},
        "validation_size": None,
    }
    task = load("own", put(tmp_path, own=own))
    base = load("base", tmp_path)
    assert task.name == "own"
    assert task.model_dump()["generation"]["decoding"]["max_new_tokens"] == 9
    assert task.model_dump()["generation"]["decoding"]["beams"] == 1
    assert (task.splits.train, task.splits.test) == (None, "held")
    assert (task.folder, base.folder) == ("base", None)
    assert "folder" not in task.identity()
    (tmp_path / "data" / "base").mkdir(parents=True)
    (tmp_path / "data" / "base" / "held.parquet").touch()
    sources = Sources(tmp_path / "data")
    assert sources.split_file(task, "held") == tmp_path / "data" / "base" / "held.parquet"


@pytest.mark.parametrize("name", ["absent", "own", 3])
def test_task_that_cannot_be_extended_is_refused(name: object, tmp_path: Path) -> None:
    """The message names the file and the field."""
    folder = put(tmp_path, own={"name": "own", "extends": name})
    with pytest.raises(ConfigError, match=r"own.yaml: field 'extends' is .*, which must be"):
        load("own", folder)


def test_file_that_is_given_by_its_path_may_extend_another(tmp_path: Path) -> None:
    """`score` takes a path: the other task is beside the file, else built in."""
    own = {"name": "own", "extends": "base", "max_length": 32}
    folder = put(tmp_path, own=own, exam={"name": "exam", "extends": "mmlu", "shots": None})
    assert of_file(folder / "tasks" / "own.yaml") == load("own", folder)
    assert of_file(folder / "tasks" / "exam.yaml").folder == "mmlu"


def test_built_in_task_extends_the_built_in_one(tmp_path: Path) -> None:
    """A task beside the suite has the name of that one, and does not take its place."""
    folder = put(tmp_path, mmlu=BASE | {"name": "mmlu"})
    assert load("mmlu", folder).kind == "generation"
    assert load("mmlu_5_shots", folder) == load("mmlu_5_shots")
