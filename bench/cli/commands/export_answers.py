"""Write the answers of stored runs to a file for judges, with the methods hidden."""

import argparse
import shlex
from pathlib import Path

from gapbench.bench.api.choices import FORMS, OK
from gapbench.bench.cli import arguments
from gapbench.bench.cli.argument_types import positive
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench export-answers results --to answers.jsonl --items 50"
ORDER = 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    arguments.results(parser, positional=True)
    parser.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="FILE",
        help="file to write, in JSON lines; judges fill in judge, and score (1 to 10) or "
        "preference (A, B or tie)",
    )
    parser.add_argument(
        "--form",
        choices=FORMS,
        default=FORMS[0],
        help="ratings: single answers; pairs: each beside the reference's answer "
        f"(default: {FORMS[0]})",
    )
    parser.add_argument(
        "--items",
        type=positive,
        default=100,
        metavar="N",
        help="rows of each test to ask about, at most (default: 100)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="decides which rows are asked about, which answer of a pair comes first, and the "
        "order of the lines (default: 0)",
    )
    arguments.selection(parser)
    arguments.reference(parser)
    arguments.data(parser)
    arguments.offline(parser)


def main(options: argparse.Namespace) -> int:
    """Write the file and say what to do with it."""
    from gapbench.bench.api.judging import export_answers

    print(export_answers(**given(options)))
    results = shlex.quote(str(options.results))
    print(f"Import what judges return with: gapbench import-judgements {results} FILE")
    return OK
