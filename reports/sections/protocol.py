"""The terms of the comparison, what it ran on, and how to run each row again."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gapbench.bench.config.run import Folds, NestedFolds, Resample
from gapbench.reports.document.columns import Field, heading, table_of, title, worded
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Folded, Part, Section, Terms, Text
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.tables.words import decimal

ORDER = 90

_PROTOCOLS = (
    "Under the protocol strict, checkpoints are chosen on validation examples cut from the "
    "training split, and the test split chooses nothing. Under paper they are chosen on the test "
    "split, as published results often are."
)
_AGAIN = (
    "Each command runs one seed of a row again and says whether the result is the same; runs.csv "
    "has the hashes of the others. Give the folder with --results where it is not the usual one, "
    "and --data, --backbone and --start where the row was made with local ones."
)
_POWER = re.compile(r"\d+(?:\.\d+)?e-\d+")
Settings = dict[str, Any]

_VERSIONS = {
    "gapbench": "gapbench",
    "torch": "torch",
    "other packages": "packages",
    "device": "device",
    "threads": "threads",
    "code hash": "code_hash",
    "git commit": "git_commit",
}


def section(evidence: Evidence) -> Section:
    """Return the section."""
    results = evidence.results
    parts: list[Part] = [Text(_PROTOCOLS)]
    if versions := _versions(results.runs):
        parts.append(Terms(versions))
    folded: list[Part] = [Text(_AGAIN)]
    for board in evidence.boards:
        settings = {name: _settings(results, name) for name in board["config_hash"]}
        shared = _shared([found for found in settings.values() if found])
        folded.append(heading(board))
        if terms := _terms(results, board, shared):
            folded.append(Terms(terms))
        name = f"Where each row comes from: {title(board)}"
        folded.append(table_of(board, name, _fields(results, settings, shared), evidence))
    parts.append(Folded("Settings of every row, and how to run it again", tuple(folded)))
    return Section("protocol", "Protocol and origin", tuple(parts))


def _terms(results: LoadedResults, board: pd.DataFrame, settings: Settings) -> dict[str, str]:
    """Return what all rows of a board share, with those settings that they share too."""
    known = [name for name in board["config_hash"] if name in results.cells]
    if not known:
        return {}
    record = results.cells[known[0]]
    cell, budget = record.cell, record.cell.budget
    length = f"{budget.steps} steps" if budget.steps else f"{budget.epochs:g} epochs"
    shared = [f"{split} {count}" for split, count in record.train_overlap.items()]
    sizes = [f"{split} {scores.examples}" for split, scores in record.splits.items()]
    return {
        "protocol": cell.protocol,
        "budget": f"{length} of {budget.batch_size} examples, {budget.evaluations} evaluations",
        **({"training rows": _training_rows(cell.resample)} if cell.resample != "fixed" else {}),
        "examples scored": ", ".join(sizes),
        "inputs shared with train": ", ".join(shared) or "not counted",
        "backbone dropout, precision": f"{cell.backbone_dropout:g}, {cell.memory_format}",
        "task": f"{cell.task.name} version {cell.task.version}",
        "data": f"{cell.data.name} {cell.data.digest[:16]}",
        "backbone": f"{cell.backbone.name} {cell.backbone.digest[:16]}",
        **({"start": f"{cell.start.name} {cell.start.digest}"} if cell.start else {}),
        **({"head": "kept from the checkpoint"} if cell.head else {}),
        **({"settings of all rows": _worded(settings)} if settings else {}),
    }


def _training_rows(resample: Resample) -> str:
    """Return how the training rows of seeds differ."""
    if isinstance(resample, NestedFolds):
        return f"each seed is tested on one of {resample.folds} folds, and trains on others"
    if isinstance(resample, Folds):
        return f"each seed has one of {resample.folds} folds for validation, and trains on the rest"
    return "each seed draws its own"


def _versions(runs: pd.DataFrame) -> dict[str, str]:
    """Return the distinct values of what every record says about where it comes from."""
    found = {name: sorted(set(runs[field].dropna()) - {""}) for name, field in _VERSIONS.items()}
    return {name: ", ".join(map(str, values)) for name, values in found.items() if values}


def _settings(results: LoadedResults, config_hash: str) -> Settings:
    """Return the method's and the optimiser's settings of a cell; none where it has no record."""
    record = results.cells.get(config_hash)
    if record is None:
        return {}
    return record.cell.config | record.cell.training.model_dump(mode="json", exclude_none=True)


def _shared(each: Sequence[Settings]) -> Settings:
    """Return the settings that several rows have alike."""
    if len(each) < 2:
        return {}
    return {
        name: value
        for name, value in each[0].items()
        if all(name in other and other[name] == value for other in each)
    }


def _fields(
    results: LoadedResults, settings: Mapping[str, Settings], shared: Settings
) -> tuple[Field, ...]:
    def own(row: Any) -> str:
        found = settings[row.config_hash]
        return _worded({name: value for name, value in found.items() if name not in shared})

    def command(row: Any) -> str:
        record = results.cells.get(row.config_hash)
        return f"gapbench reproduce {record.run_hash}" if record else ""

    return (
        worded("settings of its own", "", own),
        worded("config hash", "", lambda row: row.config_hash, kind="code"),
        worded("to run a seed again", "", command, kind="code"),
    )


def _worded(settings: Settings) -> str:
    text = json.dumps(settings)[1:-1].replace('"', "")
    return _POWER.sub(lambda found: decimal(float(found[0])), text)
