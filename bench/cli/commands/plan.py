"""Show the runs of a suite, and which are already done."""

import argparse
import shlex

from gapbench.bench.api.choices import OK
from gapbench.bench.cli import arguments
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench plan quickstart --results results --workers 4"
ORDER = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    arguments.suite(parser)
    arguments.results(parser)
    arguments.workers(parser)
    arguments.json(parser)


def main(options: argparse.Namespace) -> int:
    """Print the grid, the part already done, and an estimate of the time left."""
    from gapbench.bench.api.planning import planned
    from gapbench.bench.cli.printing import print_notes, print_rows

    overview = planned(**given(options))
    if overview.left == 0 and not options.json:
        results = shlex.quote(str(options.results))
        print(f"Nothing is left: {overview.notes[0]}. See gapbench leaderboard {results}")
        return OK
    print_rows(overview.rows, as_json=options.json)
    print_notes(overview.notes)
    return OK
