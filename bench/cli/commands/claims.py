"""Say which claims of papers a results folder shows, contradicts or cannot tell."""

import argparse
import json
from pathlib import Path

from gapbench.bench.api.choices import OK
from gapbench.bench.cli import arguments

EXAMPLE = "gapbench claims results --matters 0.01"
ORDER = 105


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    arguments.results(parser, positional=True)
    parser.add_argument(
        "--claims",
        type=Path,
        default=None,
        metavar="FILE",
        help="YAML file of claims (default: those that come with gapbench)",
    )
    arguments.matters(parser)
    arguments.json(parser)


def main(options: argparse.Namespace) -> int:
    """Print what the folder says of each claim."""
    from gapbench.bench.api.results import load

    found = load(options.results).claims(options.claims, matters=options.matters)
    print(json.dumps(found.content) if options.json else found)
    return OK
