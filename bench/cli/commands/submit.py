"""Pack a results folder for a pull request."""

import argparse
import json
import shlex
from pathlib import Path

from gapbench.bench.api.choices import OK
from gapbench.bench.cli import arguments
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench submit results study.zip"
ORDER = 125


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    parser.add_argument("results", type=Path, metavar="RUNS", help="results folder")
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="new folder, or an archive whose name ends in .zip"
    )
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="pack the folder although planned runs have no record",
    )
    arguments.json(parser)


def main(options: argparse.Namespace) -> int:
    """Pack the folder and print what is in it."""
    from gapbench.bench.api.stored import submit

    packed = submit(**given(options))
    if options.json:
        print(json.dumps({"path": str(packed.path), "bytes": packed.bytes}
                         | packed.manifest.model_dump(mode="json")))  # fmt: skip
    else:
        print(packed)
        print(f"Check it with: gapbench verify {shlex.quote(str(packed.path))}")
    return OK
