"""What can be typed: every command with its arguments, in the order in which help lists them.

What a command does is in `bench.commands`, which is loaded only when a command is called: help and
usage errors must not wait for the training libraries.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from bench import __version__, arguments
from bench.argument_values import names

Command = Callable[[argparse.Namespace], int]
_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="gapbench",
        description="Compare overfitting controls for LoRA fine-tuning under one fair protocol.",
        epilog="example: gapbench run quickstart && gapbench report",
    )
    parser.add_argument("--version", action="version", version=f"gapbench {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (
        _list,
        _check,
        _init,
        _plan,
        _run,
        _tune,
        _status,
        _report,
        _leaderboard,
        _compare,
        _reproduce,
        _export,
        _bench,
        _score,
        _fetch,
    ):
        add(commands)
    return parser


def _list(commands: _Commands) -> None:
    listing = _command(commands, "list", "show what is built in", "gapbench list methods")
    listing.add_argument("what", choices=["methods", "tasks", "suites", "metrics", "backbones"])
    arguments.json(listing)


def _check(commands: _Commands) -> None:
    check = _command(
        commands,
        "check",
        "verify a suite before it runs: schema, data, backbones",
        "gapbench check quickstart",
    )
    arguments.suite(check)
    arguments.json(check)


def _init(commands: _Commands) -> None:
    init = _command(
        commands,
        "init",
        "write a suite and its task file about your own rows",
        "gapbench init mine.yaml --data train.csv --text review --label stars",
    )
    init.add_argument("suite", metavar="SUITE", type=Path, help="the YAML file to write")
    init.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help="rows to train on: .csv, .tsv, .jsonl or .parquet",
    )
    init.add_argument(
        "--test",
        type=Path,
        default=None,
        metavar="FILE",
        help="rows to score on (default: a fifth of --data is set aside)",
    )
    init.add_argument(
        "--text", type=names, required=True, metavar="A,B", help="columns the model reads"
    )
    predicted = init.add_mutually_exclusive_group(required=True)
    predicted.add_argument("--label", metavar="COLUMN", help="class or value to predict")
    predicted.add_argument("--target", metavar="COLUMN", help="text to write")
    init.add_argument(
        "--kind",
        choices=["classification", "regression"],
        default=None,
        help="of the label (default: as its values suggest)",
    )
    init.add_argument(
        "--group",
        default=None,
        metavar="COLUMN",
        help="rows of equal value here stay together in every cut",
    )
    init.add_argument("--force", action="store_true", help="write over files that exist")


def _plan(commands: _Commands) -> None:
    plan = _command(
        commands,
        "plan",
        "show what a suite would run, and what is done already",
        "gapbench plan quickstart --results results --workers 4",
    )
    arguments.suite(plan)
    arguments.results(plan)
    arguments.workers(plan)
    arguments.json(plan)


def _run(commands: _Commands) -> None:
    run = _command(
        commands,
        "run",
        "run what a suite wants and the results folder lacks",
        "gapbench run quickstart --workers 2",
    )
    arguments.suite(run)
    arguments.results(run)
    arguments.device(run)
    arguments.parallel(run)
    arguments.time_budget(run)
    arguments.checkpoints(run)
    arguments.retry(run)
    arguments.json(run)


def _tune(commands: _Commands) -> None:
    tune = _command(
        commands,
        "tune",
        "search every method's settings on validation, then score winners on fresh seeds",
        "gapbench tune quickstart --trials 24 --workers 2",
    )
    arguments.suite(tune)
    arguments.results(tune)
    arguments.device(tune)
    arguments.tuning(tune)
    arguments.parallel(tune)
    tune.set_defaults(checkpoint_minutes=arguments.CHECKPOINT_MINUTES)  # of winners and defaults
    arguments.retry(tune)
    arguments.json(tune)


def _status(commands: _Commands) -> None:
    status = _command(
        commands,
        "status",
        "show how far every suite is, what failed and why, and how to try it again",
        "gapbench status results --watch 10",
    )
    arguments.results(status, positional=True)
    arguments.observing(status)


def _report(commands: _Commands) -> None:
    report = _command(
        commands,
        "report",
        "write report.html, report.pdf, leaderboard.csv, runs.csv and the figures",
        "gapbench report results --out results/report",
    )
    arguments.results(report, positional=True)
    report.add_argument(
        "--out",
        type=Path,
        default=None,
        metavar="DIR",
        help="where to write (default: RESULTS/report)",
    )
    arguments.selection(report)


def _leaderboard(commands: _Commands) -> None:
    leaderboard = _command(
        commands,
        "leaderboard",
        "print the leaderboard, also as a table for a paper",
        "gapbench leaderboard results --tasks rte,mrpc --latex",
    )
    arguments.results(leaderboard, positional=True)
    arguments.selection(leaderboard)
    form = leaderboard.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print Markdown as GitHub reads it")
    form.add_argument("--latex", action="store_true", help="print a LaTeX tabular with booktabs")
    arguments.json(form)


def _compare(commands: _Commands) -> None:
    compare = _command(
        commands,
        "compare",
        "compare two methods on the seeds and test items that both have",
        "gapbench compare lora hiddenkey results --task rte",
    )
    for name, metavar in (("first", "A"), ("second", "B")):
        compare.add_argument(name, metavar=metavar, help="a method, or 'method / variant'")
    arguments.results(compare, positional=True)
    compare.add_argument("--task", default=None, help="on this task only")
    compare.add_argument("--backbone", default=None, help="on this backbone only")
    arguments.json(compare)


def _reproduce(commands: _Commands) -> None:
    reproduce = _command(
        commands,
        "reproduce",
        "run one stored record again and compare",
        "gapbench reproduce 3f1c0a9be2d45678",
    )
    arguments.stored_run(reproduce)
    arguments.json(reproduce)


def _export(commands: _Commands) -> None:
    export = _command(
        commands,
        "export",
        "train one stored run again and write it as an adapter folder for PEFT",
        "gapbench export 3f1c0a9be2d45678 --out adapter",
    )
    export.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="where to write: a new or empty folder",
    )
    arguments.stored_run(export)
    arguments.json(export)


def _bench(commands: _Commands) -> None:
    bench = _command(
        commands,
        "bench",
        "measure what a step takes here, by method, precision and size of stack",
        "gapbench bench --backbone bert-base --methods lora,hiddenkey --stacks 1,4,16",
    )
    bench.add_argument(
        "--backbone",
        default="tiny-encoder",
        metavar="NAME|DIR",
        help="built-in name, folder, or a shape with random weights: bert-base, roberta-base, "
        "roberta-large, minilm-l6 (default: tiny-encoder)",
    )
    arguments.offline(bench)
    arguments.steps_measured(bench)
    arguments.device(bench)
    arguments.json(bench)


def _score(commands: _Commands) -> None:
    score = _command(
        commands,
        "score",
        "score the outputs of any system with a task's metrics",
        "gapbench score --task e2e_nlg --predictions out.txt --references test.parquet",
    )
    score.add_argument(
        "--task", required=True, metavar="TASK", help="name of a built-in task, or its YAML file"
    )
    score.add_argument(
        "--predictions",
        type=Path,
        required=True,
        metavar="FILE",
        help="texts: .txt, one a line, or .json; anything: .csv, .tsv, .jsonl or .parquet with a "
        "column prediction, or logit_0, logit_1, ..., or prob_0, prob_1, ...",
    )
    score.add_argument(
        "--references",
        type=Path,
        required=True,
        metavar="FILE",
        help="rows with the task's columns: .csv, .tsv, .jsonl or .parquet",
    )
    score.add_argument(
        "--metrics",
        type=names,
        default=(),
        metavar="A,B",
        help="instead of the task's own",
    )
    arguments.json(score)


def _fetch(commands: _Commands) -> None:
    fetch = _command(
        commands,
        "fetch",
        "copy a suite's data and backbones to a folder, for computers without a network",
        "gapbench fetch glue_small --out mirror",
    )
    arguments.suite_tasks(fetch)
    fetch.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="gets DIR/data and DIR/backbones"
    )
    arguments.sources(fetch)
    arguments.json(fetch)


def _command(commands: _Commands, name: str, summary: str, example: str) -> argparse.ArgumentParser:
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
    """Import a command only when it is called: help and usage errors must not wait for it."""

    def command(options: argparse.Namespace) -> int:
        from bench.commands import find

        return find(name)(options)

    return command
