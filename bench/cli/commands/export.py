"""Train one stored run again and write it as an adapter folder for PEFT."""

import argparse
import json
from pathlib import Path

from gapbench.bench.api.choices import OK
from gapbench.bench.cli import arguments
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench export 3f1c0a9be2d45678 --out adapter"
ORDER = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="output folder: new or empty",
    )
    arguments.stored_run(parser)
    arguments.json(parser)


def main(options: argparse.Namespace) -> int:
    """Train one record again and write its adapter; a drift is shown but is not a failure."""
    from gapbench.bench.api.stored import export

    exported = export(**given(options))
    print(json.dumps(exported.report) if options.json else exported)
    return OK
