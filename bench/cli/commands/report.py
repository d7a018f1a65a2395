"""Write the report: a page, a PDF, CSV files and the figures."""

import argparse
from pathlib import Path

from gapbench.bench.api.choices import OK
from gapbench.bench.cli import arguments
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench report results --out results/report"
ORDER = 80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    arguments.results(parser, positional=True)
    parser.add_argument(
        "--out",
        type=Path,
        default=None,
        metavar="DIR",
        help="output folder (default: RESULTS/report)",
    )
    arguments.selection(parser)
    arguments.comparison(parser)


def main(options: argparse.Namespace) -> int:
    """Write the report's files and print where they are."""
    from gapbench.bench.api.results import load

    for path in load(options.results).report(**given(options, "results")):
        print(path)
    return OK
