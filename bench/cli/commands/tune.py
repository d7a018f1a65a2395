"""Search every method's settings on validation, then score winners on new seeds."""

import argparse
import json

from gapbench.bench.api.choices import OBJECTIVES, PRUNERS, SPACES
from gapbench.bench.cli import arguments
from gapbench.bench.cli.argument_types import natural, positive
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench tune quickstart --workers 2"
ORDER = 60

_UNITS = {
    "compute": "compute of N trials of plain LoRA (default: 32)",
    "trials": "number of trials, 8 or more",
    "steps": "number of updates of all trials",
    "examples": "training examples of all trials, each pass counted",
    "seconds": "seconds of training and scoring of all trials",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    arguments.suite(parser)
    arguments.results(parser)
    arguments.device(parser)
    _search(parser)
    arguments.parallel(parser)
    arguments.retry(parser)
    arguments.track(parser)
    arguments.json(parser)


def _search(parser: argparse.ArgumentParser) -> None:
    """Add the space, the budget and the storage of the search."""
    budget = parser.add_mutually_exclusive_group()
    for unit, what in _UNITS.items():
        budget.add_argument(
            f"--{unit}", type=positive, default=None, metavar="N", help=f"budget of a study: {what}"
        )
    parser.add_argument(
        "--space",
        choices=SPACES,
        default="default",
        help="search space: equally many dimensions for every method (default), or all (full)",
    )
    parser.add_argument(
        "--objective",
        choices=OBJECTIVES,
        default="score",
        help="objective on validation; a pair gives a Pareto front (default: score)",
    )
    parser.add_argument(
        "--trial-seeds", type=positive, default=1, metavar="K", help="runs per trial (default: 1)"
    )
    parser.add_argument(
        "--pruner",
        choices=PRUNERS,
        default="none",
        help="stop poor trials early: within a run, or between seeds (default: none)",
    )
    parser.add_argument(
        "--sampler",
        default="tpe",
        metavar="NAME",
        help="what draws trials from the ninth on: tpe, gp, cmaes, random, qmc, nsgaii or nsgaiii, "
        "the name of Optuna's class, or MODULE:CLASS (default: tpe)",
    )
    parser.add_argument(
        "--storage",
        default=None,
        metavar="URL",
        help="Optuna storage URL, or journal:FILE (default: RESULTS/studies.db, or "
        "RESULTS/studies.log where tasks of a cluster share it)",
    )
    parser.add_argument(
        "--seed", type=natural, default=0, metavar="N", help="seed of the search (default: 0)"
    )


def main(options: argparse.Namespace) -> int:
    """Tune every method of a suite, then run defaults and winners and print the leaderboard."""
    from gapbench.bench.api.calls import tune
    from gapbench.bench.cli.printing import print_notes, print_rows
    from gapbench.reports.render.build import terminal

    outcome = tune(**given(options), command=options.words).outcome
    if options.json:
        print(json.dumps(outcome.counts | {"studies": outcome.studies}))
    else:
        print_rows(outcome.studies)
        print(f"\n{terminal(options.results)}")
    print_notes(outcome.messages)
    return outcome.code
