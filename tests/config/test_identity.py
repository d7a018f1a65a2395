"""What names a run: the hash of every value that can move its score, and of nothing else."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from gapbench.bench.config.run import Cell, Run
from gapbench.bench.config.task import Task
from gapbench.bench.tasks import kinds
from tests.support.small_suite import CELL, TASK

TESTED = TASK | {"name": "plants", "splits": {"train": None}, "validation_size": 0}

# Another legal value of every field that can move a score, by its place in the cell. Fields that
# depend on each other change together.
OTHER_VALUES: dict[str, dict[str, Any]] = {
    "task.name": {"task.name": "plants"},
    "task.version": {"task.version": 2},
    "task.kind": {"task.kind": "regression", "task.metrics": ["pearson"]},
    "task.source.hub": {"task.source.hub": "owner/plants"},
    "task.source.config": {"task.source.config": None},
    "task.source.revision": {"task.source.revision": "2" * 40},
    "task.text": {"task.text": ["sentence", "other"]},
    "task.prompt": {
        "task.prompt": "{sentence}?",
        "task.kind": "choice",
        "task.choice": {"options": "choices"},
    },
    "task.introduction": {
        "task.introduction": "Questions.",
        "task.kind": "choice",
        "task.choice": {"options": "choices"},
    },
    "task.shots": {
        "task.shots": {"split": "dev", "number": 5},
        "task.kind": "choice",
        "task.choice": {"options": "choices"},
    },
    "task.instruction": {
        "task.kind": "instruction",
        "task.instruction": {"messages": True},
        "task.metrics": ["perplexity"],
    },
    "task.label": {"task.label": "target"},
    "task.labels": {"task.labels": ["no", "yes", "maybe"]},
    "task.label_range": {"task.label_range": [0, 2]},
    "task.scale": {
        "task.kind": "regression",
        "task.labels": [],
        "task.label_range": [0, 2],
        "task.metrics": ["pearson"],
        "task.scale": [1.0, 0.5],
    },
    "task.group": {"task.group": "topic"},
    "task.generation": {
        "task.kind": "generation",
        "task.generation": {"references": "tellings"},
        "task.metrics": ["perplexity"],
    },
    "task.choice": {"task.kind": "choice", "task.choice": {"options": "choices"}},
    "task.span": {
        "task.kind": "span",
        "task.span": {"version": "1.1"},
        "task.text": ["question", "context"],
        "task.metrics": ["exact_match"],
    },
    "task.checkpoint_metric": {"task.checkpoint_metric": "f1"},
    "task.metrics": {"task.metrics": ["f1", "accuracy"]},
    "task.splits.train": {"task.splits.train": "training"},
    "task.splits.test": {"task.splits.test": "test"},
    "task.splits.more": {"task.splits.more": {"odd": "odd"}},
    "task.validation_size": {"task.validation_size": 9},
    "task.test_size": {"task.test_size": 9},
    "task.max_length": {"task.max_length": 17},
    "data.name": {"data.name": "files"},
    "data.digest": {"data.digest": "3" * 40},
    "backbone.name": {"backbone.name": "other"},
    "backbone.digest": {"backbone.digest": "4" * 16},
    "start": {"start": {"name": "mnli", "digest": "5" * 16}},
    "method": {"method": "head"},
    "config": {"config": {"rank": 4, "alpha": 16.0, "dropout": 0.0, "targets": "default"}},
    "training.learning_rate": {"training.learning_rate": 6e-4},
    "training.weight_decay": {"training.weight_decay": 0.1},
    "training.warmup_fraction": {"training.warmup_fraction": 0.0},
    "training.schedule": {"training.schedule": "cosine"},
    "training.max_grad_norm": {"training.max_grad_norm": None},
    "training.patience": {"training.patience": 3},
    "budget.epochs": {"budget.epochs": 1.0, "budget.steps": None},
    "budget.steps": {"budget.steps": 5},
    "budget.batch_size": {"budget.batch_size": 8},
    "budget.evaluations": {"budget.evaluations": 5},
    "budget.choosing_members": {"budget.choosing_members": 3},
    "budget.train_size": {"budget.train_size": 20},
    "protocol": {"protocol": "paper"},
    "backbone_dropout": {"backbone_dropout": 0.1},
    "precision": {"precision": "fp64"},
    "quantization": {"quantization": "int8"},
    "gradient_checkpointing": {"gradient_checkpointing": True},
    "accumulation": {"accumulation": 2},
    "resample": {"resample": "per_seed"},
    "head": {"head": "keep"},
    "task.join": {
        "task.kind": "language_modelling",
        "task.join": " ",
        "task.metrics": ["token_loss"],
    },
    "also_test": {
        "also_test": [{"task": TESTED, "data": {"name": "files", "digest": "6" * 16}}],
    },
}
TEXTS_ONLY = {"task.folder", "task.description", "task.licence", "task.citation"}


def changed(changes: Mapping[str, Any]) -> Cell:
    """Return the sample cell with other values at dotted places."""
    content = CELL.model_dump(mode="json")
    for place, value in changes.items():
        *owners, field = place.split(".")
        owner = content
        for name in owners:
            owner = owner[name]
        owner[field] = value
    return Cell.model_validate(content)


def places(model: BaseModel, prefix: str = "") -> Iterator[str]:
    """Yield the dotted place of every field that is no model itself."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from places(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_hash_of_a_fixed_run_equals_the_pinned_one() -> None:
    """The hash of a run is the same on every machine; a change here orphans stored results."""
    assert CELL.hash == "11e809f7c6a2f344"
    assert Run(CELL, 3).hash == "a094734897de787a"


def test_hash_in_another_process_is_equal() -> None:
    """A process with another hash seed gives a run the same hash."""
    code = (
        "import sys; from gapbench.bench.config.run import Cell, Run; "
        "print(Run(Cell.model_validate_json(sys.stdin.read()), 3).hash)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=CELL.model_dump_json(),
        env=os.environ | {"PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == Run(CELL, 3).hash


def test_every_field_of_a_cell_is_either_hashed_or_only_text() -> None:
    """The table of this file knows every field, so a new one cannot escape the test below."""
    of_kinds = {
        f"task.{name}"
        for owner in kinds.task_classes().values()
        for name in owner.model_fields.keys() - Task.model_fields.keys()
    }
    unknown = ({*places(CELL)} | of_kinds) ^ (OTHER_VALUES.keys() | TEXTS_ONLY)
    assert not unknown, "give each another value in OTHER_VALUES, or take it away there"


@pytest.mark.parametrize("place", OTHER_VALUES)
def test_hash_with_another_score_moving_value_differs(place: str) -> None:
    """Two runs that could score differently never share a hash."""
    assert changed(OTHER_VALUES[place]).hash != CELL.hash


@pytest.mark.parametrize("place", sorted(TEXTS_ONLY))
def test_hash_with_another_text_is_equal(place: str) -> None:
    """Descriptions, licences and citations do not name a run."""
    assert changed({place: "other_words"}).hash == CELL.hash


def test_hash_of_another_seed_differs() -> None:
    """Seeds of a cell are different runs of the same cell."""
    assert len({Run(CELL, seed).hash for seed in range(100)}) == 100
