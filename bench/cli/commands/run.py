"""Run all runs of a suite that are not in the results folder yet."""

import argparse
import json

from gapbench.bench.cli import arguments
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench run quickstart --workers 2"
ORDER = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    arguments.suite(parser)
    arguments.results(parser)
    arguments.device(parser)
    arguments.parallel(parser)
    arguments.time_budget(parser)
    arguments.checkpoints(parser)
    arguments.retry(parser)
    arguments.track(parser)
    arguments.json(parser)


def main(options: argparse.Namespace) -> int:
    """Run what is missing, then print the leaderboard and the answer."""
    from gapbench.bench.api.calls import run
    from gapbench.bench.cli.printing import print_notes
    from gapbench.reports.render.build import terminal

    outcome = run(**given(options), command=options.words).outcome
    if options.json:
        left = {"left": outcome.left} if options.time_budget else {}
        print(json.dumps(outcome.counts | left))
    else:
        print(terminal(options.results))
    print_notes(outcome.messages)
    return outcome.code
