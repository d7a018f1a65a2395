"""What each command does: one function each, from parsed options to an exit code."""

import argparse
import json
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any

from tqdm import tqdm

from bench import backbone as backbones
from bench import data, export, metrics, registry, reproduce, tasks
from bench import suite as suites
from bench.cli import EXIT_FAILED_RUNS, EXIT_INTERRUPTED, EXIT_OK
from bench.config import Cell, Run
from bench.errors import RecordError, StoreError
from bench.execute import Settings, choose_device, execute
from bench.record import Record, Status
from bench.run import load_backbone, store_at
from bench.sources import Sources, builtin_backbones
from bench.store import Store
from bench.suite import PlannedRun, Suite


def list_command(options: argparse.Namespace) -> int:
    """Print what is built in: methods, tasks, suites, metrics or backbones."""
    rows: Callable[[], list[dict[str, Any]]] = {
        "methods": _methods,
        "tasks": _tasks,
        "suites": _suites,
        "metrics": _metrics,
        "backbones": lambda: [{"name": name} for name in builtin_backbones()],
    }[options.what]
    _print(rows(), as_json=options.json)
    return EXIT_OK


def check_command(options: argparse.Namespace) -> int:
    """Verify everything that can be wrong with a suite before an hour is spent on it."""
    suite, sources, planned = _planned(options)
    rows = [
        {
            "task": cell.task.name,
            "backbone": cell.backbone.name,
            "method": cell.method,
            "variant": variant,
        }
        | _checked(cell, sources)
        for (_, variant), cell in {
            (p.run.cell.hash, p.variant): p.run.cell for p in planned
        }.items()
    ]
    _print(rows, as_json=options.json)
    print(f"suite {suite.name!r} is valid: {len(planned)} runs", file=sys.stderr)
    return EXIT_OK


def _checked(cell: Cell, sources: Sources) -> dict[str, Any]:
    """Return the sizes of a cell's splits, and whether its method can do it."""
    unfit = backbones.unfit(sources.locate(cell.backbone), cell.task.kind)
    if unfit is not None:
        return {"verdict": unfit}
    backbone = load_backbone(cell, sources)
    splits = data.prepare(cell, sources, backbone.reader)
    config = registry.get(cell.method).Config.model_validate(cell.config)
    return {
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test),
        "mean_tokens": round(float(splits.train.lengths.mean()), 1),
        "steps": cell.budget.total_steps(len(splits.train.trained)),
        "verdict": registry.get(cell.method).supports(cell.task, backbone, config) or "ok",
    }


def plan_command(options: argparse.Namespace) -> int:
    """Print the grid, what is done, and the time left as far as stored runs tell it."""
    _, _, planned = _planned(options)
    store = Store(options.results)
    seconds = _measured_seconds(store)
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for entry in planned:
        cell = entry.run.cell
        key = (cell.task.name, cell.backbone.name, cell.method, entry.variant)
        row = rows.setdefault(
            key,
            dict(zip(("task", "backbone", "method", "variant"), key, strict=True))
            | {"runs": 0, "done": 0, "seconds_left": 0.0},
        )
        row["runs"] += 1
        if store.settled(entry.run):
            row["done"] += 1
        elif row["seconds_left"] is not None:
            each = seconds.get(key[:3])
            row["seconds_left"] = None if each is None else round(row["seconds_left"] + each, 1)
    _print(list(rows.values()), as_json=options.json)
    left = sum(row["runs"] - row["done"] for row in rows.values())
    print(f"{len(planned)} runs, {left} to do", file=sys.stderr)
    return EXIT_OK


def run_command(options: argparse.Namespace) -> int:
    """Run what is missing, then print the leaderboard."""
    choose_device(options.device)  # refuse it before anything is written
    suite, sources, planned = _planned(options)
    store = store_at(options.results)
    store.write_plan(suite.name, [(p.run, p.variant) for p in planned])
    wanted = list({p.run.hash: p.run for p in planned}.values())
    todo = [run for run in wanted if not store.settled(run)]
    settings = Settings(options.results, sources, options.device, options.stack, options.workers)
    print(f"{len(wanted)} runs, {len(wanted) - len(todo)} done before", file=sys.stderr)
    statuses = _execute_with_progress(todo, settings) if todo else Counter()
    results = Counter({status.value: count for status, count in statuses.items()})
    if options.json:
        print(json.dumps({"suite": suite.name, "runs": len(wanted), "now": results}))
    else:
        print(import_module("reports.build").terminal(options.results))
    return _conclude([(run, store.find(run)) for run in wanted], statuses)


def status_command(options: argparse.Namespace) -> int:
    """Print counts by suite and status, and every failure with its cause."""
    store = Store(options.results)
    found, plans = list(store.records()), store.plans()
    if not found and not plans:
        raise StoreError(
            f"results folder {options.results} holds no plan and no record; run a suite first, or "
            "give another folder"
        )
    by_hash = {r.run_hash: r for r in found if isinstance(r, Record)}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in plans:
        record = by_hash.get(row.run_hash)
        counts[row.suite][record.status.value if record else "missing"] += 1
    _print([{"suite": suite, **count} for suite, count in counts.items()], as_json=options.json)
    for item in found:
        if isinstance(item, RecordError):
            print(f"unreadable: {item}", file=sys.stderr)
        elif item.status not in {Status.OK, Status.SKIPPED}:
            print(
                f"{item.status}: {store.record_path(item.run)}: {_last_line(item)}", file=sys.stderr
            )
    return EXIT_OK


