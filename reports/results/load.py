"""A results folder as one tidy table: a row for every planned run, and for every stray record.

Missing runs stay in the table as missing, and unreadable records in a list: nothing vanishes. What
the numbers mean together is the work of `reports.tables.leaderboard` and `reports.stats`.
"""

import hashlib
import json
import shlex
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gapbench.bench.core.errors import RecordError, StoreError
from gapbench.bench.core.schema import content_hash
from gapbench.bench.store.diagnostic import Diagnostic, Drop
from gapbench.bench.store.items import ItemTable
from gapbench.bench.store.record import Calibration, Cost, CurvePoint, Record, Truth
from gapbench.bench.store.record_io import BARE, TEST
from gapbench.bench.store.store import Store
from gapbench.bench.store.suite_plan import PlanRow
from gapbench.bench.store.typed_command import on
from gapbench.reports.results import version_0_1
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
_TEXT = {
    *_IDENTITY,
    "metric",
    "drawn",
    "fit_examples",
    "device",
    "device_type",
    "precision",
    "started_at",
    "gapbench",
    "torch",
    "packages",
    "code_hash",
    "git_commit",
    "setting",
} - {"seed", "repeat", "fold"}
_WHOLE = {
    *("seed", "repeat", "fold"),
    "checkpoint_step",
    "train_overlap_validation",
    "train_overlap_test",
    "threads",
    *(f"{split}_examples" for split in SPLITS),
    *(name for name, info in Cost.model_fields.items() if info.annotation in {int, int | None}),
}


RECORDED = [
    *("config_hash", "run_hash", "seed", "train_share", "metric", "higher_is_better"),
    *("train_score", "validation_score", "test_score", "ece", "nll"),
]
"""What outcomes are made of, in the table of runs."""


_KEPT = 1000
"""So many tables of predictions are kept in memory: those of one task, as a rule."""


