"""Write a suite and its task file for your own rows."""

import argparse
from pathlib import Path

from gapbench.bench.api.choices import OK
from gapbench.bench.cli.argument_types import names

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
    parser.add_argument(
        "--test",
        type=Path,
        default=None,
        metavar="FILE",
        help="rows to test on (default: hold out a fifth of --data)",
    )
    parser.add_argument(
        "--text", type=names, required=True, metavar="A,B", help="columns that the model reads"
    )
    predicted = parser.add_mutually_exclusive_group(required=True)
    predicted.add_argument("--label", metavar="COLUMN", help="class or value to predict")
    predicted.add_argument("--target", metavar="COLUMN", help="text to generate")
    parser.add_argument(
        "--kind",
        metavar="KIND",
        default=None,
        help="kind of task, such as classification or regression (default: inferred from the "
        "values of the label)",
    )
    parser.add_argument(
        "--group",
        default=None,
        metavar="COLUMN",
        help="keep rows with equal values in this column in one split",
    )
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
    from gapbench.bench.experiment.scaffold import Columns, init

    columns = Columns(
        text=options.text,
        label=options.target or options.label,
        option="target" if options.target else "label",
        kind=options.kind,
        group=options.group,
    )
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
