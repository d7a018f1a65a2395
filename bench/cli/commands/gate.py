"""Fail when a change of code or libraries moved a method beyond chance."""

import argparse
import json
from pathlib import Path

from gapbench.bench.api.choices import MOVED, OK
from gapbench.bench.cli import arguments

EXAMPLE = "gapbench gate new --against old-results"
ORDER = 115


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    arguments.results(parser, positional=True)
    parser.add_argument(
        "--against",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="results folder of the same runs before the change",
    )
    arguments.json(parser)


def main(options: argparse.Namespace) -> int:
    """Print what differs, and whether it is more than chance."""
    from gapbench.bench.api.stored import gate

    found = gate(options.results, options.against)
    print(json.dumps(found.content) if options.json else found)
    return OK if found.passed else MOVED
