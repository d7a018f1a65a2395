"""Write rows in formats that other sites read: Every Eval Ever, and the hub's .eval_results."""

import argparse
from pathlib import Path

from gapbench.bench.api.choices import OK, SHARED_FORMATS
from gapbench.bench.cli import arguments
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench publish results rows --format every-eval-ever"
ORDER = 127


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results folder")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument(
        "--format",
        choices=SHARED_FORMATS,
        default=SHARED_FORMATS[0],
        help="every-eval-ever: JSON of the EvalEval Coalition's schema; eval-results: YAML for "
        f"model repositories of the Hugging Face hub (default: {SHARED_FORMATS[0]})",
    )
    arguments.selection(parser)


def main(options: argparse.Namespace) -> int:
    """Write the files and print where they are."""
    from gapbench.bench.api.results import load

    for path in load(options.results).publish(**given(options, "results")):
        print(path)
    return OK
