"""Output never costs an exit code: any name can be printed anywhere, or nowhere."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gapbench.bench.cli.printing import print_rows
from tests.support.small_suite import REPOSITORY, SmallSuite, call, call_in_ascii, make

NAME = "größe \N{GREEK SMALL LETTER ALPHA}=0.1 \u65e5\u672c"
PLAIN_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """Four runs of methods whose names few encodings have."""
    methods = [{"method": "head", "variant": NAME}, {"method": "majority", "variant": f"{NAME} 2"}]
    return make(tmp_path / "small", make_backbone("bert"), methods=methods, seeds=2)


COMMANDS = (
    "import json, sys; from gapbench.bench.cli.main import main; "
    "codes = [main(words) for words in json.loads(sys.argv[1])]; sys.exit(max(codes))"
)


def commands(small: SmallSuite) -> list[list[str]]:
    """Return commands that print these names."""
    folder = str(small.results)
    return [
        ["run", *small.running, "--workers", "1"],
        ["plan", *small.running],
        ["leaderboard", folder],
        ["compare", "head", "majority", folder],
    ]


def test_names_that_a_terminal_cannot_show_are_escaped(small: SmallSuite) -> None:
    """Commands end as they would elsewhere."""
    ran, planned, *compared = (call_in_ascii(*words) for words in commands(small))
    for answer in (ran, planned, *compared):
        assert answer.code == 0
        assert "Traceback" not in answer.err
    for answer in (ran, *compared):
        assert r"gr\xf6\xdfe \u03b1=0.1" in answer.out


def test_names_that_a_locale_lacks_are_escaped(small: SmallSuite) -> None:
    """The streams of a process have the encoding of its locale."""
    ended = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands(small))],
        cwd=REPOSITORY,
        env=os.environ | PLAIN_LOCALE,
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in ended.stderr
    assert ended.returncode == 0, ended.stderr
    assert rb"gr\xf6\xdfe \u03b1=0.1" in ended.stdout


@pytest.mark.parametrize("redirection", [">&- 2>&-", "2>/dev/full", "2>&1 | head -n 1"])
def test_runs_end_well_where_nobody_reads(small: SmallSuite, redirection: str) -> None:
    """A stream that is closed, full or without a reader stops no run."""
    command = [sys.executable, "-m", "gapbench", "run", *small.running]
    line = f"set -o pipefail; {shlex.join(command)} --workers 1 {redirection}"
    ended = subprocess.run(
        ["/bin/bash", "-c", line], cwd=REPOSITORY, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert len(small.records()) == 4


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["--version", "--help", "run --help", "list metrics", "list"])
def test_output_that_nobody_takes_is_told_once(command: str, unbuffered: str) -> None:
    """A reader that has gone is no error, a full disk is one; Python adds nothing at the end."""
    words = [sys.executable, "-m", "gapbench", *command.split()]
    ended = {
        place: subprocess.run(
            ["/bin/bash", "-c", f"set -o pipefail; {shlex.join(words)} {redirection}"],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            capture_output=True,
            text=True,
            check=False,
        )
        for place, redirection in (("gone", "| sleep 0"), ("full", ">/dev/full"))
    }
    if command == "list":  # a mistake is told whoever reads results
        assert {each.returncode for each in ended.values()} == {2}
        assert all("required: what" in each.stderr for each in ended.values())
        return
    assert (ended["gone"].returncode, ended["gone"].stderr) == (0, "")
    if not command.endswith("--help"):  # the parser ignores failures of its own printing
        assert (ended["full"].returncode, ended["full"].stderr.count("\n")) == (2, 1)
        assert "standard output cannot be written: No space left" in ended["full"].stderr
    assert "Exception" not in ended["full"].stderr


PRINTING = """
import sys
from gapbench.bench.cli import main
from gapbench.bench.cli.commands import list as command
from gapbench.bench.core.errors import ConfigError

def printed(options):
    print("a result" * {size})
    {end}

command.main = printed
sys.exit(main.main(["list", "methods"]))
"""


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("redirection", ["| sleep 0", ">/dev/full"])
@pytest.mark.parametrize(
    ("end", "code", "told"),
    [("return 3", 3, ""), ("raise ConfigError('a mistake')", 2, "gapbench: error: a mistake")],
)
def test_exit_code_and_message_do_not_depend_on_who_reads(
    size: int, redirection: str, end: str, code: int, told: str
) -> None:
    """A check in a pipeline fails as it does alone; of a full disk more is told."""
    script = shlex.quote(PRINTING.format(size=size, end=end))
    done = subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {sys.executable} -c {script} {redirection}"],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        capture_output=True,
        text=True,
        check=False,
    )
    if size > 1 and "full" in redirection:  # it fails before the command can end
        assert done.returncode == 2
        assert done.stderr.count("standard output cannot be written") == 1
        return
    assert done.returncode == code
    assert told in done.stderr
    assert ("standard output cannot be written" in done.stderr) == ("full" in redirection)
    assert "Traceback" not in done.stderr


def test_told_commands_can_be_typed_whatever_a_folder_is_called(
    small: SmallSuite, capsys: pytest.CaptureFixture[str]
) -> None:
    """A blank in a path does not end it, and a shell runs nothing of it."""
    results, packed = small.folder / "my $(results)", small.folder / "it's packed"
    running = (*small.planning, "--results", results)
    call(capsys, "run", *running, "--workers", 1)
    told = [
        call(capsys, "plan", *running).out.partition("See ")[2],
        call(capsys, "submit", results, packed).out.partition("with: ")[2],
    ]
    assert [shlex.split(line)[1:] for line in told] == [
        ["leaderboard", str(results)],
        ["verify", str(packed)],
    ]


def test_narrow_terminal_gets_what_all_rows_share_as_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is longer than the terminal, no value is lost, and a pipe gets the whole table."""
    shared = {f"cut_{number}": 0 for number in range(9)} | {"task": "syn_sentiment"}
    rows = [shared | {"method": name, "memory_mib": size} for name, size in (("a", 20), ("b", 7))]
    print_rows(rows)
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == [*" ".join(rows[0]).replace("_", " ").replace("mib", "MiB").split()]
    assert [line.split() for line in lines] == [[*map(str, row.values())] for row in rows]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    print_rows(rows)
    told, table = capsys.readouterr().out.split("method")
    assert " ".join(told.split()) == "in all rows: " + ", ".join(
        f"{k.replace('_', ' ')} {v}" for k, v in shared.items()
    )
    assert table.split() == ["memory", "MiB", "a", "20", "b", "7"]
    assert max(map(len, told.splitlines())) <= 60
    for few in (rows[:1], [shared, shared]):  # where nothing would be left of the table
        print_rows(few)
        assert not capsys.readouterr().out.startswith("in all rows")


def test_names_of_rows_are_cut_last(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row whose name is cut cannot be told from another, nor typed."""
    names = {row["name"] for row in call(capsys, "list", "methods", "--json").json}
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    printed = call(capsys, "list", "methods").out.splitlines()[1:]
    assert {line.split()[0] for line in printed} == names
    assert max(map(len, printed)) <= 80
