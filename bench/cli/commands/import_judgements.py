"""Store judgements of answers beside the records, for reports."""

import argparse
from pathlib import Path

from gapbench.bench.api.choices import OK
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench import-judgements results judged.jsonl"
ORDER = 129


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results folder")
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="JSON lines with id, judge, and score or preference; see export-answers",
    )


def main(options: argparse.Namespace) -> int:
    """Store the judgements and say how many are new."""
    from gapbench.bench.api.judging import import_judgements

    print(import_judgements(**given(options)))
    return OK
