"""Groups of arguments that commands share."""

import argparse
from pathlib import Path

from gapbench.bench import tracking
from gapbench.bench.api.choices import (
    CHECKPOINT_MINUTES,
    DEVICES,
    PRECISIONS,
    QUANTIZATIONS,
    RETRYABLE,
)
from gapbench.bench.cli.argument_types import (
    difference,
    duration,
    minutes,
    names,
    number_or_auto,
    positive,
    retryable,
)
from gapbench.bench.execution import engines


def columns(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add what says which columns of the user's own rows are what, and where to test."""
    parser.add_argument(
        "--test", type=Path, metavar="FILE", help="rows to test on (default: a fifth of --data)"
    )
    parser.add_argument(
        "--text", type=names, required=required, metavar="A,B", help="columns that the model reads"
    )
    predicted = parser.add_mutually_exclusive_group(required=required)
    predicted.add_argument("--label", metavar="COLUMN", help="class or value to predict")
    predicted.add_argument("--target", metavar="COLUMN", help="text to generate")
    parser.add_argument(
        "--kind",
        metavar="KIND",
        help="kind of task, such as classification or regression (default: inferred from the "
        "values of the label)",
    )
    parser.add_argument(
        "--group", metavar="COLUMN", help="keep rows with equal values in this column together"
    )


def suite(parser: argparse.ArgumentParser) -> None:
    """Add the suite and the flags that select a part of it."""
    suite_tasks(parser)
    parser.add_argument(
        "--methods", type=names, default=None, metavar="A,B", help="only these methods"
    )
    parser.add_argument(
        "--seeds",
        type=positive,
        default=None,
        metavar="N",
        help="use seeds 0 to N-1 instead of the suite's seeds",
    )
    precision(parser)
    quantization(parser)
    sources(parser)


def precision(parser: argparse.ArgumentParser) -> None:
    """Add what runs compute in."""
    parser.add_argument(
        "--precision",
        choices=["auto", *PRECISIONS],
        default=None,
        help="fp32: compute everything in float32; bf16: the frozen backbone and the adapters' "
        "products in bfloat16, trained numbers and logits in float32; auto: bf16 where it "
        "measures faster (default: the suite's)",
    )


def quantization(parser: argparse.ArgumentParser) -> None:
    """Add the format of the frozen linear layers."""
    parser.add_argument(
        "--quantization",
        choices=QUANTIZATIONS,
        default=None,
        help="store the frozen linear layers of the backbone in 4 or 8 bits a weight (default: the "
        "suite's, or in full)",
    )


def suite_tasks(parser: argparse.ArgumentParser) -> None:
    """Add the suite and the flag that selects some of its tasks."""
    parser.add_argument("suite", metavar="SUITE", help="name of a built-in suite, or a YAML file")
    parser.add_argument("--tasks", type=names, default=None, metavar="A,B", help="only these tasks")


def sources(parser: argparse.ArgumentParser) -> None:
    """Add the sources of data and backbones."""
    parser.add_argument(
        "--backbone",
        default=None,
        metavar="ID|DIR",
        help="override the suite's backbone: built-in name, folder, GGUF file, or "
        "owner/name@revision",
    )
    data(parser)
    offline(parser)


def data(parser: argparse.ArgumentParser) -> None:
    """Add the folder of the rows of tasks."""
    parser.add_argument(
        "--data",
        type=Path,
        default=None,
        metavar="DIR",
        help="read DIR/<task>/<split>.parquet instead of the hub",
    )


def offline(parser: argparse.ArgumentParser) -> None:
    """Add the flag that forbids connections to the hub."""
    parser.add_argument(
        "--offline",
        action="store_true",
        help="never connect to the hub; fail if data or a backbone is only there",
    )


def stored_run(parser: argparse.ArgumentParser) -> None:
    """Add a stored run, where it is, the folders of its inputs, and the device."""
    parser.add_argument(
        "run", metavar="RUN", help="record file, run hash, or first characters of the hash"
    )
    results(parser)
    inputs(parser)


def inputs(parser: argparse.ArgumentParser) -> None:
    """Add the folders of the inputs of stored runs, and the device."""
    sources(parser)
    parser.add_argument(
        "--start",
        type=Path,
        default=None,
        metavar="DIR",
        help="folder of the run's initial adapter, if it has one",
    )
    device(parser)


def results(parser: argparse.ArgumentParser, *, positional: bool = False) -> None:
    """Add the results folder, as a flag or as a positional argument."""
    help_text = "results folder (default: results)"
    if positional:
        parser.add_argument(
            "results",
            nargs="?",
            type=Path,
            default=Path("results"),
            metavar="RESULTS",
            help=help_text,
        )
    else:
        parser.add_argument(
            "--results", type=Path, default=Path("results"), metavar="DIR", help=help_text
        )


def selection(parser: argparse.ArgumentParser) -> None:
    """Add the flags that pick a part of a results folder."""
    places(parser)
    _only(parser, "methods")


def places(parser: argparse.ArgumentParser) -> None:
    """Add the flags that pick tasks and backbones of a results folder."""
    _only(parser, "tasks", "backbones")


def _only(parser: argparse.ArgumentParser, *kinds: str) -> None:
    for names_of in kinds:
        parser.add_argument(
            f"--{names_of}",
            type=names,
            default=None,
            metavar="A,B",
            help=f"only these {names_of}",
        )


def comparison(parser: argparse.ArgumentParser) -> None:
    """Add what methods are compared with, and which difference matters."""
    reference(parser)
    matters(parser)


def reference(parser: argparse.ArgumentParser) -> None:
    """Add what methods are compared with."""
    parser.add_argument(
        "--reference",
        default="",
        metavar="METHOD",
        help="compare all others with this method first (default: what the suite names, else lora)",
    )


def matters(parser: argparse.ArgumentParser) -> None:
    """Add which difference matters."""
    parser.add_argument(
        "--matters",
        type=difference,
        default=None,
        metavar="SCORE",
        help="least difference in score that matters to you (default: 1 %% of the best possible)",
    )


def device(parser: argparse.ArgumentParser) -> None:
    """Add the device."""
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="device to compute on (default: auto)",
    )