def report_command(options: argparse.Namespace) -> int:
    """Write the report's files and print where they are."""
    out = options.out or options.results / "report"
    built = import_module("reports.build").build(options.results, out)
    for path in (built.report, built.leaderboard, built.runs):
        print(path)
    return EXIT_OK


def reproduce_command(options: argparse.Namespace) -> int:
    """Run one record again and print what is the same and what drifted."""
    outcome = reproduce.reproduce(
        Store(options.results), options.run, _sources(options), options.device
    )
    if options.json:
        print(json.dumps(asdict(outcome)))
    else:
        print(outcome)
    return EXIT_OK if outcome.same else EXIT_FAILED_RUNS


def export_command(options: argparse.Namespace) -> int:
    """Train one record again and write its adapter; a drift is shown, and is no failure."""
    exported = export.export(
        Store(options.results), options.run, _sources(options), options.device, options.out
    )
    print(json.dumps(exported.report) if options.json else exported)
    return EXIT_OK


def _sources(options: argparse.Namespace) -> Sources:
    """Return the data folder and the backbone that a command on a stored run was given."""
    sources = Sources(options.data)
    if options.backbone:
        sources.backbone(options.backbone)
    return sources


def _planned(options: argparse.Namespace) -> tuple[Suite, Sources, list[PlannedRun]]:
    suite, path = suites.load(options.suite)
    suite = suites.restrict(
        suite,
        methods=options.methods,
        task_names=options.tasks,
        seeds=options.seeds,
        backbone=options.backbone,
        precision=options.precision,
    )
    sources = Sources(options.data)
    return suite, sources, suites.expand(suite, sources, path)


def _execute_with_progress(todo: Sequence[Any], settings: Settings) -> Counter[Status]:
    shape = "{l_bar}{bar}| {n:.1f}/{total} runs, {elapsed} gone, {remaining} left{postfix}"
    pause = 0.5 if sys.stderr.isatty() else 30.0  # seconds between lines; a log needs few
    # smoothing=0: the estimate is the average so far, since single stacks differ much in length.
    with tqdm(
        total=len(todo), bar_format=shape, file=sys.stderr, mininterval=pause, smoothing=0
    ) as bar:

        def show(done: float, statuses: Counter[Status]) -> None:
            trouble = {s.value: n for s, n in statuses.items() if s != Status.OK}
            bar.set_postfix(trouble, refresh=False)
            bar.update(done - bar.n)

        return execute(todo, settings, show)


def _conclude(outcome: Sequence[tuple[Run, Record | None]], statuses: Counter[Status]) -> int:
    """Name every run that is not ok, and return the exit code of a `run` command."""
    bad = [r for _, r in outcome if r and r.status not in {Status.OK, Status.SKIPPED}]
    for record in bad:
        print(f"{record.status}: {record.run}: {_last_line(record)}", file=sys.stderr)
    missing = [run for run, record in outcome if record is None]
    lost = statuses[Status.INTERRUPTED]
    if missing:
        where = "left by a worker that died" if lost else "in the hands of another process"
        print(f"{len(missing)} runs are {where}", file=sys.stderr)
    if any(record.status == Status.INTERRUPTED for record in bad):
        return EXIT_INTERRUPTED
    return EXIT_FAILED_RUNS if bad or lost else EXIT_OK


def _measured_seconds(store: Store) -> dict[tuple[str, ...], float]:
    """Return the median seconds of a run by (task, backbone, method), where any has been stored."""
    seconds: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for record in store.records():
        if isinstance(record, Record) and record.cost is not None:
            key = (record.cell.task.name, record.cell.backbone.name, record.cell.method)
            seconds[key].append(record.cost.train_seconds + record.cost.evaluation_seconds)
    return {key: statistics.median(values) for key, values in seconds.items()}


def _last_line(record: Record) -> str:
    return (record.detail or "no cause given").strip().splitlines()[-1]


def _print(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(list(rows)))
    elif rows:
        names = list(dict.fromkeys(name for row in rows for name in row))
        cells = [names] + [[_cell(row.get(name)) for name in names] for row in rows]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        for line in cells:
            print(
                "  ".join(
                    text.ljust(width) for text, width in zip(line, widths, strict=True)
                ).rstrip()
            )


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


def _methods() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "tuned": ", ".join(cls.search_space()) or None,
            "stackable": cls.stackable,
            "relative_cost": cls.relative_cost(cls.Config()) if cls.trains else None,
            "reference": cls.reference,
        }
        for name, cls in registry.discover().items()
    ]


def _tasks() -> list[dict[str, Any]]:
    loaded = [tasks.load(name) for name in tasks.builtin_names()]
    return [
        {
            "name": t.name,
            "kind": t.kind,
            "metrics": ", ".join(t.metrics),
            "description": t.description,
        }
        for t in loaded
    ]


def _suites() -> list[dict[str, Any]]:
    loaded = [(name, suites.load(name)[0]) for name in suites.builtin_names()]
    return [
        {
            "name": name,
            "tasks": len(s.tasks),
            "methods": len(s.methods),
            "seeds": len(s.seeds),
            "description": s.description,
        }
        for name, s in loaded
    ]


def _metrics() -> list[dict[str, Any]]:
    return [
        {
            "name": m.name,
            "kind": m.kind,
            "higher_is_better": m.higher_is_better,
            "description": m.description,
        }
        for m in metrics.METRICS.values()
    ]