@dataclass
class Results:
    """A results folder in memory.

    Attributes:
        store: where it was read from.
        runs: one row per planned run in plan order, then the records that no plan wants, with an
            empty suite and variant. Text that does not exist is "", a number NA or NaN. `start` is
            the name of the adapter that the run starts from. `setting` is a hash of all that a cell
            shares with others (task, data, backbone, start, budget, protocol): only rows with
            the same setting may be compared. Metrics beside the main one follow as
            `<split>/<metric>`, those of a part as `<split>/<metric>/<part>`.
        cells: the first record of each cell by its hash, without its curve.
        curves: scores along training by run hash, `(points, len(CURVE))`, NaN where undefined.
        diagnostics: what methods store of their runs, by run hash; runs without any are absent.
        drawings: how these are drawn, by cell hash; cells that store none are absent.
        drops: what methods drop in training, by cell hash; cells that drop nothing are absent.
        untested: why second tests of a run have no scores, by run hash; others are absent.
        unreadable: why each unreadable record could not be read.
        part: what `runs` are limited to, "" if to nothing; see `reports.results.selection`.
        whole: the folder that this is a part of, None if it is the whole.
        commands: what was typed last for a run, for this folder, by its hash, where that is known.
        references: what each suite compares its methods with first.
        terms: what each `setting` stands for, flat: "budget.epochs": 3.
        read: predictions that were read and are kept, by cell hash, seed and split.
    """

    store: Store
    runs: pd.DataFrame
    cells: dict[str, Record] = field(default_factory=dict)
    curves: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    diagnostics: dict[str, dict[str, Any]] = field(default_factory=dict)
    drawings: dict[str, tuple[Diagnostic, ...]] = field(default_factory=dict)
    drops: dict[str, tuple[Drop, ...]] = field(default_factory=dict)
    untested: dict[str, dict[str, str]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    part: str = ""
    whole: "Results | None" = None
    commands: dict[str, str] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    terms: dict[str, dict[str, Any]] = field(default_factory=dict)
    read: dict[tuple[str, int, str], ItemTable | None] = field(default_factory=dict, repr=False)

    @cached_property
    def outcomes(self) -> dict[str, list[dict[Hashable, Any]]]:
        """What the runs of each cell recorded of `RECORDED`, by cell hash, each run once."""
        found: dict[str, list[dict[Hashable, Any]]] = {}
        for row in self.runs[RECORDED].drop_duplicates("run_hash").to_dict("records"):
            found.setdefault(row["config_hash"], []).append(row)
        return found

    def items(self, config_hash: str, seed: int, split: str = TEST) -> ItemTable | None:
        """Return a run's stored predictions of a split, None if there are none or are damaged."""
        key = (config_hash, seed, split)
        found = self.read.pop(key) if key in self.read else self._read(*key)
        self.read[key] = found  # the one that was used last is the last to go
        if len(self.read) > _KEPT:
            del self.read[next(iter(self.read))]
        return found

    def _read(self, config_hash: str, seed: int, split: str) -> ItemTable | None:
        try:
            run = replace(self.cells[config_hash].run, seed=seed)
            table = self.store.predictions(run, split)
        except RecordError:
            return None
        return None if table is None else ItemTable(table)


def load(store: Store) -> Results:
    """Read every plan and record of a results folder, one record at a time.

    Raises:
        StoreError: if it holds neither a plan nor a record.
        RecordError: if a plan cannot be read, since what is missing is then unknown.
    """
    results = Results(store, pd.DataFrame())
    shared: dict[str, dict[str, Any]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for record in store.records():
        if not isinstance(record, Record):
            results.unreadable.append(str(record))
            continue
        if record.cell_hash not in shared:
            results.cells[record.cell_hash] = record.model_copy(update={"curve": ()})
            shared[record.cell_hash], terms = _cell_row(record)
            results.terms[shared[record.cell_hash]["setting"]] = terms
        # Seeds share their cell, so that the hashes in its path are worked out once.
        run = replace(results.cells[record.cell_hash].run, seed=record.seed)
        own = {**_row(record), "path": store.place(run)}
        rows[record.run_hash] = {**shared[record.cell_hash], **own}
        if record.curve:
            results.curves[record.run_hash] = _curve(record)
        _keep_declared(results, record)
    plans = store.plans()
    here = {command: on(store.root, command) for command in {plan.command for plan in plans}}
    results.commands = {plan.run_hash: here[plan.command] for plan in plans if plan.command}
    results.references = {plan.suite: plan.reference for plan in plans}
    planned = {plan.run_hash for plan in plans}
    content = [_planned(store, plan, rows.get(plan.run_hash)) for plan in plans]
    content += [row for run_hash, row in rows.items() if run_hash not in planned]
    if not content and not results.unreadable:
        command = f"gapbench run quickstart --results {shlex.quote(str(store.root))}"
        raise StoreError(
            f"results folder {store.root} holds no plan and no record; run a suite first "
            f"({command}), or give another folder"
        )
    results.runs = _frame(content)
    return results


def _keep_declared(results: Results, record: Record) -> None:
    """Keep what the method stores of a run and how it is drawn, what it drops, what is missing."""
    if record.untested:
        results.untested[record.run_hash] = record.untested
    if record.notes:
        results.diagnostics[record.run_hash] = record.notes
        results.drawings[record.cell_hash] = record.diagnostics or version_0_1.DIAGNOSTICS
    if found := record.drops or version_0_1.drops(record.cell.config):
        results.drops[record.cell_hash] = found


def _planned(store: Store, plan: PlanRow, row: dict[str, Any] | None) -> dict[str, Any]:
    """Return the row of a planned run: its record's, or one that says that it is missing."""
    if row is None:
        present = (store.root / plan.path).exists()
        row = {
            "status": MISSING,
            "detail": "its record cannot be read" if present else "not run yet",
            "config_hash": PurePosixPath(plan.path).parent.name,
        }
    return row | vars(plan)


def _cell_row(record: Record) -> tuple[dict[str, Any], dict[str, Any]]:
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


def _row(record: Record) -> dict[str, Any]:
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


def _curve(record: Record) -> NDArray[np.float64]:
    points = [[getattr(point, name) for name in CURVE] for point in record.curve]
    return np.array(points, dtype=np.float64)


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    extra = sorted({name for row in rows for name in row if "/" in name})
    return typed(pd.DataFrame(rows, columns=[*_COLUMNS, *extra]), _TEXT, _WHOLE)