def parallel(parser: argparse.ArgumentParser) -> None:
    """Add the stack size, the engine and the number of workers."""
    parser.add_argument(
        "--stack",
        type=number_or_auto,
        default=None,
        metavar="auto|N",
        help="maximum number of runs that share one backbone (default: auto)",
    )
    workers(parser)


def workers(parser: argparse.ArgumentParser) -> None:
    """Add the engine and the number of workers."""
    parser.add_argument(
        "--engine",
        choices=engines.names(),
        default="local",
        help="run in local processes, Ray tasks, or a Slurm job array (default: local)",
    )
    parser.add_argument(
        "--workers",
        type=number_or_auto,
        default=None,
        metavar="auto|N",
        help="number of workers. local: processes, which share the threads; ray: concurrent tasks; "
        "slurm: jobs of the array (default: auto)",
    )


def time_budget(parser: argparse.ArgumentParser) -> None:
    """Add the time budget."""
    parser.add_argument(
        "--time-budget",
        type=duration,
        default=None,
        metavar="TIME",
        help="stop after this time (such as 45m or 1h30m), with every method's first seed first; "
        "runs in training are saved, and the same command resumes later",
    )


def checkpoints(parser: argparse.ArgumentParser) -> None:
    """Add the interval between checkpoints."""
    parser.add_argument(
        "--checkpoint-minutes",
        type=minutes,
        default=CHECKPOINT_MINUTES,
        metavar="N",
        help="save active runs every N minutes, so that a killed run resumes from its checkpoint "
        f"(default: {CHECKPOINT_MINUTES:g})",
    )


def retry(parser: argparse.ArgumentParser) -> None:
    """Add the choice of failed runs to retry that would otherwise be skipped."""
    parser.add_argument(
        "--retry",
        type=retryable,
        default=None,
        metavar="A,B",
        help=f"retry runs with these statuses ({', '.join(RETRYABLE)}), including those that "
        "failed twice in the same way, which are skipped otherwise",
    )


def track(parser: argparse.ArgumentParser) -> None:
    """Add the tracker that gets runs as they end."""
    parser.add_argument(
        "--track",
        choices=tracking.names(),
        default=None,
        help="send each run to this tracker when it has ended; if it fails, work goes on",
    )


def json(parser: "argparse._ActionsContainer") -> None:
    """Add the option for machine-readable output."""
    parser.add_argument("--json", action="store_true", help="print JSON for a program to read")
