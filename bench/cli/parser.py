"""What can be typed: every command with its arguments, in the order in which help lists them.

What a command does is in `bench.cli.commands`, which is loaded only when a command is called: help
and usage errors must not wait for the training libraries.
"""

import argparse
import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

from gapbench.bench import __version__
from gapbench.bench.cli import arguments
from gapbench.bench.cli.argument_types import names

Command = Callable[[argparse.Namespace], int]


class _CommandParser(argparse.ArgumentParser):
    """Refuses an unknown argument itself, with its own usage and what was probably meant."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [flag for action in self._actions for flag in action.option_strings]
            close = difflib.get_close_matches(unknown[0].partition("=")[0], known, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return options, unknown


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="gapbench",
        description="Compare overfitting controls for LoRA fine-tuning under one fair protocol.",
        epilog="example: gapbench run quickstart && gapbench report",
    )
    parser.add_argument("--version", action="version", version=f"gapbench {__version__}")
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", parser_class=_CommandParser
    )
    for name, (add, summary, example) in _COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"example: {example}",
        )
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.set_defaults(command=_call(name))
        add(command)
    return parser


def _call(name: str) -> Command:
    """Import a command only when it is called: help and usage errors must not wait for it."""

    def command(options: argparse.Namespace) -> int:
        from gapbench.bench.cli.commands import find

        return find(name)(options)

    return command


def _list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["methods", "tasks", "suites", "metrics", "backbones"])
    arguments.json(parser)


def _check(parser: argparse.ArgumentParser) -> None:
    arguments.suite(parser)
    arguments.json(parser)


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", metavar="SUITE", type=Path, help="the YAML file to write")
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
        help="rows to score on (default: a fifth of --data is set aside)",
    )
    parser.add_argument(
        "--text", type=names, required=True, metavar="A,B", help="columns the model reads"
    )
    predicted = parser.add_mutually_exclusive_group(required=True)
    predicted.add_argument("--label", metavar="COLUMN", help="class or value to predict")
    predicted.add_argument("--target", metavar="COLUMN", help="text to write")
    parser.add_argument(
        "--kind",
        choices=["classification", "regression"],
        default=None,
        help="of the label (default: as its values suggest)",
    )
    parser.add_argument(
        "--group",
        default=None,
        metavar="COLUMN",
        help="rows of equal value here stay together in every cut",
    )
    parser.add_argument("--force", action="store_true", help="write over files that exist")


def _plan(parser: argparse.ArgumentParser) -> None:
    arguments.suite(parser)
    arguments.results(parser)
    arguments.workers(parser)
    arguments.json(parser)


def _run(parser: argparse.ArgumentParser) -> None:
    arguments.suite(parser)
    arguments.results(parser)
    arguments.device(parser)
    arguments.parallel(parser)
    arguments.time_budget(parser)
    arguments.checkpoints(parser)
    arguments.retry(parser)
    arguments.json(parser)


def _tune(parser: argparse.ArgumentParser) -> None:
    arguments.suite(parser)
    arguments.results(parser)
    arguments.device(parser)
    arguments.tuning(parser)
    arguments.parallel(parser)
    parser.set_defaults(checkpoint_minutes=arguments.CHECKPOINT_MINUTES)  # of winners and defaults
    arguments.retry(parser)
    arguments.json(parser)


def _status(parser: argparse.ArgumentParser) -> None:
    arguments.results(parser, positional=True)
    arguments.observing(parser)


def _report(parser: argparse.ArgumentParser) -> None:
    arguments.results(parser, positional=True)
    parser.add_argument(
        "--out",
        type=Path,
        default=None,
        metavar="DIR",
        help="where to write (default: RESULTS/report)",
    )
    arguments.selection(parser)


def _leaderboard(parser: argparse.ArgumentParser) -> None:
    arguments.results(parser, positional=True)
    arguments.selection(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print Markdown as GitHub reads it")
    form.add_argument("--latex", action="store_true", help="print a LaTeX tabular with booktabs")
    arguments.json(form)


def _compare(parser: argparse.ArgumentParser) -> None:
    for name, metavar in (("first", "A"), ("second", "B")):
        parser.add_argument(name, metavar=metavar, help="a method, or 'method / variant'")
    arguments.results(parser, positional=True)
    parser.add_argument("--task", default=None, help="on this task only")
    parser.add_argument("--backbone", default=None, help="on this backbone only")
    arguments.json(parser)


def _reproduce(parser: argparse.ArgumentParser) -> None:
    arguments.stored_run(parser)
    arguments.json(parser)


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="where to write: a new or empty folder",
    )
    arguments.stored_run(parser)
    arguments.json(parser)


def _bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backbone",
        default="tiny-encoder",
        metavar="NAME|DIR",
        help="built-in name, folder, or a shape with random weights: bert-base, roberta-base, "
        "roberta-large, minilm-l6 (default: tiny-encoder)",
    )
    arguments.offline(parser)
    arguments.steps_measured(parser)
    arguments.device(parser)
    arguments.json(parser)


def _score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--task", required=True, metavar="TASK", help="name of a built-in task, or its YAML file"
    )
    parser.add_argument(
        "--predictions",
        type=Path,
        required=True,
        metavar="FILE",
        help="texts: .txt, one a line, or .json; anything: .csv, .tsv, .jsonl or .parquet with a "
        "column prediction, or logit_0, logit_1, ..., or prob_0, prob_1, ...",
    )
    parser.add_argument(
        "--references",
        type=Path,
        required=True,
        metavar="FILE",
        help="rows with the task's columns: .csv, .tsv, .jsonl or .parquet",
    )
    parser.add_argument(
        "--metrics",
        type=names,
        default=(),
        metavar="A,B",
        help="instead of the task's own; calibration is scored wherever probabilities are given",
    )
    arguments.json(parser)


def _fetch(parser: argparse.ArgumentParser) -> None:
    arguments.suite_tasks(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="gets DIR/data and DIR/backbones"
    )
    arguments.sources(parser)
    arguments.json(parser)


_COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], str, str]] = {
    "list": (
        _list,
        "show what is built in",
        "gapbench list methods",
    ),
    "check": (
        _check,
        "verify a suite before it runs: schema, data, backbones",
        "gapbench check quickstart",
    ),
    "init": (
        _init,
        "write a suite and its task file about your own rows",
        "gapbench init mine.yaml --data train.csv --text review --label stars",
    ),
    "plan": (
        _plan,
        "show what a suite would run, and what is done already",
        "gapbench plan quickstart --results results --workers 4",
    ),
    "run": (
        _run,
        "run what a suite wants and the results folder lacks",
        "gapbench run quickstart --workers 2",
    ),
    "tune": (
        _tune,
        "search every method's settings on validation, then score winners on fresh seeds",
        "gapbench tune quickstart --trials 24 --workers 2",
    ),
    "status": (
        _status,
        "show how far every suite is, what failed and why, and how to try it again",
        "gapbench status results --watch 10",
    ),
    "report": (
        _report,
        "write report.html, report.pdf, leaderboard.csv, runs.csv and the figures",
        "gapbench report results --out results/report",
    ),
    "leaderboard": (
        _leaderboard,
        "print the leaderboard, also as a table for a paper",
        "gapbench leaderboard results --tasks rte,mrpc --latex",
    ),
    "compare": (
        _compare,
        "compare two methods on the seeds and test items that both have",
        "gapbench compare lora hiddenkey results --task rte",
    ),
    "reproduce": (
        _reproduce,
        "run one stored record again and compare",
        "gapbench reproduce 3f1c0a9be2d45678",
    ),
    "export": (
        _export,
        "train one stored run again and write it as an adapter folder for PEFT",
        "gapbench export 3f1c0a9be2d45678 --out adapter",
    ),
    "bench": (
        _bench,
        "measure what a step takes here, by method, precision and size of stack",
        "gapbench bench --backbone bert-base --methods lora,hiddenkey --stacks 1,4,16",
    ),
    "score": (
        _score,
        "score the outputs of any system with a task's metrics",
        "gapbench score --task e2e_nlg --predictions out.txt --references test.parquet",
    ),
    "fetch": (
        _fetch,
        "copy a suite's data and backbones to a folder, for computers without a network",
        "gapbench fetch glue_small --out mirror",
    ),
}
"""What adds a command's arguments, what it does, and an example."""
