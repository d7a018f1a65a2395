"""The command line: parse, call, print. What a command does lives in `bench.commands`.

Results go to stdout, progress and messages to stderr. Exit codes: 0 all runs ok, 2 bad usage or
invalid input, 3 finished with failed runs, 130 interrupted and resumable.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import __version__
from bench.errors import BenchError

EXIT_OK, EXIT_USAGE, EXIT_FAILED_RUNS, EXIT_INTERRUPTED = 0, 2, 3, 130

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
    # Idle threads of the numerical libraries spin by default, which on a machine with other work
    # was measured to make a run seven times slower. It must be set before they load.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.getLogger("huggingface_hub").propagate = False  # it prints by itself
    logging.basicConfig(level=logging.WARNING, format="gapbench: %(message)s", stream=sys.stderr)
    try:
        command: Command = options.command
        return command(options)
    except BenchError as error:
        if options.debug:
            raise
        print(f"gapbench: error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("gapbench: interrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        sys.stderr.close()
        return EXIT_OK


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="gapbench",
        description="Compare overfitting controls for LoRA fine-tuning under one fair protocol.",
        epilog="example: gapbench run quickstart && gapbench report",
    )
    parser.add_argument("--version", action="version", version=f"gapbench {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    listing = _command(commands, "list", "show what is built in", "gapbench list methods")
    listing.add_argument("what", choices=["methods", "tasks", "suites", "metrics", "backbones"])
    _json(listing)

    check = _command(
        commands,
        "check",
        "verify a suite before it runs: schema, data, backbones",
        "gapbench check quickstart",
    )
    _suite(check)
    _json(check)

    plan = _command(
        commands,
        "plan",
        "show what a suite would run, and what is done already",
        "gapbench plan quickstart --results results",
    )
    _suite(plan)
    _results(plan)
    _json(plan)

    run = _command(
        commands,
        "run",
        "run what a suite wants and the results folder lacks",
        "gapbench run quickstart --workers 2",
    )
    _suite(run)
    _results(run)
    _device(run)
    run.add_argument(
        "--stack",
        type=_number_or_auto,
        default=None,
        metavar="auto|N",
        help="most runs that share one copy of the backbone (default: auto)",
    )
    run.add_argument(
        "--workers",
        type=_number_or_auto,
        default=None,
        metavar="auto|N",
        help="processes; the threads are divided between them (default: auto)",
    )
    _json(run)

    status = _command(
        commands,
        "status",
        "show how far every suite is, and what failed and why",
        "gapbench status results",
    )
    _results(status, positional=True)
    _json(status)

    report = _command(
        commands,
        "report",
        "write leaderboard.csv, runs.csv and report.html",
        "gapbench report results --out results/report",
    )
    _results(report, positional=True)
    report.add_argument(
        "--out",
        type=Path,
        default=None,
        metavar="DIR",
        help="where to write (default: RESULTS/report)",
    )

    reproduce = _command(
        commands,
        "reproduce",
        "run one stored record again and compare",
        "gapbench reproduce 3f1c0a9be2d45678",
    )
    reproduce.add_argument("run", metavar="RUN", help="a record's file, or its run hash")
    _results(reproduce)
    _sources(reproduce)
    _device(reproduce)
    _json(reproduce)

    export = _command(
        commands,
        "export",
        "train one stored run again and write it as an adapter folder for PEFT",
        "gapbench export 3f1c0a9be2d45678 --out adapter",
    )
    export.add_argument("run", metavar="RUN", help="a record's file, or its run hash")
    export.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="where to write: a new or empty folder",
    )
    _results(export)
    _sources(export)
    _device(export)
    _json(export)
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    example: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example: {example}",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(command=_call(name))
    return parser


def _call(name: str) -> Command:
    """Import the commands only when one is called: help and usage errors must not wait for them."""

    def command(options: argparse.Namespace) -> int:
        from bench import commands

        chosen: Command = getattr(commands, f"{name}_command")
        return chosen(options)

    return command


def _suite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", metavar="SUITE", help="name of a built-in suite, or a YAML file")
    parser.add_argument(
        "--methods", type=_names, default=(), metavar="A,B", help="only these methods"
    )
    parser.add_argument("--tasks", type=_names, default=(), metavar="A,B", help="only these tasks")
    parser.add_argument(
        "--seeds",
        type=_positive,
        default=None,
        metavar="N",
        help="seeds 0 to N-1 instead of the suite's own",
    )
    parser.add_argument(
        "--precision",
        choices=["fp32", "fp64"],
        default=None,
        help="of all arithmetic (default: the suite's)",
    )
    _sources(parser)


def _sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backbone",
        default=None,
        metavar="ID|DIR",
        help="instead of the suite's: built-in name, folder, or owner/name@revision",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=None,
        metavar="DIR",
        help="read DIR/<task>/<split>.parquet instead of the hub",
    )


def _results(parser: argparse.ArgumentParser, *, positional: bool = False) -> None:
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


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="where to compute (default: auto)",
    )


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for a program to read")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number of at least 1")
    return value


def _number_or_auto(text: str) -> int | None:
    return None if text == "auto" else _positive(text)


if __name__ == "__main__":
    sys.exit(main())
