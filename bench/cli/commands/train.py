"""The command that trains a grid: run."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from gapbench.bench.cli.commands.options import command_of, planned_by
from gapbench.bench.cli.commands.printing import progress_bar, span
from gapbench.bench.cli.main import EXIT_FAILED_RUNS, EXIT_INTERRUPTED, EXIT_OK
from gapbench.bench.config.run import Run
from gapbench.bench.core.process import choose_device
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution import engines
from gapbench.bench.execution.engines.base import Settings
from gapbench.bench.execution.scheduler import GridResult, execute
from gapbench.bench.experiment.suite import PlannedRun, Suite
from gapbench.bench.store.event_log import EventLog, recorded
from gapbench.bench.store.failure import ENOUGH, left_alone
from gapbench.bench.store.record import Status
from gapbench.bench.store.store import Store, store_at
from gapbench.bench.training.checkpoint import Checkpoints


def run_command(options: argparse.Namespace) -> int:
    """Run what is missing, then print the leaderboard."""
    _refuse_early(options)
    suite, sources, planned = planned_by(options)

    def work(event_log: EventLog) -> int:
        return run_planned(options, suite, sources, planned, {}, event_log, options.time_budget)

    return recorded(store_at(options.results), "run", options.words, work)


def run_planned(
    options: argparse.Namespace,
    suite: Suite,
    sources: Sources,
    planned: Sequence[PlannedRun],
    more: dict[str, Any],
    event_log: EventLog,
    budget_s: float | None = None,
) -> int:
    """Run what is missing of a plan, print the leaderboard, and return the exit code."""
    store = store_at(options.results)
    store.write_plan(suite.name, [(p.run, p.variant) for p in planned], command_of(options))
    wanted = list({p.run.hash: p.run for p in planned}.values())
    unsettled = store.unsettled(wanted)
    alone = {r.hash for r in store.recorded(unsettled) if left_alone(store.find(r), options.retry)}
    todo = [run for run in unsettled if run.hash not in alone]
    settings = Settings(
        results=options.results,
        sources=sources,
        device=options.device,
        stack=options.stack,
        workers=options.workers,
        engine=options.engine,
        budget_s=budget_s,
        checkpoint_minutes=options.checkpoint_minutes,
        event_log=event_log,
    )
    Checkpoints(store, choose_device("cpu")).clear()
    print(f"{len(wanted)} runs, {len(wanted) - len(unsettled)} done before", file=sys.stderr)
    if alone:
        print(
            f"{len(alone)} of them failed {ENOUGH} times in the same way and are left alone; "
            "--retry with their statuses tries them again, see gapbench status",
            file=sys.stderr,
        )
    outcome = _execute_with_progress(todo, settings) if todo else GridResult(Counter())
    results = Counter({status.value: count for status, count in outcome.statuses.items()})
    if options.json:
        more |= {"left": outcome.left} if budget_s else {}
        print(json.dumps({"suite": suite.name, "runs": len(wanted), "now": results} | more))
    else:
        print(import_module("gapbench.reports.render.build").terminal(options.results))
    return _conclude(wanted, store, outcome)


def _refuse_early(options: argparse.Namespace) -> None:
    """Raise what is wrong with the engine or the device before anything is written."""
    engines.find(options.engine)
    if options.engine == "local":  # the computers of a cluster have devices of their own
        choose_device(options.device)


def _execute_with_progress(todo: Sequence[Run], settings: Settings) -> GridResult:
    with progress_bar(len(todo), " runs") as bar:

        def show(done: float, statuses: Counter[Status]) -> None:
            trouble = {s.value: n for s, n in statuses.items() if s != Status.OK}
            bar.set_postfix(trouble, refresh=False)
            bar.update(done - bar.n)

        return execute(todo, settings, show)


def _conclude(wanted: Sequence[Run], store: Store, outcome: GridResult) -> int:
    """Name every run that is not ok, and return the exit code of a `run` command."""
    missing, statuses = 0, set[Status]()
    for run in wanted:
        status = store.status(run)
        record = None if status in {Status.OK, Status.SKIPPED} else store.find(run)
        if status is None:
            missing += 1
        elif record is not None:
            statuses.add(status)
            print(f"{status}: {run}: {record.cause}", file=sys.stderr)
    if outcome.left:
        expected = outcome.seconds_left
        about = f", about {span(expected)} of one worker" if expected else ""
        print(f"{outcome.left} runs are left{about}; the same command goes on", file=sys.stderr)
    elif missing:
        print(f"{missing} runs are in the hands of another process", file=sys.stderr)
    if outcome.left or missing or Status.INTERRUPTED in statuses:
        return EXIT_INTERRUPTED
    return EXIT_FAILED_RUNS if statuses else EXIT_OK
