"""The command that searches settings and trains a grid with what it found: tune."""

import argparse
import sys
from typing import get_args

import torch

from gapbench.bench.cli.commands.options import planned_by
from gapbench.bench.cli.commands.printing import print_rows, progress_bar
from gapbench.bench.cli.commands.train import run_planned
from gapbench.bench.cli.main import EXIT_FAILED_RUNS, EXIT_OK
from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.process import choose_device
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.engines.local import suitable_workers
from gapbench.bench.execution.work_queue import Job
from gapbench.bench.experiment.suite import PlannedRun, Suite
from gapbench.bench.store.event_log import EventLog, recorded
from gapbench.bench.store.store import Store, store_at
from gapbench.bench.tuning import selected
from gapbench.bench.tuning import study_plan as tuning_plan
from gapbench.bench.tuning.schema import Limit, Unit
from gapbench.bench.tuning.search import SearchContext, search
from gapbench.bench.tuning.storage import default_url
from gapbench.bench.tuning.study_plan import Search, StudyPlan


def tune_command(options: argparse.Namespace) -> int:
    """Tune every method of a suite, then run defaults and winners and print the leaderboard."""
    if options.engine != "local":
        raise ConfigError(
            f"--engine {options.engine}: tune searches with the processes of this computer; leave "
            "it out, and start the same command on as many computers as you like with one "
            "--results folder and one --storage URL"
        )
    choose_device(options.device)  # refuse it before anything is written
    suite, sources, planned = planned_by(options)
    wanted = _search(options)
    plans, without = tuning_plan.studies(suite, planned, sources, wanted)
    for label, reason in without.items():
        print(f"no study of {label}: {reason}", file=sys.stderr)
    limit = wanted.limit
    print(f"{len(plans)} studies of {limit.amount:g} {limit.unit} each", file=sys.stderr)

    def work(event_log: EventLog) -> int:
        return _tune(options, suite, sources, planned, plans, event_log)

    return recorded(store_at(options.results), "tune", options.words, work)


def _tune(
    options: argparse.Namespace,
    suite: Suite,
    sources: Sources,
    planned: list[PlannedRun],
    plans: list[StudyPlan],
    event_log: EventLog,
) -> int:
    device = choose_device(options.device)
    workers = options.workers or suitable_workers(
        [Job([Run(plan.base, 0)]) for plan in plans for _ in range(2)], sources, device
    )
    context = SearchContext(
        options.results,
        options.storage or default_url(options.results),
        sources,
        device,
        options.stack,
        max(1, torch.get_num_threads() // workers),
        event_log,
    )
    with progress_bar(100, "% of all budgets") as bar:
        files = search(plans, context, workers, lambda share: bar.update(100 * share - bar.n))
    rows = [selected.table(file) for file in files]
    if not options.json:
        print_rows(rows, as_json=False)
        print()
    planned += selected.planned(plans, files, suite.seeds)
    code = run_planned(options, suite, sources, planned, {"studies": rows}, event_log)
    selected.complete(plans, files, suite.seeds, Store(options.results), options.results)
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
