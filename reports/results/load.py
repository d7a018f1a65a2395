"""A results folder as one tidy table: a row for every planned run, and for every stray record.

Missing runs stay in the table as missing, and unreadable records in a list: nothing vanishes. What
the numbers mean together is the work of `reports.tables.leaderboard` and `reports.stats`.
"""

import shlex
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gapbench.bench.core.errors import RecordError, StoreError
from gapbench.bench.store.diagnostic import Diagnostic, Drop
from gapbench.bench.store.items import ItemTable
from gapbench.bench.store.record import Record
from gapbench.bench.store.record_io import TEST
from gapbench.bench.store.store import Store
from gapbench.bench.store.typed_command import on
from gapbench.reports.results import version_0_1
from gapbench.reports.results.rows import as_frame, cell_row, curve_points, planned_row, run_row

RECORDED = [
    *("config_hash", "run_hash", "seed", "train_share", "metric", "higher_is_better"),
    *("train_score", "validation_score", "test_score", "ece", "nll"),
]
"""What outcomes are made of, in the table of runs."""

_KEPT = 1000
"""So many tables of predictions are kept in memory: those of one task, as a rule."""


@dataclass
class LoadedResults:
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
    whole: "LoadedResults | None" = None
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


def load(store: Store) -> LoadedResults:
    """Read every plan and record of a results folder, one record at a time.

    Raises:
        StoreError: if it holds neither a plan nor a record.
        RecordError: if a plan cannot be read, since what is missing is then unknown.
    """
    results = LoadedResults(store, pd.DataFrame())
    shared: dict[str, dict[str, Any]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for record in store.records():
        if not isinstance(record, Record):
            results.unreadable.append(str(record))
            continue
        if record.cell_hash not in shared:
            results.cells[record.cell_hash] = record.model_copy(update={"curve": ()})
            shared[record.cell_hash], terms = cell_row(record)
            results.terms[shared[record.cell_hash]["setting"]] = terms
        # Seeds share their cell, so that the hashes in its path are worked out once.
        run = replace(results.cells[record.cell_hash].run, seed=record.seed)
        own = {**run_row(record), "path": store.place(run)}
        rows[record.run_hash] = {**shared[record.cell_hash], **own}
        if record.curve:
            results.curves[record.run_hash] = curve_points(record)
        _keep_declared(results, record)
    plans = store.plans()
    here = {command: on(store.root, command) for command in {plan.command for plan in plans}}
    results.commands = {plan.run_hash: here[plan.command] for plan in plans if plan.command}
    results.references = {plan.suite: plan.reference for plan in plans}
    planned = {plan.run_hash for plan in plans}
    content = [planned_row(store, plan, rows.get(plan.run_hash)) for plan in plans]
    content += [row for run_hash, row in rows.items() if run_hash not in planned]
    if not content and not results.unreadable:
        command = f"gapbench run quickstart --results {shlex.quote(str(store.root))}"
        raise StoreError(
            f"results folder {store.root} holds no plan and no record; run a suite first "
            f"({command}), or give another folder"
        )
    results.runs = as_frame(content)
    return results


def _keep_declared(results: LoadedResults, record: Record) -> None:
    """Keep what the method stores of a run and how it is drawn, what it drops, what is missing."""
    if record.untested:
        results.untested[record.run_hash] = record.untested
    if record.notes:
        results.diagnostics[record.run_hash] = record.notes
        results.drawings[record.cell_hash] = record.diagnostics or version_0_1.DIAGNOSTICS
    if found := record.drops or version_0_1.drops(record.cell.config):
        results.drops[record.cell_hash] = found
