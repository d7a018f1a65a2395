"""Scores of the outputs of any system, for `gapbench score`.

References are read like a run's test split, and metrics are those of runs, so that scores can be
compared with those of a run. All references count, whatever `test_size` says of runs. Files of
outputs are read by `bench.tasks.predictions`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapbench.bench.config import task_files
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import DataError
from gapbench.bench.data import readers
from gapbench.bench.data.rows import Rows, Table, read_classes
from gapbench.bench.metrics.base import compute
from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.store.record import Scores
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.kinds.base import by_part, scored_by_part
from gapbench.bench.tasks.predictions import Predictions

Track = Callable[[list[Any]], Iterable[Any]]


@dataclass(frozen=True)
class FileScores:
    """Scores of a file of outputs.

    Attributes:
        task: name of the task.
        examples: number of outputs.
        scores: scores by metric; for classes with likelihoods, calibration too.
        parts: scores of each part that the task scores separately, calibration too.
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
) -> FileScores:
    """Score a file of outputs against a file of references.

    Args:
        name: name of a built-in task, or a task's YAML file.
        predictions: file of outputs; see `bench.tasks.predictions`.
        references: file with the task's columns; for generation, optionally with lists of texts
            in a column ``references``.
        chosen: metrics instead of the task's own.
        track: wrapper that shows progress over items that may take seconds each.

    Raises:
        ConfigError: if there is no such task or metric.
        DataError: if a file cannot be read, or the two files do not match.
    """
    task = _task(name, chosen)
    kind = kinds.get(task.kind)
    table = read_classes(references, task, task.label, task.text_columns)
    place = f"references {references}"
    if not any(len(values) for values in table.values()):
        raise DataError(f"{place}: the file is empty; give at least one row")
    rows = kind.read_references(task, place, table)
    written = table if readers.is_typed(references) else readers.read(references, list(table))
    keys = {
        name: [values[row] for row in rows.numbers]
        for name, values in written.items()
        if name != task.label
    }
    given = Predictions(predictions, len(rows), _examples(table, rows, references), keys)
    whole, extra = kind.read_outputs(task, given, table, rows)
    known = scored_by_part(whole, task.metrics)
    names = rows.columns.get("part", []) if known else []
    inputs = {"": whole} | by_part(whole, kind.parts(task, names))
    made: dict[str, Scores] = {part: {} for part in inputs}
    reasons: dict[str, str] = {}
    wanted = [("", name) for name in task.metrics]
    wanted += [(part, name) for part in inputs if part for name in known]
    for part, metric in track([(part, get_metric(name)) for part, name in wanted]):
        why = metric.unsupported_reason()
        if metric.measures not in whole:
            why = kind.not_in_files.get(metric.measures, "it needs more than a file of outputs")
        if why is not None:
            reasons[metric.name] = why
        made[part] |= {metric.name: None} if why else compute([metric.name], inputs[part])
    for part in made.keys() - {""}:
        made[part] |= kind.calibration_of_part(inputs[part])
    return FileScores(task.name, len(rows), made.pop("") | extra, made, reasons)


def _task(name: str, chosen: Sequence[str]) -> Task:
    if name.endswith((".yaml", ".yml")):
        task = task_files.of_file(Path(name))
    else:
        task = task_files.load(name)
    if not chosen:
        return task
    change = {"metrics": tuple(chosen), "checkpoint_metric": task.selection}
    return task_files.parse(task.model_dump() | change, f"task {task.name!r} with --metrics")


def _examples(table: Table, rows: Rows, path: Path) -> str:
    """Return a description of the examples that need outputs."""
    n_rows = len(next(iter(table.values())))
    grouped = f" ({n_rows} rows; rows with equal input count as one)"
    return f"{len(rows)} examples in {path}{grouped if n_rows != len(rows) else ''}"
