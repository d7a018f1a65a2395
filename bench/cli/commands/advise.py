"""Race methods and settings on your rows, and say which to use."""

import argparse
import json
from pathlib import Path

from gapbench.bench.api.choices import ADVISED_METHODS, ARMS, FOLDS, REPEATS
from gapbench.bench.cli import arguments
from gapbench.bench.cli.argument_types import difference, duration, multiple, names, positive
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench advise --data train.csv --text review --label stars --budget 45m"
ORDER = 25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    parser.add_argument(
        "suite", metavar="SUITE", nargs="?", help="a suite instead of own rows: a name or a file"
    )
    parser.add_argument("--tasks", type=names, metavar="A", help="the task of the suite")
    _rows(parser)
    _race(parser)
    parser.add_argument(
        "--backbone",
        metavar="ID|DIR",
        help="model to train: built-in, a folder, a GGUF file, or owner/name@revision (default: "
        "the built-in one that fits the task, or the suite's)",
    )
    arguments.precision(parser)
    arguments.quantization(parser)
    parser.add_argument(
        "--export", type=Path, metavar="DIR", help="write the adapter of the winner to this folder"
    )
    arguments.results(parser)
    arguments.device(parser)
    arguments.workers(parser)
    arguments.offline(parser)
    arguments.json(parser)


def _rows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="your rows: .csv, .tsv, .jsonl or .parquet; with SUITE, the folder of its data",
    )
    arguments.columns(parser, required=False)


def _race(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget",
        type=duration,
        metavar="TIME",
        help="time until the answer, such as 45m or 2h (default: until the race is over)",
    )
    parser.add_argument(
        "--methods",
        type=names,
        metavar="A,B",
        help=f"methods to race (default: {', '.join(ADVISED_METHODS)}; or the suite's)",
    )
    parser.add_argument(
        "--arms",
        type=positive,
        metavar="N",
        help=f"number of combinations of method and settings (default: {ARMS}, or as many as fit "
        "the budget)",
    )
    for flag, default, what in (
        ("--folds", FOLDS, "parts into which rows are cut; each block validates on one"),
        ("--repeats", REPEATS, "cuts that are planned"),
    ):
        parser.add_argument(
            flag, type=positive, default=default, metavar="N", help=f"{what} (default: {default})"
        )
    parser.add_argument(
        "--matters",
        type=difference,
        metavar="X",
        help="least difference in score that matters (default: 1 %% of the best possible)",
    )
    parser.add_argument(
        "--at-most-cost", type=multiple, metavar="3x", help="largest cost of a run, beside LoRA's"
    )
    parser.add_argument(
        "--at-most-ece", type=difference, metavar="X", help="largest calibration error"
    )
    parser.add_argument(
        "--at-most-seconds", type=difference, metavar="S", help="largest time of a run"
    )


def main(options: argparse.Namespace) -> int:
    """Race, and print the answer."""
    from gapbench.bench.api.advise import advise
    from gapbench.bench.core.errors import ConfigError

    if options.suite is None and (options.data is None or options.text is None):
        raise ConfigError("give --data FILE, --text and --label for own rows, or a SUITE")
    if options.suite is not None and options.text is not None:
        raise ConfigError(f"{options.suite}: a suite has its own texts; leave out --text")
    own = options.suite is None
    source = options.data if own else options.suite
    data = None if own else options.data
    advice = advise(source, data=data, **given(options, "suite", "data"), command=options.words)
    print(json.dumps(advice.content) if options.json else advice)
    return advice.results.outcome.code
