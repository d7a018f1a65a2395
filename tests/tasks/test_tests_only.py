"""Tasks without training rows: they can be scored, but nothing can be trained on them."""

from pathlib import Path
from typing import Any

import pytest

import gapbench
from gapbench.bench.config.task_files import parse
from gapbench.bench.core.errors import BenchError, ConfigError
from gapbench.bench.data.encoded import AbsentSplit
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store
from gapbench.reports.render.build import build

QUESTIONS: dict[str, Any] = {
    "name": "questions",
    "version": 1,
    "kind": "choice",
    "description": "Questions that are only asked.",
    "source": {"builtin": "syn_choice", "seed": 0, "sizes": {"test": 40}},
    "text": ["prompt"],
    "choice": {"options": "choices"},
    "metrics": ["accuracy"],
    "splits": {"train": None},
    "max_length": 96,
}
SUITE: dict[str, Any] = {
    "name": "asked",
    "tasks": [QUESTIONS],
    "backbones": ["tiny-decoder"],
    "methods": ["untuned"],
    "seeds": 1,
    "budget": {"steps": 2},
}


def test_an_untrained_row_has_scores_on_test_alone(tmp_path: Path) -> None:
    """The bare backbone is scored; there is no gap, no temperature and no chosen value."""
    folder = tmp_path / "results"
    gapbench.check(SUITE)
    gapbench.run(SUITE, results=folder)
    (record,) = Store(folder).records()
    assert isinstance(record, Record)
    assert record.status == "ok", record.detail
    assert [*record.splits] == ["test"]
    assert record.splits["test"].examples == 40
    assert record.generalization_gap is None
    assert record.calibration is not None
    assert record.calibration.temperature is None
    assert record.calibration.ece_calibrated is None
    assert record.calibration.ece > 0
    build(folder, tmp_path / "report")
    assert [*(tmp_path / "report").glob("*.html")]


def test_nothing_is_trained_on_a_task_without_training_rows(tmp_path: Path) -> None:
    """A trained method is refused with the field and the way out, folds are too."""
    with pytest.raises(ConfigError, match=r"'questions'.*'splits.train' is null.*also_test"):
        gapbench.plan(SUITE | {"methods": ["untuned", "lora"]}, results=tmp_path)
    with pytest.raises(ConfigError, match="folds cannot be cut"):
        gapbench.plan(SUITE | {"resample": {"folds": 2}}, results=tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"validation_size": 8}, "'validation_size' must be absent"),
        ({"splits": {"train": "train"}}, "'validation_size' must be at least 1"),
        (
            {"source": {"train": "rows.csv", "test": "more.csv"}},
            "'source.train' and 'splits.train' contr",
        ),
        (
            {"splits": {}, "source": {"test": "rows.csv"}, "validation_size": 8},
            "contradict each other",
        ),
        ({"source": {"test_share": 0.5}}, "give one of"),
    ],
)
def test_a_contradictory_task_is_refused(change: dict[str, Any], said: str) -> None:
    """A size of validation belongs to tasks with training rows, and only to these."""
    with pytest.raises(ConfigError, match=said):
        parse(QUESTIONS | change, "task")


def test_own_files_may_hold_test_rows_alone(tmp_path: Path) -> None:
    """A source with the file 'test' and no 'train' is a task that is only scored."""
    path = tmp_path / "rows.csv"
    path.write_text("prompt,one,two,label\na cat,sees,likes,0\na dog,likes,sees,1\n")
    own = {"source": {"test": str(path)}, "choice": {"options": ["one", "two"]}}
    gapbench.run(SUITE | {"tasks": [QUESTIONS | own]}, results=tmp_path / "results")
    (record,) = Store(tmp_path / "results").records()
    assert isinstance(record, Record)
    assert record.splits["test"].examples == 2


def test_absent_rows_cannot_be_read() -> None:
    """Code that asks a task for training rows it lacks is told so."""
    with pytest.raises(BenchError, match="no training rows"):
        len(AbsentSplit())
