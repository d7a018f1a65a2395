"""Which tasks may be second tests of others, and how classes of one stand for those of another."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import gapbench
from gapbench.bench.config.task_files import load
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.data.sources import Sources
from gapbench.bench.experiment.second_tests import second_test
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store
from tests.support.causal_files import COLOURS, NOUNS


def _labelled(name: str, labels: list[str], **changes: Any) -> dict[str, Any]:
    task = {
        "name": name,
        "version": 1,
        "kind": "classification",
        "description": "",
        "source": {"files": "parquet"},
        "text": ["sentence"],
        "labels": labels,
        "metrics": ["accuracy"],
        "validation_size": 8,
        "max_length": 16,
    }
    return task | changes


def _labelled_files(folder: Path) -> None:
    for name, classes in (("three", 3), ("two", 2)):
        (folder / name).mkdir()
        for split, n in (("train", 40), ("test", 20)):
            rows = {
                "sentence": [f"the {NOUNS[i % 5]} is {COLOURS[i % 4]} {i}" for i in range(n)],
                "label": [i % classes for i in range(n)],
            }
            pd.DataFrame(rows).to_parquet(folder / name / f"{split}.parquet")


def test_classes_of_a_test_are_sums_of_the_models(tmp_path: Path) -> None:
    """Three classes answer a test of two: probabilities of those that stand for one add up."""
    _labelled_files(tmp_path)
    labels = {"yes": "true", "maybe": "false", "no": "false"}
    three, two = _labelled("three", ["yes", "maybe", "no"]), _labelled("two", ["false", "true"])
    suite = {
        "name": "mapped",
        "tasks": [
            {
                "task": three,
                "also_test": [{"task": two, "labels": labels}, {"task": three | {"name": "same"}}],
            }
        ],
        "backbones": ["tiny-encoder"],
        "methods": ["lora"],
        "seeds": 1,
        "budget": {"steps": 4, "evaluations": 1},
    }
    (tmp_path / "same").symlink_to(tmp_path / "two")
    gapbench.run(suite, results=tmp_path / "results", data=tmp_path, workers=1)
    (record,) = Store(tmp_path / "results").records()
    assert isinstance(record, Record)
    assert record.status == "ok", record.detail
    assert record.splits["two"].bare == {}  # its head is new: the bare backbone has no answer
    mapped, same = (
        Store(tmp_path / "results").predictions(record.run, name) for name in ("two", "same")
    )
    assert mapped is not None
    assert same is not None
    own = np.exp(np.stack([same[f"logit_{k}"].to_numpy() for k in range(3)]))
    own /= own.sum(axis=0)
    expected = np.stack([own[1] + own[2], own[0]])
    found = np.exp(np.stack([mapped[f"logit_{k}"].to_numpy() for k in range(2)]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    table = gapbench.load(tmp_path / "results").second_tests()
    assert table["change"].isna().all()


@pytest.mark.parametrize(
    ("also_test", "said"),
    [
        (["nowhere"], "unknown task 'nowhere'"),
        (["three"], "'three': its own test split is scored anyway; leave it out"),
        ([_labelled("test", ["yes", "maybe", "no"])], "a split 'test' already; give"),
        (["two", "two"], "names 'two' more than once"),
        (["two"], "say by the field 'labels' which class of 'two'"),
        ([{"task": "two", "labels": {"perhaps": "true"}}], "key 'perhaps', which is no class"),
        (
            [{"task": "two", "labels": {"yes": "truth"}}],
            "value 'truth', which is no class",
        ),
        ([{"task": "two", "labels": {"yes": "true", "no": "false"}}], "no key 'maybe'"),
        (
            [{"task": "two", "labels": {"yes": "true", "maybe": "true", "no": "true"}}],
            "no value 'false'",
        ),
        (["wikitext2"], r"no head that answers 'wikitext2'.*kind.*choice or generation"),
        (["stsb"], "no head that answers 'stsb'"),
    ],
)
def test_an_impossible_test_is_refused(tmp_path: Path, also_test: list[Any], said: str) -> None:
    """The plan already says which field is wrong and what to give instead."""
    _labelled_files(tmp_path)
    (tmp_path / "tasks").mkdir()
    for task in (_labelled("three", ["yes", "maybe", "no"]), _labelled("two", ["false", "true"])):
        (tmp_path / "tasks" / f"{task['name']}.yaml").write_text(yaml.safe_dump(task))
    path = tmp_path / "suite.yaml"
    suite = {
        "name": "wrong",
        "tasks": [{"task": "three", "also_test": also_test}],
        "backbones": ["tiny-encoder"],
        "methods": ["lora"],
        "budget": {"steps": 4},
    }
    path.write_text(yaml.safe_dump(suite))
    with pytest.raises(ConfigError, match=said):
        gapbench.plan(path, data=tmp_path, results=tmp_path / "results")


def test_spans_are_tested_on_spans_without_a_map(tmp_path: Path) -> None:
    """A head of two ends has no classes; the test's own version of the task decides its scores."""
    for place in ("squad_v1/train", "squad_v1/validation", "squad_v2/validation"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / f"{place}.parquet").touch()
    one, two = load("squad_v1"), load("squad_v2")
    found = second_test("here", one, two, None, Sources(tmp_path))
    assert found.classes is None
    assert found.task.tests_only
    with pytest.raises(ConfigError, match="maps classes, but a span task has none"):
        second_test("here", one, two, {"a": "b"}, Sources(tmp_path))
