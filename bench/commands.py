"""What each command does: one function each, from parsed options to an exit code."""

import argparse
import json
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from importlib import import_module
from typing import Any, get_args

import torch
from tqdm import tqdm

from bench import backbone as backbones
from bench import data, export, listings, registry, reproduce
from bench import suite as suites
from bench.cli import EXIT_FAILED_RUNS, EXIT_INTERRUPTED, EXIT_OK
from bench.config import Cell, Run
from bench.errors import RecordError, StoreError
from bench.execute import Settings, choose_device, execute, suitable_workers
from bench.fetch import fetch, wanted
from bench.init import Columns, init
from bench.record import Record, Status
from bench.run import load_backbone, store_at
from bench.score import score
from bench.sources import Sources
from bench.store import Store
from bench.suite import PlannedRun, Suite
from bench.tune import plan as tuning_plan
from bench.tune import winners
from bench.tune.plan import Search
from bench.tune.record import Limit, Unit
from bench.tune.search import Workshop, search
from bench.tune.storage import default_url
from bench.tune.summary import read_summaries


def list_command(options: argparse.Namespace) -> int:
    """Print what is built in: methods, tasks, suites, metrics or backbones."""
    _print(getattr(listings, options.what)(), as_json=options.json)
    return EXIT_OK


def check_command(options: argparse.Namespace) -> int:
    """Verify everything that can be wrong with a suite before an hour is spent on it."""
    suite, sources, planned = _planned(options)
    rows = [
        _named(cell, variant) | _checked(cell, sources)
        for (_, variant), cell in {
            (p.run.cell.hash, p.variant): p.run.cell for p in planned
        }.items()
    ]
    _print(rows, as_json=options.json)
    for warning in dict.fromkeys(warning for row in rows for warning in _overlaps(row)):
        print(warning, file=sys.stderr)
    print(f"suite {suite.name!r} is valid: {len(planned)} runs", file=sys.stderr)
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
        **{f"leaked_{split}": count for split, count in splits.leaked.items()},
        "mean_tokens": round(float(splits.train.lengths.mean()), 1),
        "steps": cell.budget.total_steps(len(splits.train.trained)),
        "verdict": registry.get(cell.method).obstacle(cell.task, backbone, config) or "ok",
    }


