"""Run a random sample of a folder's runs again and compare."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from gapbench.bench.api.choices import FAILED_RUNS, OK
from gapbench.bench.cli import arguments
from gapbench.bench.cli.argument_types import positive
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench verify results --rows 5 --seed 1"
ORDER = 112


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    parser.add_argument(
        "folder",
        type=Path,
        metavar="FOLDER",
        help="results folder, or what 'gapbench submit' made of one",
    )
    parser.add_argument(
        "--rows", type=positive, default=5, metavar="N", help="runs to draw (default: 5)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of the draw (default: 0)"
    )
    arguments.inputs(parser)
    arguments.json(parser)


def main(options: argparse.Namespace) -> int:
    """Print a row for each run that was run again."""
    from gapbench.bench.api.stored import verify
    from gapbench.bench.cli.printing import print_rows

    found = verify(**given(options))
    if options.json:
        runs = [asdict(each) | {"same": each.same} for each in found.found]
        print(json.dumps({"same": found.same, "drawn_from": found.runs, "runs": runs}))
    else:
        print_rows(found.rows)
        print(found.conclusion)
    return OK if found.same else FAILED_RUNS
