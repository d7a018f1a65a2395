"""Suites before they run: which runs they ask for, which can be done, how long they take."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from gapbench.bench.adaptation import registry
from gapbench.bench.api.calls import Names, Place, Seeds
from gapbench.bench.api.choices import DEVICES, names, one_of
from gapbench.bench.api.progress import say, span
from gapbench.bench.config.run import Cell, Run
from gapbench.bench.core.process import choose_device
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.cost_model import Costs, cost_key, expected, makespan, seconds_a_unit
from gapbench.bench.execution.engines.base import STACKS_A_WORKER
from gapbench.bench.execution.engines.local import suitable_workers
from gapbench.bench.execution.scheduler import stacks
from gapbench.bench.experiment import suite as suites
from gapbench.bench.experiment.suite import PlannedRun, Suite, SuiteLike
from gapbench.bench.profiling import auto_precision
from gapbench.bench.profiling.self_check import checked_backbone
from gapbench.bench.profiling.stack_size import MOST
from gapbench.bench.store.failure import left_alone
from gapbench.bench.store.store import Store
from gapbench.bench.tasks import dataset, kinds


@dataclass(frozen=True)
class Request:
    """A suite as it is asked for, its runs, and where its data and backbones are."""

    suite: Suite
    sources: Sources
    planned: list[PlannedRun]

    @property
    def runs(self) -> list[Run]:
        """Every run once."""
        return list({entry.run.hash: entry.run for entry in self.planned}.values())


@dataclass(frozen=True)
class Overview:
    """A table about a suite, and sentences that belong to it."""

    rows: list[dict[str, Any]]
    notes: list[str]

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
    offline: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Request:
    """Return what a suite asks for, or the part of it that is wanted.

    Raises:
        ConfigError, DataError, BackboneError: naming the invalid or missing input.
    """
    loaded, path = suites.load(suite)
    wanted = suites.restrict(
        loaded,
        methods=names(methods),
        task_names=names(tasks),
        seeds=seeds,
        backbone=None if backbone is None else str(backbone),
        precision=precision,
    )
    sources = Sources(None if data is None else Path(data), offline=offline)
    if wanted.precision == "auto":
        for name in wanted.all_backbones:
            sources.backbone(name)  # refused here, where it must not be asked for
        size, where = wanted.budget.batch_size, choose_device(one_of("device", device, DEVICES))
        chosen = auto_precision.choose(wanted.all_backbones, size, where)
        say(f"precision auto: {chosen} on this machine", progress=progress)
        wanted = suites.restrict(wanted, precision=chosen)
    return Request(wanted, sources, suites.expand(wanted, sources, path))


def checked(suite: SuiteLike, **part: Any) -> Overview:
    """Return a row for each cell of a suite, and what is wrong or doubtful; see `calls.check`."""
    wanted = request(suite, **part)
    cells = {(p.run.cell.hash, p.variant): p.run.cell for p in wanted.planned}
    rows = {
        key: _named(cell, key[1]) | _checked(cell, wanted.sources) for key, cell in cells.items()
    }
    notes = list(dict.fromkeys(doubt for row in rows.values() for doubt in _doubts(row)))
    skipped = sum(rows[p.run.cell.hash, p.variant]["verdict"] != "ok" for p in wanted.planned)
    rest = f", of which {skipped} will be skipped (see their verdict)" if skipped else ""
    notes.append(f"suite {wanted.suite.name!r} is valid: {len(wanted.planned)} runs{rest}")
    return Overview(list(rows.values()), notes)


def planned(
    suite: SuiteLike,
    *,
    results: str | PathLike[str] = "results",
    engine: str = "local",
    workers: int | None = None,
    **part: Any,
) -> Overview:
    """Return the grid, what is done, and how long the rest takes; see `calls.plan`."""
    wanted = request(suite, **part)
    store = Store(Path(results))
    costs = Costs.measured(store, wanted.sources)
    unsettled = {run.hash: run for run in store.unsettled([p.run for p in wanted.planned])}
    alone = {r.hash for r in store.recorded([*unsettled.values()]) if left_alone(store.find(r))}
    todo = {key: run for key, run in unsettled.items() if key not in alone}
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    lefts = Counter[tuple[str, ...]]()
    for entry in wanted.planned:
        key = (*cost_key(entry.run.cell), entry.variant)
        row = rows.setdefault(key, _named(entry.run.cell, entry.variant) | {"runs": 0, "done": 0})
        row["runs"] += 1
        row["done"] += entry.run.hash not in unsettled
        lefts[key] += entry.run.hash in todo
    for (task, backbone, method, variant), row in rows.items():
        left = lefts[task, backbone, method, variant]
        each = costs.seconds.get((task, backbone, method))
        row["seconds_left"] = None if left and each is None else round(left * (each or 0), 1)
    failed = f", {len(alone)} skipped (see gapbench status)" if alone else ""
    notes = [f"{len(wanted.planned)} runs, {len(todo)} to do{failed}"]
    if todo:
        notes.append(_estimate(list(todo.values()), costs, store.root, engine, workers))
    return Overview(list(rows.values()), notes)


def _named(cell: Cell, variant: str) -> dict[str, Any]:
    """Return the columns that say which cell of a suite a row is about."""
    return {
        "task": cell.task.name,
        "backbone": cell.backbone.name,
        **({"start": cell.start.name} if cell.start else {}),
        "method": cell.method,
        "variant": variant,
    }


def _checked(cell: Cell, sources: Sources) -> dict[str, Any]:
    """Return the sizes of a cell's splits, and whether its method can do it."""
    backbone = checked_backbone(cell, sources)
    if isinstance(backbone, str):
        return {"verdict": backbone}
    splits = dataset.prepare(cell, sources, backbone.reader)
    method, config = registry.of_cell(cell)
    absent = partial(kinds.get(cell.task.kind).absent_classes, cell.task)
    return {
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test),
        **{f"leaked_{split}": count for split, count in splits.train_overlap.items()},
        **{f"cut_{n}": int(s.cut.sum()) for n, s in splits.open.items() if s.cut is not None},
        **{f"absent_{n}": ", ".join(found) for n, s in splits.open.items() if (found := absent(s))},
        "mean_tokens": round(float(splits.train.lengths.mean()), 1),
        "steps": cell.budget.total_steps(len(splits.train.trained)),
        "verdict": method.unsupported_reason(cell.task, backbone, config) or "ok",
    }


