"""Write a suite and its task file for your own rows."""

import argparse
from pathlib import Path

from gapbench.bench.api.choices import OK
from gapbench.bench.cli import arguments

EXAMPLE = "gapbench init mine.yaml --data train.csv --text review --label stars"
ORDER = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    parser.add_argument("suite", metavar="SUITE", type=Path, help="YAML file to write")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help="rows to train on: .csv, .tsv, .jsonl or .parquet",
    )
    arguments.columns(parser, required=True)
    parser.add_argument(
        "--backbone",
        metavar="ID|DIR",
        default=None,
        help="model to train: built-in, a folder, or owner/name@revision (default: the built-in "
        "one that fits the task)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite existing files")


def main(options: argparse.Namespace) -> int:
    """Write a suite for the user's own rows and print a first look at them."""
    from gapbench.bench.experiment.inferred_task import Columns
    from gapbench.bench.experiment.scaffold import init

    columns = Columns.of(options.text, options.label, options.target, options.kind, options.group)
    written = init(
        options.suite,
        options.data,
        options.test,
        columns,
        backbone=options.backbone,
        force=options.force,
    )
    print(written)
    return OK
