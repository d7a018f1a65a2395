"""What the command line offers and refuses: help, versions, lists, wrong usage, errors."""

import argparse
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

from gapbench.bench import __version__
from gapbench.bench.adaptation import registry
from gapbench.bench.cli import commands as command_files
from gapbench.bench.cli.main import main
from gapbench.bench.cli.parser import build_parser
from gapbench.bench.metrics.base import discover
from tests.support.small_suite import call

Capture = pytest.CaptureFixture[str]


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of every command by name."""
    (action,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def test_commands_are_those_of_the_design() -> None:
    """The commands of this version are all there."""
    wanted = {"list", "check", "plan", "run", "tune", "status", "report", "leaderboard", "compare"}
    assert wanted | {"reproduce", "export"} <= commands().keys()


@pytest.mark.parametrize("name", commands())
def test_help_of_a_command_has_an_example_that_parses(name: str, capsys: Capture) -> None:
    """Every command shows an example of itself, and the example is a legal command line."""
    answer = call(capsys, name, "--help")
    assert answer.code == 0
    words = " ".join(answer.out.split())
    example = words.rpartition("example: gapbench ")[2].split()
    assert example[0] == name
    assert len(example) > 1
    build_parser().parse_args(example)


def test_commands_are_the_files_of_their_folder() -> None:
    """A new file is a new command; help lists all of them in the order that they declare."""
    folder = Path(str(command_files.__file__)).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert {stem.replace("_", "-") for stem in files} == {*commands()}
    assert list(commands()) == list(command_files.discover())
    orders = [command.ORDER for command in command_files.discover().values()]
    assert [each for each in orders if orders.count(each) > 1] == []


@pytest.mark.parametrize("name", commands())
def test_every_flag_of_a_command_is_explained(name: str) -> None:
    """No argument comes without a help text."""
    for action in commands()[name]._actions:
        assert action.help or action.choices, f"{name} {action.dest}"


def test_help_names_every_command(capsys: Capture) -> None:
    """The help of the program lists its commands and gives an example."""
    answer = call(capsys, "--help")
    assert answer.code == 0
    first_words = [line.split()[0] for line in answer.out.splitlines() if line.startswith("    ")]
    assert set(commands()) <= set(first_words)
    assert "example: gapbench " in answer.out


def test_version_is_that_of_the_package(capsys: Capture) -> None:
    """`--version` prints one line."""
    assert call(capsys, "--version").out == f"gapbench {__version__}\n"


def test_version_as_json_says_what_a_fault_report_needs(capsys: Capture) -> None:
    """Versions of all packages, code, platform and device; an absent package is null."""
    shown = json.loads(call(capsys, "--version", "--json").out)
    assert shown["gapbench"] == __version__
    assert shown["packages"]["torch"] == version("torch")
    assert {"python", "platform", "device", "code_hash", "git_commit"} <= set(shown)
    assert call(capsys, "--version", "--jso").code == 2


def test_completion_finds_the_parser_that_the_page_names() -> None:
    """The completion generator calls a function by this name; the parser holds every command."""
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
    (place,) = re.findall(r"shtab --shell=\w+ ([\w.]+)", page)
    module, _, function = place.rpartition(".")
    assert set(commands()) <= set(getattr(import_module(module), function)().format_help().split())


def test_help_is_shown_without_loading_the_engine() -> None:
    """Help and usage errors do not wait for the training libraries."""
    code = (
        "import sys; from gapbench.bench.cli.main import build_parser; build_parser(); "
        "print([name for name in ('torch', 'transformers', 'datasets', 'pandas') "
        "if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["lst"],
        ["list"],
        ["list", "colours"],
        ["run"],
        ["run", "x", "--seeds", "0"],
        ["run", "x", "--seeds", "two"],
        ["run", "x", "--workers", "0"],
        ["run", "x", "--stack", "-1"],
        ["run", "x", "--device", "tpu"],
        ["run", "x", "--presicion", "fp32"],
        ["run", "x", "--methods", ""],
        ["report", "--tasks", ","],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: Capture) -> None:
    """A command line that cannot be meant prints usage to stderr and nothing to stdout."""
    answer = call(capsys, *arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert "usage: gapbench" in answer.err


def test_mistyped_argument_is_told_what_was_probably_meant(capsys: Capture) -> None:
    """The usage shown is that of the command, and a flag that is close is named."""
    answer = call(capsys, "run", "x", "--wrkers=3")
    assert answer.code == 2
    assert answer.err.startswith("usage: gapbench run ")
    assert "unrecognized arguments: --wrkers=3 (did you mean --workers?)" in answer.err
    assert "did you mean" not in call(capsys, "run", "x", "more").err


@pytest.mark.parametrize("what", ["methods", "tasks", "suites", "metrics", "backbones"])
def test_list_prints_the_same_names_as_text_and_as_json(what: str, capsys: Capture) -> None:
    """Each listing has a row an item, and `--json` gives the same items to a program."""
    rows = call(capsys, "list", what, "--json").json
    lines = call(capsys, "list", what).out.splitlines()
    assert len(rows) > 0
    assert lines[0].split()[0] == "name"
    assert [line.split()[0] for line in lines[1:]] == [row["name"] for row in rows]


def test_list_shows_everything_that_is_registered(capsys: Capture) -> None:
    """Listings come from the registries, not from a list of their own."""
    methods = call(capsys, "list", "methods", "--json").json
    assert {row["name"] for row in methods} == registry.discover().keys()
    metrics = call(capsys, "list", "metrics", "--json").json
    assert {row["name"] for row in metrics} == discover().keys()


def test_error_with_debug_shows_the_traceback() -> None:
    """`--debug` hands the exception through."""
    with pytest.raises(ValueError, match="unknown suite"):
        main(["plan", "no-such-suite", "--debug"])


def test_reader_that_goes_away_is_no_error() -> None:
    """Piping a listing into a program that stops reading ends quietly."""
    listing = subprocess.Popen(
        [sys.executable, "-m", "gapbench", "list", "metrics", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert listing.stdout is not None
    listing.stdout.close()
    assert listing.stderr is not None
    complaint = listing.stderr.read()
    assert listing.wait() == 0, complaint
    assert complaint == ""
    listing.stderr.close()
