"""Scores of outputs that any system made: what `gapbench score` does.

References are read as a run reads its test split, and metrics are those of runs, so that the
numbers stand beside a run's own. Files of outputs are read by `bench.tasks.predictions`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gapbench.bench.config import task as task_config
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import DataError
from gapbench.bench.core.safe_parsing import read_yaml
from gapbench.bench.core.schema import validate
from gapbench.bench.data import readers
from gapbench.bench.data.rows import Rows, Table
from gapbench.bench.metrics import calibration, classification
from gapbench.bench.metrics.base import Measured
from gapbench.bench.store.record import Scores
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.predictions import Classes, Predictions

Track = Callable[[list[Any]], Iterable[Any]]
Sides = dict[Measured, tuple[Any, ...]]
_REFERENCES = "references"  # a list of them in one row, where the task has one a row
_NEEDS: dict[Measured, str] = {
    "tokens": "it needs the model's probabilities of the references' tokens",
    "choices": "it needs the log-likelihood of each choice: columns logit_0, logit_1, ...",
}


@dataclass(frozen=True)
class Scored:
    """What outputs score.

    Attributes:
        task: name of the task.
        examples: number of outputs.
        scores: by metric; of classes with likelihoods also their calibration.
        parts: likewise of each part that the task sets apart.
        reasons: why a score is None, by metric.
    """

    task: str
    examples: int
    scores: Scores
    parts: dict[str, Scores]
    reasons: dict[str, str]


def score(
    name: str,
    predictions: Path,
    references: Path,
    chosen: Sequence[str] = (),
    track: Track = iter,
) -> Scored:
    """Score a file of outputs against a file of references.

    Args:
        name: of a built-in task, or a task's YAML file.
        predictions: see `bench.tasks.predictions`.
        references: rows with the task's own columns; or, for generation, with lists of texts in
            a column ``references``.
        chosen: metrics instead of the task's own.
        track: passes on items of work that may take seconds each, and shows how far they are.

    Raises:
        ConfigError: if there is no such task or metric.
        DataError: if a file cannot be read, or the two do not fit each other.
    """
    task = _task(name, chosen)
    table, rows = _references(task, references)
    given = Predictions(predictions, len(rows), _examples(table, rows, references))
    wanted = [classification.get(metric) for metric in task.metrics]
    whole, extra = _sides(task, given, table, rows)
    sides = {"": whole} | _parts(whole, rows)
    made: dict[str, Scores] = {part: {} for part in sides}
    reasons: dict[str, str] = {}
    for part, metric in track([(part, metric) for part in sides for metric in wanted]):
        why = _NEEDS.get(metric.kind) if metric.kind not in whole else metric.unsupported_reason()
        if why is not None:
            reasons[metric.name] = why
        held = sides[part].get(metric.kind)
        made[part][metric.name] = (
            None if why else classification.defined(metric.function(*held or ()))
        )
    return Scored(task.name, len(rows), made.pop("") | extra, made, reasons)


def _task(name: str, chosen: Sequence[str]) -> Task:
    if name.endswith((".yaml", ".yml")):
        task = validate(Task, read_yaml(Path(name)), name)
    else:
        task = task_config.load(name)
    if not chosen:
        return task
    change = {"metrics": tuple(chosen), "checkpoint_metric": task.selection}
    return validate(Task, task.model_dump() | change, f"task {task.name!r} with --metrics")


def _references(task: Task, path: Path) -> tuple[Table, Rows]:
    texts = task.text if task.kind != "generation" else (*task.text, task.label)
    table = readers.read(path, texts)
    place = f"references {path}"
    if not any(len(values) for values in table.values()):
        raise DataError(f"{place}: the file is empty; give at least one row")
    if task.generation is not None and task.label not in table and _REFERENCES in table:
        own = task.generation.model_copy(update={"references": _REFERENCES})
        task = task.model_copy(update={"generation": own})
    return table, kinds.get(task.kind).read(task, place, table)


def _examples(table: Table, rows: Rows, path: Path) -> str:
    """Return what outputs are wanted for, in words."""
    n_rows = len(next(iter(table.values())))
    grouped = f" ({n_rows} rows, of which those of equal input are one)"
    return f"{len(rows)} examples in {path}{grouped if n_rows != len(rows) else ''}"


def _sides(task: Task, given: Predictions, table: Table, rows: Rows) -> tuple[Sides, Scores]:
    """Return what metrics compare, by what they measure, and scores that are no task's metrics."""
    if task.kind == "generation":
        return {"texts": (given.texts(), rows.columns["references"])}, {}
    if task.span is not None:
        ids = table.get("id")
        accepted = [[text for _, text in answers] for answers in rows.columns["answers"]]
        return {"spans": (given.texts(ids), accepted, task.span.version)}, {}
    if task.kind == "regression":
        return {"values": (given.values(), rows.targets)}, {}
    if task.kind == "classification":
        found = given.classes(task)
        return {"labels": (found.predicted, rows.targets)}, _calibration(found, rows)
    lengths = [[len(text) for _, text in pairs] for pairs in rows.columns["pairs"]]
    found = given.choices(np.array([len(each) for each in lengths]))
    sides: Sides = {"labels": (found.predicted, rows.targets)}
    if found.logits is not None:
        most = found.logits.shape[1]
        characters = np.array([each + [1] * (most - len(each)) for each in lengths])
        sides["choices"] = (found.logits, characters, rows.targets)
    return sides, _calibration(found, rows)


def _parts(whole: Sides, rows: Rows) -> dict[str, Sides]:
    """Return the texts of each part that the task sets apart."""
    of_row = rows.columns.get("part", [])
    made: dict[str, Sides] = {}
    for part in sorted({*of_row} - {""}):
        kept = [row for row, each in enumerate(of_row) if each == part]
        made[part] = {
            measured: tuple([side[row] for row in kept] for side in pair)
            for measured, pair in whole.items()
        }
    return made


def _calibration(given: Classes, rows: Rows) -> Scores:
    """Return calibration as it is, without a temperature; empty if only classes are given."""
    if given.logits is not None:
        report = calibration.calibration_report(given.logits, rows.targets, 1.0)
        return {name: value for name, value in report.items() if "_calibrated" not in name}
    if given.probabilities is None:
        return {}
    pair = (given.probabilities, rows.targets)
    return {
        "ece": calibration.expected_calibration_error(*pair),
        "ece_equal_mass": calibration.expected_calibration_error(*pair, scheme="equal_mass"),
        "mce": calibration.maximum_calibration_error(*pair),
        "brier": calibration.brier_score(*pair),
        "nll": calibration.negative_log_likelihood(*pair),
    }
