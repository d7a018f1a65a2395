"""`gapbench init`: write a suite and its task file for a user's own file of rows.

The task is inferred from the rows (`bench.experiment.inferred_task`), and so is the budget. Both
files explain each field, and the user may change everything in them.
"""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gapbench.bench.config.head import LANGUAGE_MODEL
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.schema import validate
from gapbench.bench.data.sources import hidden_size
from gapbench.bench.experiment.inferred_task import Columns, Inferred, infer
from gapbench.bench.experiment.schema import Suite

UPDATES = {"tiny": 1500, "other": 500}
"""Updates of 16 examples: less than a minute of LoRA on a tiny backbone, minutes on others."""
FEWEST_EPOCHS = 3
"""Of a run, however many rows there are."""
_TINY = 128  # largest hidden size of a backbone that counts as tiny
_RATES = {
    _TINY: 3.0e-3,
    512: 1.0e-3,
    1024: 5.0e-4,
    math.inf: 2.0e-4,
}  # learning rates of LoRA, up to a width
_USUAL_WIDTH = 768  # assumed for a backbone that is not yet fetched
_BESIDE_LORA = {"full": 0.05, "head": 5.0}  # learning rates as multiples of LoRA's


@dataclass(frozen=True)
class WrittenSuite:
    """The written files, and the inferred task.

    Attributes:
        sizes: examples of each split, before validation is cut from train.
        look: what a first look at the files found, as text of several lines.
    """

    suite: Path
    task_file: Path
    task: Task
    sizes: Mapping[str, int]
    look: str

    def __str__(self) -> str:
        sizes = ", ".join(f"{size} {split}" for split, size in self.sizes.items())
        of = f" of {len(self.task.labels)} classes" if self.task.labels else ""
        suite = shlex.quote(str(self.suite))
        return (
            f"{self.look}\n"
            f"{self.suite}: the suite\n{self.task_file}: its task, {self.task.kind}{of}\n"
            f"examples: {sizes}; about {self.task.validation_size} of train serve as validation\n"
            f"next: gapbench check {suite}, then gapbench run {suite}"
        )


def init(
    suite: Path,
    train: Path,
    test: Path | None,
    columns: Columns,
    *,
    backbone: str | None = None,
    force: bool = False,
) -> WrittenSuite:
    """Write a suite and, in the folder ``tasks`` beside it, a task for a file of rows.

    Args:
        suite: suite file to write.
        train: rows to train on.
        test: rows to score on; None sets aside a part of ``train``.
        columns: the roles of the columns.
        backbone: backbone to train; None takes the built-in one that fits the task.
        force: whether to overwrite existing files.

    Raises:
        ConfigError: if a file exists already, has no fitting name, or cannot be written.
        DataError: if the rows do not fit ``columns``.
    """
    task_file = suite.parent / "tasks" / f"{suite.stem}.yaml"
    _refuse(suite, task_file, force=force)
    found = infer(task_file, train, test, columns)
    settings = suite_settings(found, backbone)
    validate(Suite, settings, str(suite))
    _write(task_file, _commented(found.fields, _TASK_COMMENTS))
    _write(suite, _commented(settings, _SUITE_COMMENTS))
    return WrittenSuite(suite, task_file, found.task, found.sizes, found.look)


def _refuse(suite: Path, task_file: Path, *, force: bool) -> None:
    if suite.suffix not in {".yaml", ".yml"}:
        raise ConfigError(f"{suite}: a suite file must end in .yaml; give another name")
    for path in (suite, task_file):
        if path.exists() and not force:
            raise ConfigError(f"{path} exists; give another name, or --force to overwrite it")


def suite_settings(found: Inferred, backbone: str | None) -> dict[str, Any]:
    """Return the fields of a suite that runs in minutes, with learning rates for the backbone.

    They are those of the built-in suites and of the papers' suites for models of this width.
    """
    task = found.task
    train = found.sizes["train"] - task.validation_size
    writes = task.head == LANGUAGE_MODEL
    backbone = backbone or ("tiny-decoder" if writes else "tiny-encoder")
    width = hidden_size(backbone) or _USUAL_WIDTH
    rate = next(rate for most, rate in _RATES.items() if width <= most)
    updates = UPDATES["tiny" if width <= _TINY else "other"]
    methods = ["full", "head", "lora", "lora_dropout", "hiddenkey", "bilora", "majority", "untuned"]
    return {
        "name": task.name,
        "description": task.description,
        "tasks": [task.name],
        "backbones": [backbone],
        "methods": [
            _entry(name, rate) for name in methods if not (writes and name in {"head", "majority"})
        ],
        "seeds": 5,
        "budget": {
            "epochs": min(max(round(updates * 16 / train), FEWEST_EPOCHS), 25),
            "batch_size": 16,
            "evaluations": 8,
        },
        "training": {"learning_rate": rate},
        "precision": "auto",
    }


def _entry(name: str, rate: float) -> str | dict[str, Any]:
    """Return a method's entry in a suite, with its own learning rate if LoRA's does not fit."""
    if name not in _BESIDE_LORA:
        return name
    return {
        "method": name,
        "training": {"learning_rate": float(f"{rate * _BESIDE_LORA[name]:.1g}")},
    }


def _commented(fields: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """Return fields as YAML; each non-empty field has its comment in the line above."""
    lines_above = {name: f"# {comment}\n" for name, comment in comments.items()}
    given = {name: _flow(value) for name, value in fields.items() if value is not None}
    return "".join(f"{lines_above.get(name, '')}{name}: {text}\n" for name, text in given.items())


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(
        value, default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("...\n").strip()


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


_TASK_COMMENTS = {
    "name": "must equal the file's name",
    "version": "raise it with every change that can alter a score; it also seeds the cuts",
    "labels": "classes, in the order of the model's outputs; whole numbers are the values "
    "themselves",
    "label_range": "lowest and highest legal value; others are refused",
    "scale": "centre and size: models learn (value - centre) / size; scores are of the values",
    "generation": "how text is decoded; more beams are slower and often better",
    "metrics": "the first is the main one: leaderboards use it (gapbench list metrics)",
    "checkpoint_metric": "picks the checkpoint: the main metric needs decoded text, which is slow",
    "source": "relative to this file; without a test file, 'test_share' of the rows is cut from it",
    "text": "what the model reads",
    "label": "what it must predict",
    "group": "rows with equal values stay together in every cut",
    "validation_size": "examples cut from train, to choose checkpoints",
    "max_length": "tokens kept of one input; the backbone's window may be shorter",
}
_SUITE_COMMENTS = {
    "tasks": "the file of the same name in the folder 'tasks'; built-in ones: gapbench list tasks",
    "backbones": "built-in, a folder with a model, or owner/name@revision; or give --backbone",
    "methods": "for all methods: gapbench list methods",
    "seeds": "a number, or a list; give 5 or more to separate methods. With few rows put "
    "'resample: {folds: 3, repeats: 3}' in its place",
    "budget": "the same for every method",
    "training": "learning rate of LoRA for this backbone width; gapbench tune finds a better one",
    "precision": "auto: bf16 where it is faster on this machine; or fp32",
}
