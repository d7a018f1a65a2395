"""Suites before they run: their runs, the part already done, and the time for the rest."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from gapbench.bench.api import blocks
from gapbench.bench.api.calls import Names, Place, Seeds
from gapbench.bench.api.choices import DEVICES, check_above_zero, names, one_of
from gapbench.bench.api.measuring import measure
from gapbench.bench.api.progress import number_of, say, span
from gapbench.bench.config.run import Cell, Run
from gapbench.bench.core.memory import available
from gapbench.bench.core.process import choose_device
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution import engines
from gapbench.bench.execution.cost_model import (
    Costs,
    cost_key,
    expected,
    makespan,
    seconds_per_cost,
)
from gapbench.bench.execution.scheduler import stacks
from gapbench.bench.execution.work_queue import Job
from gapbench.bench.experiment import suite as suites
from gapbench.bench.experiment.schema import Suite, SuiteLike
from gapbench.bench.experiment.suite import PlannedRun
from gapbench.bench.profiling import auto_precision
from gapbench.bench.profiling.stack_size import MOST
from gapbench.bench.store.failure import left_alone
from gapbench.bench.store.store import Store

_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Request:
    """A requested suite, its runs, and the sources of its data and backbones."""

    suite: Suite
    sources: Sources
    planned: list[PlannedRun]

    @property
    def runs(self) -> list[Run]:
        """Every run once."""
        return list({entry.run.hash: entry.run for entry in self.planned}.values())


@dataclass(frozen=True)
class Overview:
    """A table about a suite, with sentences.

    Attributes:
        failing: runs that would fail.
        left: runs that are not done, None if that was not looked at.
    """

    rows: list[dict[str, Any]]
    notes: list[str]
    failing: int = 0
    left: int | None = None

    def frame(self) -> pd.DataFrame:
        """Return the table; print the sentences to stderr."""
        for note in self.notes:
            say(note)
        return pd.DataFrame(self.rows)


def request(
    suite: SuiteLike,
    *,
    methods: Names = None,
    tasks: Names = None,
    seeds: Seeds = None,
    backbone: Place = None,
    data: Place = None,
    precision: Any = None,
    quantization: Any = None,
    offline: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Request:
    """Return the requested suite, or the selected part of it.

    Raises:
        ConfigError, DataError, BackboneError: naming the invalid or missing input.
    """
    loaded, path = suites.load(suite)
    wanted = suites.restrict(
        loaded,
        methods=names("methods", methods),
        task_names=names("tasks", tasks),
        seeds=seeds,
        backbone=None if backbone is None else str(backbone),
        precision=precision,
        quantization=quantization,
    )
    sources = Sources(None if data is None else Path(data), offline=offline)
    if wanted.precision == "auto":
        where = choose_device(one_of("device", device, DEVICES))
        wanted, why = _with_precision(wanted, sources, path, where)
        say(f"precision auto: {wanted.precision} on this machine{why}", progress=progress)
    return Request(wanted, sources, suites.expand(wanted, sources, path))


def _with_precision(
    wanted: Suite, sources: Sources, path: Path | None, device: torch.device
) -> tuple[Suite, str]:
    """Return a suite with a precision in place of `auto`, and a clause that says why, if any."""
    for name in wanted.all_backbones:
        sources.backbone(name)  # an offline source is refused here
    chosen = auto_precision.choose(wanted.all_backbones, wanted.budget.batch_size, device)
    made = suites.restrict(wanted, precision=chosen)
    if chosen != "fp32":
        cells = [entry.run.cell for entry in suites.expand(made, sources, path)]
        if refusing := auto_precision.refusing(cells, sources, device):
            why = f", as backbone {refusing!r} cannot compute in {chosen}"
            return suites.restrict(wanted, precision="fp32"), why
    return made, ""


def planned(
    suite: SuiteLike,
    *,
    results: str | PathLike[str] = "results",
    engine: str = "local",
    workers: int | None = None,
    **part: Any,
) -> Overview:
    """Return the grid, the part already done, and the time left; see `calls.plan`."""
    engines.find(one_of("engine", engine, engines.names()))
    check_above_zero({"workers": workers}, "workers")
    wanted = request(suite, **part)
    store = Store(Path(results))
    costs = Costs.measured(store, wanted.sources)
    unsettled = {run.hash: run for run in store.unsettled([p.run for p in wanted.planned])}
    alone = {r.hash for r in store.recorded([*unsettled.values()]) if left_alone(store.find(r))}
    todo = {key: run for key, run in unsettled.items() if key not in alone}
    failed = f", {len(alone)} skipped (see gapbench status)" if alone else ""
    notes = [f"{number_of(len(wanted.runs), 'run')}, {len(todo)} to do{failed}"]
    notes += blocks.notes(wanted.runs, wanted.sources)
    if todo:
        notes.append(estimate(list(todo.values()), costs, engine, workers))
    rows: dict[tuple[str, str, str, str], dict[str, Any]] = {}
    lefts = Counter[tuple[str, str, str, str]]()
    for entry in wanted.planned:
        key = (*cost_key(entry.run.cell), entry.variant)
        row = rows.setdefault(key, named(entry.run.cell, entry.variant) | {"runs": 0, "done": 0})
        row["runs"] += 1
        row["done"] += entry.run.hash not in unsettled
        lefts[key] += entry.run.hash in todo
    cells = {(*cost_key(p.run.cell), p.variant): p.run.cell for p in wanted.planned}
    for key, row in rows.items():
        left, each = lefts[key], costs.seconds(cells[key])
        if (why := costs.skipped.get(cells[key].hash)) is not None:
            row["skipped"], each = why, 0
        unknown = left and each is None
        row["seconds_left"] = None if unknown else float(f"{left * (each or 0):.3g}")
    sized = zip(rows.values(), cells.values(), strict=True)
    notes += add_memory(((row, cell, row["runs"]) for row, cell in sized), costs)
    return Overview(list(rows.values()), notes, left=len(todo))


def named(cell: Cell, variant: str) -> dict[str, Any]:
    """Return the columns that identify a row's cell."""
    return {
        "task": cell.task.name,
        "backbone": cell.backbone.name,
        **({"start": cell.start.name} if cell.start else {}),
        **({"head": cell.head} if cell.head else {}),
        "method": cell.method,
        "variant": variant,
    }


