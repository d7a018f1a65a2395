"""Kinds of task and metrics are found by their files, and read without torch."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gapbench.bench import metrics
from gapbench.bench.config.task import Task
from gapbench.bench.config.task_files import parse
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.metrics import base
from gapbench.bench.tasks import kinds
from tests.support.small_suite import CELL

KIND = """
from typing import ClassVar, Literal
from gapbench.bench.data.rows import Rows, class_column, text_column
from gapbench.bench.metrics import classification
from gapbench.bench.tasks.kinds.labels import LabelledTask, Labels

class OrdinalTask(LabelledTask):
    measures: ClassVar[tuple[str, ...]] = ("labels", "ranks")
    kind: Literal["ordinal"]
    ordinal: float = 1.0

class Ordinal(Labels[OrdinalTask]):
    Task = OrdinalTask

    def read(self, task, place, table):
        texts = {name: text_column(place, table, name) for name in task.text}
        return Rows(texts, class_column(task, place, table))

    def metric_inputs(self, task, outputs, subset):
        known = classification.inputs(outputs["logits"], subset.targets)
        return {**known, "ranks": known["labels"]}

    def read_outputs(self, task, given, table, rows):
        return {"ranks": (given.classes(task).predicted, rows.targets)}, {}
"""
METRIC = """
from gapbench.bench.metrics.base import metric

@metric("rank_error", "ranks", description="", reference="", higher_is_better=False)
def rank_error(predictions, references):
    return float(abs(predictions - references).mean())
"""


@pytest.fixture
def ordinal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a new kind and a new metric, one file each, among the others."""
    for package, name, content in ((kinds, "ordinal", KIND), (metrics, "rank_error", METRIC)):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / f"{name}.py").write_text(content, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    kinds.discover.cache_clear()
    base.discover.cache_clear()
    yield
    kinds.discover.cache_clear()
    base.discover.cache_clear()
    base._declared.pop("rank_error")
    for name in (f"{kinds.__name__}.ordinal", f"{metrics.__name__}.rank_error"):
        sys.modules.pop(name)


@pytest.mark.usefixtures("ordinal")
def test_new_file_adds_a_kind_and_another_adds_a_metric() -> None:
    """A task of the new kind holds its own field, and is scored by the new metric."""
    fields = CELL.task.model_dump() | {"kind": "ordinal", "metrics": ["rank_error"], "ordinal": 2}
    task = parse(fields, "here")
    assert type(kinds.get("ordinal")).__name__ == "Ordinal"
    assert task.identity()["ordinal"] == 2.0
    assert task.metric.name == list(base.discover())[-1] == "rank_error"
    with pytest.raises(ConfigError, match="'ordinal' belongs to tasks of kind ordinal"):
        parse(fields | {"kind": "classification", "metrics": ["accuracy"]}, "here")


def test_fields_of_other_kinds_may_be_none_as_in_early_records() -> None:
    """A stored task that names the fields of all kinds is the same task."""
    early = CELL.task.model_dump() | dict.fromkeys(("prompt", "generation", "choice", "span"))
    assert Task.model_validate(early) == CELL.task


def test_tasks_are_read_without_torch() -> None:
    """Reports read tasks of every kind, and load no torch for them."""
    program = (
        "import sys; from gapbench.bench.config import task_files;"
        "[task_files.load(name) for name in task_files.builtin_names()];"
        "print(*{'torch', 'transformers', 'datasets'} & set(sys.modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert not loaded.stdout.strip()
