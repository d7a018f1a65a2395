"""Commands that look at a suite and change nothing: list, check, plan."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import load_backbone
from gapbench.bench.cli import listings
from gapbench.bench.cli.commands.options import planned_by
from gapbench.bench.cli.commands.printing import print_rows, span
from gapbench.bench.cli.main import EXIT_OK
from gapbench.bench.config.run import Cell, Run
from gapbench.bench.core.process import choose_device
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.cost_model import Costs, cost_key, expected, makespan, seconds_a_unit
from gapbench.bench.execution.engines.base import STACKS_A_WORKER
from gapbench.bench.execution.engines.local import suitable_workers
from gapbench.bench.execution.scheduler import stacks
from gapbench.bench.models import loading
from gapbench.bench.profiling.stack_size import MOST
from gapbench.bench.store.failure import left_alone
from gapbench.bench.store.store import Store
from gapbench.bench.tasks import dataset


def list_command(options: argparse.Namespace) -> int:
    """Print what is built in: methods, tasks, suites, metrics or backbones."""
    print_rows(getattr(listings, options.what)(), as_json=options.json)
    return EXIT_OK


def check_command(options: argparse.Namespace) -> int:
    """Verify everything that can be wrong with a suite before an hour is spent on it."""
    suite, sources, planned = planned_by(options)
    cells = {(p.run.cell.hash, p.variant): p.run.cell for p in planned}
    rows = {key: _named(cell, key[1]) | _checked(cell, sources) for key, cell in cells.items()}
    print_rows(list(rows.values()), as_json=options.json)
    for warning in dict.fromkeys(warning for row in rows.values() for warning in _doubts(row)):
        print(warning, file=sys.stderr)
    skipped = sum(rows[p.run.cell.hash, p.variant]["verdict"] != "ok" for p in planned)
    rest = f", of which {skipped} will be skipped (see their verdict)" if skipped else ""
    print(f"suite {suite.name!r} is valid: {len(planned)} runs{rest}", file=sys.stderr)
    return EXIT_OK


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
    unfit = loading.unsupported_reason(sources.locate(cell.backbone), cell.task)
    if unfit is not None:
        return {"verdict": unfit}
    backbone = load_backbone(cell, sources)
    splits = dataset.prepare(cell, sources, backbone.reader)
    method, config = registry.of_cell(cell)
    return {
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test),
        **{f"leaked_{split}": count for split, count in splits.train_overlap.items()},
        **{f"cut_{n}": int(s.cut.sum()) for n, s in splits.open.items() if s.cut is not None},
        "mean_tokens": round(float(splits.train.lengths.mean()), 1),
        "steps": cell.budget.total_steps(len(splits.train.trained)),
        "verdict": method.unsupported_reason(cell.task, backbone, config) or "ok",
    }


def _doubts(row: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each split of a row of `check` that shares inputs, or has cut ones."""
    for split in ("validation", "test"):
        if count := row.get(f"leaked_{split}"):
            yield (
                f"task {row['task']!r}: {count} of {row[split]} {split} inputs are in train too; "
                "their scores tell of memory; take them out of one of the two"
            )
    for split in ("train", "validation", "test"):
        if count := row.get(f"cut_{split}"):
            yield (
                f"task {row['task']!r}: {count} of {row[split]} {split} inputs are too long for "
                f"backbone {row['backbone']!r} or for the task's field 'max_length', and lose "
                "words; raise it as far as the backbone allows, or shorten them"
            )


def plan_command(options: argparse.Namespace) -> int:
    """Print the grid, what is done, and the time left as far as stored runs tell it."""
    _, sources, planned = planned_by(options)
    store = Store(options.results)
    costs = Costs.measured(store, sources)
    unsettled = {run.hash: run for run in store.unsettled([entry.run for entry in planned])}
    alone = {r.hash for r in store.recorded([*unsettled.values()]) if left_alone(store.find(r))}
    todo = {key: run for key, run in unsettled.items() if key not in alone}
    rows: dict[tuple[str, str, str, str], dict[str, Any]] = {}
    lefts = Counter[tuple[str, str, str, str]]()
    for entry in planned:
        cell = entry.run.cell
        key = (*cost_key(cell), entry.variant)
        if key not in rows:
            rows[key] = _named(cell, entry.variant) | {"runs": 0, "done": 0}
        rows[key]["runs"] += 1
        rows[key]["done"] += entry.run.hash not in unsettled
        lefts[key] += entry.run.hash in todo
    for (task, backbone, method, variant), row in rows.items():
        left = lefts[task, backbone, method, variant]
        each = costs.seconds.get((task, backbone, method))
        row["seconds_left"] = None if left and each is None else round(left * (each or 0), 1)
    print_rows(list(rows.values()), as_json=options.json)
    failed = f", {len(alone)} left alone (see gapbench status)" if alone else ""
    print(f"{len(planned)} runs, {len(todo)} to do{failed}", file=sys.stderr)
    if todo:
        print(_estimate(list(todo.values()), costs, options), file=sys.stderr)
    return EXIT_OK


def _estimate(todo: list[Run], costs: Costs, options: argparse.Namespace) -> str:
    """Return how long the rest takes one worker, and several of an engine."""
    jobs = costs.ordered(stacks(todo, MOST["cpu"]))
    rate = seconds_a_unit(jobs)
    if rate is None:
        return f"no estimate yet: {options.results} holds no finished run like these"
    seconds = [expected(job, rate) for job in jobs]
    usual = suitable_workers(jobs, costs.sources, choose_device("auto"))
    workers = options.workers or (usual if options.engine == "local" else STACKS_A_WORKER)
    times = ", ".join(
        f"{span(makespan(seconds, count))} with {count}" for count in sorted({1, workers})
    )
    guessed = sum(len(job.runs) for job in jobs if job.seconds is None)
    doubt = f"; {guessed} of the runs are guessed from what others took" if guessed else ""
    waiting = {"local": "", "ray": " at once", "slurm": " in the array, once they have begun"}
    return f"about {times} workers{waiting[options.engine]}{doubt}"
