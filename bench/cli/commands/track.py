"""Send the finished runs of a results folder to a tracker."""

import argparse

from gapbench.bench import tracking
from gapbench.bench.api.choices import OK
from gapbench.bench.cli import arguments
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench track results --to tensorboard"
ORDER = 126


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    arguments.results(parser, positional=True)
    parser.add_argument(
        "--to", choices=tracking.names(), required=True, help="tracker that gets the runs"
    )


def main(options: argparse.Namespace) -> int:
    """Send what the tracker lacks and print how much that was."""
    from gapbench.bench.api.stored import track

    print(track(**given(options)))
    return OK
