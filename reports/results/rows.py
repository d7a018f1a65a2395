"""Records as rows of one tidy table, with the columns that every table of runs has."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gapbench.bench.core.schema import content_hash
from gapbench.bench.store.record import Calibration, Cost, CurvePoint, Record, Truth
from gapbench.bench.store.record_io import BARE
from gapbench.bench.store.store import Store
from gapbench.bench.store.suite_plan import PlanRow
from gapbench.reports.results.frames import typed

MISSING = "missing"
"""Status of a planned run that has no readable record."""

SPLITS = ("train", "validation", "test")
CURVE = tuple(CurvePoint.model_fields)
"""Columns of a curve: the step, then scores and losses."""

_IDENTITY = (
    "suite",
    "task",
    "backbone",
    "start",
    "method",
    "variant",
    "seed",
    "repeat",
    "fold",
    "run_hash",
    "config_hash",
    "protocol",
    "status",
    "detail",
    "path",
)
_SCORES = (
    "metric",
    "higher_is_better",
    *(f"{split}_{value}" for value in ("score", "loss", "examples") for split in SPLITS),
    "train_overlap_validation",
    "train_overlap_test",
    "train_share",
    "generalization_gap",
    "loss_gap",
    "checkpoint_step",
)
_PROVENANCE = (
    "device",
    "device_type",
    "threads",
    "precision",
    "started_at",
    "gapbench",
    "torch",
    "packages",
    "code_hash",
    "git_commit",
    "setting",
)
_COLUMNS = (
    *_IDENTITY,
    *_SCORES,
    *Calibration.model_fields,
    *(f"bayes_{name}" for name in Truth.model_fields),
    *Cost.model_fields,
    *_PROVENANCE,
)
_NUMBERS = {"seed", "repeat", "fold", "threads"}
_TEXT = {*_IDENTITY, *_PROVENANCE, "metric", "drawn", "fit_examples"} - _NUMBERS
_WHOLE = {
    *_NUMBERS,
    "checkpoint_step",
    "train_overlap_validation",
    "train_overlap_test",
    *(f"{split}_examples" for split in SPLITS),
    *(name for name, info in Cost.model_fields.items() if info.annotation in {int, int | None}),
}


def planned_row(store: Store, plan: PlanRow, row: dict[str, Any] | None) -> dict[str, Any]:
    """Return the row of a planned run: its record's, or one that says that it is missing."""
    if row is None:
        present = (store.root / plan.path).exists()
        row = {
            "status": MISSING,
            "detail": "its record cannot be read" if present else "not run yet",
            "config_hash": PurePosixPath(plan.path).parent.name,
        }
    return row | vars(plan)


def cell_row(record: Record) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what all runs of a cell share, and the terms that `setting` is the hash of."""
    cell = record.cell
    # Terms that compared cells share; what a method may set for itself is left out.
    own = {"task", "method", "config", "training"}
    terms = cell.model_dump(mode="json", exclude=own if cell.start else own | {"start"})
    if cell.also_test:
        terms["also_test"] = {test.name: test.identity() for test in cell.also_test}
    identity = cell.task.identity()
    text = json.dumps([terms, identity], sort_keys=True)
    row = {
        "suite": "",
        "variant": "",
        "task": cell.task.name,
        "backbone": cell.backbone.name,
        "start": cell.start.name if cell.start else "",
        "method": cell.method,
        "config_hash": record.cell_hash,
        "protocol": cell.protocol,
        "metric": cell.task.metrics[0],
        "higher_is_better": cell.task.metric.higher_is_better,
        "precision": cell.number_format,
        "setting": hashlib.sha256(text.encode()).hexdigest()[:8],
    }
    # Readers are told which second tests a setting has; a test's own definition is a hash.
    tests = {test.name: content_hash(test.identity())[:8] for test in cell.also_test}
    return row, _flat(terms | {"task": identity, "also_test": tests})


def _flat(terms: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """Return nested terms as one level, by dotted names."""
    found: dict[str, Any] = {}
    for name, value in terms.items():
        nested = isinstance(value, Mapping)
        found |= _flat(value, f"{under}{name}.") if nested else {under + name: value}
    return found


def run_row(record: Record) -> dict[str, Any]:
    """Return what a record says of its own run, by column."""
    row: dict[str, Any] = {
        "seed": record.seed,
        "repeat": record.block.repeat if record.block else None,
        "fold": record.block.fold if record.block else None,
        "train_share": record.train_share,
        "run_hash": record.run_hash,
        "status": record.status.value,
        "detail": record.detail,
        "generalization_gap": record.generalization_gap,
        "loss_gap": record.loss_gap,
        "checkpoint_step": record.checkpoint.step if record.checkpoint else None,
    }
    return row | _scores(record) | _measured(record) | _origin(record)


def _scores(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for split, scores in record.splits.items():
        row[f"train_overlap_{split}"] = record.train_overlap.get(split)
        row[f"{split}_score"] = record.score(split)
        row[f"{split}_loss"] = scores.loss
        row[f"{split}_examples"] = scores.examples
        own = record.cell.task.metrics[:1] if split in SPLITS else ()  # have a column already
        others = [name for name in scores.metrics if name not in own]
        row |= {f"{split}/{name}": scores.metrics[name] for name in others}
        row |= {f"{split}/{BARE}{name}": value for name, value in scores.bare.items()}
        row |= {f"{split}/ece": scores.ece} if scores.ece is not None else {}
        for part, values in scores.parts.items():
            row |= {f"{split}/{name}/{part}": value for name, value in values.items()}
    return row


def _measured(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = dict(record.calibration or {})
    row |= {f"bayes_{name}": value for name, value in record.truth or {}}
    row |= dict(record.cost or {})
    parts = {name: counted(getattr(record.cost, name, None)) for name in ("drawn", "fit_examples")}
    return row | parts


def counted(parts: Mapping[str, int] | None) -> str:
    """Return numbers by name in words, empty if there are none."""
    return ", ".join(f"{name} {count}" for name, count in (parts or {}).items())


def _origin(record: Record) -> dict[str, Any]:
    origin = record.provenance
    versions = dict(origin.versions)
    known = {name: versions.pop(name, None) for name in ("gapbench", "torch")}
    return {
        "device": origin.device,
        "device_type": origin.device_type,
        "threads": origin.threads,
        "started_at": origin.started_at.isoformat(),
        "code_hash": origin.code_hash,
        "git_commit": f"{origin.git_commit}-dirty" if origin.git_dirty else origin.git_commit,
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items()),
        **known,
    }


def curve_points(record: Record) -> NDArray[np.float64]:
    """Return scores along training, `(points, len(CURVE))`, NaN where undefined."""
    points = [[getattr(point, name) for name in CURVE] for point in record.curve]
    return np.array(points, dtype=np.float64)


def as_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as the table of runs, with a further column for each metric of a split."""
    extra = sorted({name for row in rows for name in row if "/" in name})
    return typed(pd.DataFrame(rows, columns=[*_COLUMNS, *extra]), _TEXT, _WHOLE)