def _doubts(row: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each split of a row of `check` that shares, cuts or lacks something."""
    for split in ("validation", "test"):
        if count := row.get(f"leaked_{split}"):
            yield (
                f"task {row['task']!r}: {count} of {row[split]} {split} inputs are in train too; "
                "their scores reward memorisation; remove them from one of the two"
            )
    for split in ("train", "validation", "test"):
        if count := row.get(f"cut_{split}"):
            yield (
                f"task {row['task']!r}: {count} of {row[split]} {split} inputs are too long for "
                f"backbone {row['backbone']!r} or for the task's field 'max_length', and lose "
                "words; raise it as far as the backbone allows, or shorten them"
            )
        if names := row.get(f"absent_{split}"):
            what = "no model can learn it" if split == "train" else "its scores say nothing of it"
            yield (
                f"task {row['task']!r}: {split} has no example of class {names}, so that {what}; "
                "add some, or take it out of the task's field 'labels'"
            )


def _estimate(
    todo: list[Run], costs: Costs, results: Path, engine: str, workers: int | None
) -> str:
    """Return how long the rest takes one worker, and several of an engine."""
    jobs = costs.ordered(stacks(todo, MOST["cpu"]))
    rate = seconds_a_unit(jobs)
    if rate is None:
        return f"no estimate yet: {results} holds no finished run like these"
    seconds = [expected(job, rate) for job in jobs]
    usual = suitable_workers(jobs, costs.sources, choose_device("auto"))
    workers = workers or (usual if engine == "local" else STACKS_A_WORKER)
    times = ", ".join(
        f"{span(makespan(seconds, count))} with {count}" for count in sorted({1, workers})
    )
    guessed = sum(len(job.runs) for job in jobs if job.seconds is None)
    doubt = f"; {guessed} of the runs are guessed from what others took" if guessed else ""
    waiting = {"ray": " at once", "slurm": " in the array, once they have begun"}
    return f"about {times} workers{waiting.get(engine, '')}{doubt}"