def add_memory(rows: Iterable[tuple[dict[str, Any], Cell, int]], costs: Costs) -> list[str]:
    """Add the peak memory of the largest stack to rows of a cell and its number of runs.

    Rows that will be skipped have none.

    Returns:
        A sentence on the row that takes most, if any was measured.
    """
    known = []
    device = choose_device("auto")
    for row, cell, runs in rows:
        if cell.hash in costs.skipped:
            continue
        if (found := costs.stack_bytes(cell, min(runs, MOST[device.type]))) is not None:
            row["memory_mib"] = math.ceil(found / _MEBIBYTE)
            known.append(row)
    if not known:
        return []
    most = max(known, key=lambda row: row["memory_mib"])
    free = available(device) // _MEBIBYTE
    short = ""
    if most["memory_mib"] > free:
        short = f"; only {free} MiB are free, so its stacks will be smaller"
    return [
        f"memory of a worker, beside that of a bare process: up to {most['memory_mib']} MiB, for "
        f"{most['method']} on {most['task']} with {most['backbone']}{short}"
    ]


def estimate(
    todo: list[Run], costs: Costs, engine: str = "local", workers: int | None = None
) -> str:
    """Return the time of some runs on one worker, and on several workers of an engine.

    Times without a record are measured with a few steps. Runs that will be skipped take none.
    """
    measured = all(costs.seconds(run.cell) is not None for run in todo)
    if not measured:
        measure(costs, todo)
    skipped = sum(run.cell.hash in costs.skipped for run in todo)
    if skipped == len(todo):
        return f"no time: all {skipped} will be skipped"
    todo = [run for run in todo if run.cell.hash not in costs.skipped]
    jobs = costs.longest_first(stacks(todo, MOST["cpu"]))
    rate = seconds_per_cost(jobs)
    if rate is None and any(job.seconds is None for job in jobs):
        why = _unmeasured(costs)
        return f"no estimate: no similar run has ended yet, and none could be measured here{why}"
    seconds = [expected(job, rate or 0.0) for job in jobs]
    found = engines.find(engine)
    workers = workers or found.suitable_workers(jobs, costs.sources, choose_device("auto"))
    times = ", ".join(
        f"{span(makespan(seconds, count))} with {count}" for count in sorted({1, workers})
    )
    unknown = [job for job in jobs if job.seconds is None]
    doubt = f"; {skipped} of the runs will be skipped and take none" if skipped else ""
    if unknown:
        tried = _count(job for job in unknown if cost_key(job.runs[0].cell) in costs.unmeasured)
        doubt += f"; {_count(unknown)} of the runs are guessed from what others take"
        doubt += f", {tried} of them because measuring failed{_unmeasured(costs)}" if tried else ""
    if not measured:
        doubt += "; measured on this machine by a few steps, as no such run has ended yet"
    return f"about {times} worker{'' if workers == 1 else 's'}{found.WHEN}{doubt}"


def _count(jobs: Iterable[Job]) -> int:
    return sum(len(job.runs) for job in jobs)


def _unmeasured(costs: Costs) -> str:
    """Return why kinds of run could not be measured, the first reason with how many others."""
    reasons = list(dict.fromkeys(costs.unmeasured.values()))
    if not reasons:
        return ""
    others = f" ({len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f": {reasons[0]}{others}"
