"""Kinds of task and metrics are found by their files, and read without torch."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gapbench.bench import metrics
from gapbench.bench.config.task import Task
from gapbench.bench.config.task_files import parse
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.data.encoded import EncodedSplit
from gapbench.bench.metrics import base
from gapbench.bench.store.items import ItemTable
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import EvalSubset
from tests.support.small_suite import CELL

KIND = """
from typing import ClassVar, Literal
from gapbench.bench.data.rows import Rows, class_column, text_column
import numpy as np
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
        # The class nearest to the mean, which is often not the most likely one.
        weights = np.exp(outputs["logits"])
        means = weights @ np.arange(weights.shape[-1]) / weights.sum(axis=-1)
        ranks = np.rint(means).astype(np.int64), subset.targets
        return {"labels": ranks, "ranks": ranks}

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


@pytest.mark.usefixtures("ordinal")
def test_items_of_a_new_kind_give_its_scores() -> None:
    """Stored predictions tell what each item adds, also where labels are no most likely classes."""
    fields = CELL.task.model_dump() | {"kind": "ordinal", "labels": ["low", "middle", "high"]}
    task = parse(fields | {"metrics": ["accuracy", "rank_error"]}, "here")
    kind, names = kinds.get("ordinal"), ["accuracy", "rank_error"]
    random = np.random.default_rng(0)
    outputs = {"logits": 3 * random.normal(size=(60, 3))}
    split = EncodedSplit(
        input_ids=np.zeros(60, np.int32),
        offsets=np.arange(61),
        targets=random.integers(0, 3, 60),
        example_ids=np.arange(60),
        pad_id=0,
    )
    subset = EvalSubset.of(split)
    scored = kind.score(task, outputs, subset, names).metrics
    likely = float((outputs["logits"].argmax(axis=-1) == split.targets).mean())
    assert scored["accuracy"] != likely
    stored = ItemTable(kind.predictions(task, outputs, subset, names))
    for name in names:
        assert stored.checked(name, scored[name]) is not None


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
