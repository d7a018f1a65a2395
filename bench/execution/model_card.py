"""The model card of an exported adapter: what it was trained on, how, and how good it is.

Its first lines are those that the Hugging Face hub reads: base model, library, data and scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from gapbench.bench.config.task_sources import HubSource
from gapbench.bench.config.tuned_variant import is_tuned
from gapbench.bench.store.record import Record

_PIPELINES = {
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForSeq2SeqLM": "text2text-generation",
    "AutoModelForQuestionAnswering": "question-answering",
}
_MEASURES = {"ece": "ECE", "brier": "Brier score", "nll": "NLL"}


@dataclass(frozen=True)
class SeedMeans:
    """What all seeds of the run's cell say, each number with its 95 % interval.

    Attributes:
        variant: name of the settings in the suite.
        seeds: number of seeds with scores of their own.
        failed: number of runs that failed.
        means: of each quantity, by name, the mean and the low and high end of its interval; an
            end is None where it is unknown.
    """

    variant: str
    seeds: int
    failed: int
    means: Mapping[str, tuple[float, float | None, float | None]]


def front_matter(record: Record, base: Mapping[str, Any], auto_class: str) -> str:
    """Return the lines that the hub reads.

    Args:
        record: record of the run.
        base: name of the backbone in PEFT's configuration.
        auto_class: the model library's class that loads the backbone.
    """
    cell, task = record.cell, record.cell.task
    source = task.source if isinstance(task.source, HubSource) else None
    pipeline = _PIPELINES.get(auto_class)
    tested = record.splits.get("test")
    metrics = [
        {"type": name, "value": value}
        for name, value in (tested.metrics.items() if tested else ())
        if value is not None
    ]
    data = {"type": source.hub, "revision": source.revision} if source else {"type": task.name}
    part = {"args": {"test_size": task.test_size}} if task.test_size is not None else {}
    result = {
        "task": {"type": pipeline or "other"},
        "dataset": {"name": task.name, "split": task.splits.official["test"], **data, **part},
        "metrics": metrics,
    }
    content = {
        "base_model": base["base_model_name_or_path"],
        "library_name": "peft",
        **({"pipeline_tag": pipeline} if pipeline else {}),
        **({"datasets": [source.hub]} if source else {}),
        "tags": list(dict.fromkeys(("gapbench", "lora", cell.method))),
        "model-index": [{"name": f"{cell.method} on {task.name}", "results": [result]}],
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False)}---\n"


def sections(record: Record, known: SeedMeans | None) -> str:
    """Return what a reader wants to know of the adapter beyond its use.

    Args:
        record: record of the run.
        known: what all seeds of its cell say; None where the results folder is not known.
    """
    parts = {
        "Task and data": _data(record),
        "Settings": _settings(record),
        "Scores": _scores(record),
        "Other seeds": _others(known) if known else [],
        "Calibration": _calibration(record),
        "How it was chosen": _chosen(record, known),
    }
    return "\n".join(f"## {name}\n\n{_lines(lines)}" for name, lines in parts.items() if lines)


def _lines(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _data(record: Record) -> list[str]:
    cell, task = record.cell, record.cell.task
    return [
        f"{task.description}",
        "",
        f"- task: `{task.name}`, version {task.version}, metric {task.metrics[0]}",
        f"- data: {cell.data.name}, revision or hash `{cell.data.digest}`",
        *(f"- {name}: {scores.examples} examples" for name, scores in record.splits.items()),
        *(
            f"- {count} inputs of {name} are in the training set too"
            for name, count in record.train_overlap.items()
            if count
        ),
    ]


def _settings(record: Record) -> list[str]:
    cell = record.cell
    settings = {
        "method": cell.method,
        **cell.config,
        **cell.training.model_dump(exclude_none=True),
        **cell.budget.model_dump(exclude_none=True),
        "precision": cell.memory_format,
        "seed": record.seed,
    }
    return _table(("setting", "value"), [(name, f"`{value}`") for name, value in settings.items()])


def _scores(record: Record) -> list[str]:
    splits = list(record.splits)
    names = dict.fromkeys(name for each in record.splits.values() for name in each.metrics)
    rows = [
        (name, *(_number(record.score(s, name)) for s in splits), _number(record.gaps.get(name)))
        for name in names
    ]
    loss = [_number(record.splits[split].loss) for split in splits]
    rows.append(("loss", *loss, _number(record.loss_gap)))
    gap = "The gap is train minus test, its sign turned where lower is better; that of the loss is"
    return [*_table(("metric", *splits, "gap"), rows), "", f"{gap} test minus train."]


def _others(known: SeedMeans) -> list[str]:
    rows = [
        (name, _number(mean), "" if low is None else f"{_number(low)} to {_number(high)}")
        for name, (mean, low, high) in known.means.items()
    ]
    lost = " Runs that failed count in the score as the untrained row, where there is one."
    said = f"The same settings were trained with {known.seeds} seeds"
    said += f"; {known.failed} more failed.{lost}" if known.failed else "."
    return [f"{said} Their means on test:", "", *_table(("", "mean", "95 % interval"), rows)]


def _calibration(record: Record) -> list[str]:
    found = record.calibration
    if found is None:
        return []
    rows = [
        (title, _number(getattr(found, name)), _number(getattr(found, f"{name}_calibrated")))
        for name, title in _MEASURES.items()
    ]
    said = [] if found.temperature is None else ["", f"Temperature: {_number(found.temperature)}."]
    return [*_table(("on test", "as trained", "after temperature scaling"), rows), *said]


def _chosen(record: Record, known: SeedMeans | None) -> list[str]:
    cell, checkpoint = record.cell, record.checkpoint
    lines = []
    if checkpoint is not None:
        split = (
            "test split, so its scores are too good"
            if cell.protocol == "paper"
            else "validation split"
        )
        lines.append(
            f"- Checkpoint: step {checkpoint.step}, of {len(record.curve)} evaluation points the "
            f"one with the best {cell.task.selection} on the {split}."
        )
    if known is not None:
        searched = "were searched on the validation split"
        how = searched if is_tuned(known.variant) else "are those of the suite"
        lines.append(f"- Settings: `{known.variant}`, which {how}.")
    return [*lines, f"- Seed: {record.seed}, chosen by who exported it."]


def _table(names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (names, ("---",) * len(names), *rows)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
