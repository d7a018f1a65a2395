"""The terms of the comparison, what it ran on, and how to run each row again."""

import json
import shlex
from typing import Any

import pandas as pd

from reports.cells import Field, facets, read, table, title, worded
from reports.document import Part, Row, Section, Subheading, Terms, Text
from reports.evidence import Evidence
from reports.leaderboard import rows
from reports.load import Results
from reports.text import label, place

_PROTOCOLS = (
    "Under the protocol strict, checkpoints are chosen on validation examples cut from the "
    "training split, and the test split chooses nothing. Under paper they are chosen on the test "
    "split, as published results often are."
)
_AGAIN = (
    "Each command runs one seed of a row again and says whether the result is the same. The other "
    "seeds lie beside it, and runs.csv lists every run with its file."
)
_VERSIONS = {
    "gapbench": "gapbench",
    "torch": "torch",
    "device": "device",
    "code hash": "code_hash",
    "git commit": "git_commit",
}


def section(evidence: Evidence) -> Section:
    """Return the section."""
    parts: list[Part] = [Text(_PROTOCOLS)]
    for block in evidence.blocks:
        if terms := _terms(evidence.results, block):
            parts += [Subheading(title(block)), Terms(terms)]
    if versions := _versions(evidence.results.runs):
        parts += [Subheading("Versions"), Terms(versions)]
    parts += [Subheading("How to reproduce a row"), Text(_AGAIN)]
    fields = _fields(evidence.results)
    lines = [
        Row(
            place(row.task, row.backbone, row.start),
            read(row, fields),
            evidence.colours[row.method],
            facets(row),
        )
        for row in rows(evidence.summary)
    ]
    parts.append(table("Where each row comes from", "task", fields, lines))
    return Section("protocol", "Protocol and origin", tuple(parts))


def _terms(results: Results, block: pd.DataFrame) -> dict[str, str]:
    """Return what all rows of a block share."""
    known = [name for name in block["config_hash"] if name in results.cells]
    if not known:
        return {}
    record = results.cells[known[0]]
    cell, budget = record.cell, record.cell.budget
    length = f"{budget.steps} steps" if budget.steps else f"{budget.epochs:g} epochs"
    shared = [f"{split} {count}" for split, count in record.leaked.items()]
    sizes = [f"{split} {scores.examples}" for split, scores in record.splits.items()]
    return {
        "protocol": cell.protocol,
        "budget": f"{length} of {budget.batch_size} examples, {budget.evaluations} evaluations",
        "examples scored": ", ".join(sizes),
        "inputs shared with train": ", ".join(shared) or "not counted",
        "backbone dropout, precision": f"{cell.backbone_dropout:g}, {cell.precision}",
        "task": f"{cell.task.name} version {cell.task.version}",
        "data": f"{cell.data.name} {cell.data.digest[:16]}",
        "backbone": f"{cell.backbone.name} {cell.backbone.digest[:16]}",
        **({"start": f"{cell.start.name} {cell.start.digest}"} if cell.start else {}),
    }


def _versions(runs: pd.DataFrame) -> dict[str, str]:
    """Return the distinct values of what every record says about where it comes from."""
    found = {name: sorted(set(runs[field]) - {""}) for name, field in _VERSIONS.items()}
    return {name: ", ".join(values) for name, values in found.items() if values}


def _fields(results: Results) -> tuple[Field, ...]:
    return (
        worded("method", "", lambda row: label(row.method, row.variant)),
        worded("config hash", "", lambda row: row.config_hash, kind="code"),
        worded("settings", "", lambda row: _settings(results, row)),
        worded("command", "", lambda row: _command(results, row), kind="code"),
    )


def _settings(results: Results, row: Any) -> str:
    record = results.cells.get(row.config_hash)
    if record is None:
        return ""
    training = record.cell.training.model_dump(mode="json", exclude_none=True)
    return json.dumps(record.cell.config | training)[1:-1].replace('"', "")


def _command(results: Results, row: Any) -> str:
    record = results.cells.get(row.config_hash)
    if record is None:
        return ""
    return f"gapbench reproduce {shlex.quote(str(results.store.record_path(record.run)))}"