def _overlaps(row: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each split of a row of `check` that shares inputs with train."""
    for split in ("validation", "test"):
        if count := row.get(f"leaked_{split}"):
            yield (
                f"task {row['task']!r}: {count} of {row[split]} {split} inputs are in train too; "
                "their scores tell of memory; take them out of one of the two"
            )


def init_command(options: argparse.Namespace) -> int:
    """Write a suite about the user's own rows and print what was found in them."""
    columns = Columns(
        text=options.text,
        label=options.target or options.label,
        kind="generation" if options.target else options.kind,
        group=options.group,
    )
    print(init(options.suite, options.data, options.test, columns, force=options.force))
    return EXIT_OK


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
            _named(cell, entry.variant) | {"runs": 0, "done": 0, "seconds_left": 0.0},
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
    return _run_planned(options, suite, sources, planned, {})


def tune_command(options: argparse.Namespace) -> int:
    """Tune every method of a suite, then run defaults and winners and print the leaderboard."""
    device = choose_device(options.device)
    suite, sources, planned = _planned(options)
    wanted = _search(options)
    plans, without = tuning_plan.studies(suite, planned, sources, wanted)
    for label, reason in without.items():
        print(f"no study of {label}: {reason}", file=sys.stderr)
    limit = wanted.limit
    print(f"{len(plans)} studies of {limit.amount:g} {limit.unit} each", file=sys.stderr)
    workers = options.workers or suitable_workers(
        [[Run(plan.base, 0)] for plan in plans for _ in range(2)], sources, device
    )
    workshop = Workshop(
        options.results,
        options.storage or default_url(options.results),
        sources,
        device,
        options.stack,
        max(1, torch.get_num_threads() // workers),
    )
    store_at(options.results)
    with _bar(100, "% of all budgets") as bar:
        files = search(plans, workshop, workers, lambda share: bar.update(100 * share - bar.n))
    rows = [winners.table(file) for file in files]
    if not options.json:
        _print(rows, as_json=False)
        print()
    planned += winners.planned(plans, files, suite.seeds)
    code = _run_planned(options, suite, sources, planned, {"studies": rows})
    winners.complete(plans, files, suite.seeds, Store(options.results), options.results)
    fruitless = [file.name for file in files if file.best_number is None]
    for name in fruitless:
        print(f"no trial of {name} is complete; see gapbench status", file=sys.stderr)
    return code or (EXIT_FAILED_RUNS if fruitless else EXIT_OK)


def _search(options: argparse.Namespace) -> Search:
    """Return how to tune, from the options."""
    given = {unit: getattr(options, unit) for unit in get_args(Unit)}
    limits = [Limit(unit=unit, amount=n) for unit, n in given.items() if n is not None]
    return Search(
        limit=limits[0] if limits else Limit(),
        level=options.space,
        objectives=tuple(options.objective.split("+")),
        trial_seeds=options.trial_seeds,
        pruner=options.pruner,
        seed=options.seed,
    )


def _run_planned(
    options: argparse.Namespace,
    suite: Suite,
    sources: Sources,
    planned: Sequence[PlannedRun],
    more: dict[str, Any],
) -> int:
    """Run what is missing of a plan, print the leaderboard, and return the exit code."""
    store = store_at(options.results)
    store.write_plan(suite.name, [(p.run, p.variant) for p in planned])
    wanted = list({p.run.hash: p.run for p in planned}.values())
    todo = [run for run in wanted if not store.settled(run)]
    settings = Settings(options.results, sources, options.device, options.stack, options.workers)
    print(f"{len(wanted)} runs, {len(wanted) - len(todo)} done before", file=sys.stderr)
    statuses = _execute_with_progress(todo, settings) if todo else Counter()
    results = Counter({status.value: count for status, count in statuses.items()})
    if options.json:
        print(json.dumps({"suite": suite.name, "runs": len(wanted), "now": results} | more))
    else:
        print(import_module("reports.build").terminal(options.results))
    return _conclude([(run, store.find(run)) for run in wanted], statuses)


def status_command(options: argparse.Namespace) -> int:
    """Print counts by suite and status, and every failure with its cause."""
    store = Store(options.results)
    found, plans, studies = list(store.records()), store.plans(), read_summaries(options.results)
    if not found and not plans and not studies:
        raise StoreError(
            f"results folder {options.results} holds no plan and no record; run a suite first, or "
            "give another folder"
        )
    by_hash = {r.run_hash: r for r in found if isinstance(r, Record)}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in plans:
        record = by_hash.get(row.run_hash)
        counts[row.suite][record.status.value if record else "missing"] += 1
    suites_now = [{"suite": suite, **count} for suite, count in counts.items()]
    studies_now = [winners.table(summary.study) for summary in studies]
    if options.json:
        print(json.dumps([*suites_now, *studies_now]))
    else:
        _print(suites_now, as_json=False)
        _print(studies_now, as_json=False)
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


def score_command(options: argparse.Namespace) -> int:
    """Print what outputs score, and why a score is missing."""
    track = partial(tqdm, desc="metrics", file=sys.stderr, delay=1.0, leave=False)
    scored = score(options.task, options.predictions, options.references, options.metrics, track)
    if options.json:
        print(json.dumps(asdict(scored)))
    else:
        by_part = {"all": scored.scores} | scored.parts
        rows: list[dict[str, Any]] = [
            {
                **({"part": part} if scored.parts else {}),
                "metric": name,
                "score": None if value is None else f"{value:.4f}",
            }
            for part, scores in by_part.items()
            for name, value in scores.items()
        ]
        _print(rows, as_json=False)
    for name, reason in scored.reasons.items():
        print(f"no {name}: {reason}", file=sys.stderr)
    return EXIT_OK


def fetch_command(options: argparse.Namespace) -> int:
    """Fill a folder with what a suite needs, and print what is in it."""
    items = wanted(options.suite, Sources(options.data), options.tasks, options.backbone)
    shape = "{l_bar}{bar}| {n}/{total} items, {elapsed} gone, {remaining} left"
    rows = [
        asdict(fetched)
        for fetched in tqdm(
            fetch(items, options.out), total=len(items), bar_format=shape, file=sys.stderr
        )
    ]
    _print(rows, as_json=options.json)
    where = options.out
    print(
        f"use it by --data {where / 'data'} and --backbone {where / 'backbones'}/NAME",
        file=sys.stderr,
    )
    return EXIT_OK


def _sources(options: argparse.Namespace) -> Sources:
    """Return the data, backbone and adapter that a command on a stored run was given."""
    sources = Sources(options.data)
    if options.backbone:
        sources.backbone(options.backbone)
    if options.start:
        sources.start(options.start)
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
    with _bar(len(todo), " runs") as bar:

        def show(done: float, statuses: Counter[Status]) -> None:
            trouble = {s.value: n for s, n in statuses.items() if s != Status.OK}
            bar.set_postfix(trouble, refresh=False)
            bar.update(done - bar.n)

        return execute(todo, settings, show)


def _bar(total: int, unit: str) -> Any:
    """Return a progress bar with an estimate of the time left."""
    shape = f"{{l_bar}}{{bar}}| {{n:.1f}}/{{total}}{unit}, {{elapsed}} gone, {{remaining}} left"
    pause = 0.5 if sys.stderr.isatty() else 30.0  # seconds between lines; a log needs few
    # smoothing=0: the estimate is the average so far, since single stacks differ much in length.
    return tqdm(
        total=total,
        bar_format=shape + "{postfix}",
        file=sys.stderr,
        mininterval=pause,
        smoothing=0,
    )


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
