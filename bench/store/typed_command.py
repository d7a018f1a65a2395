"""What a user typed, as plans and logs keep it, and the command that repeats it."""

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from gapbench.bench.core.errors import without_password
from gapbench.bench.store.store import RACE

ADVISE = "advise"
PYTHON = "gapbench."
"""Start of a Python call, which logs and plans name in place of a command line."""
_LITERAL = re.compile(r"""(['"])((?:\\.|(?!\1).)*)\1""")  # a text in a call


def typed(words: Sequence[str] | str) -> str:
    """Return a command line, or a Python call, as typed but without the passwords of URLs."""
    if isinstance(words, str):
        return _LITERAL.sub(lambda found: found[1] + without_password(found[2]) + found[1], words)
    return " ".join(["gapbench", *(shlex.quote(without_password(word)) for word in words)])


def on(root: Path, command: str) -> str:
    """Return a command with the folder ``root`` as the one of its results.

    A race belongs to the folder around it. Calls of the Python API stay as they are, since only
    their author knows their variables.
    """
    if command.startswith(PYTHON):
        return command
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--results", default="results")
    try:
        given, others = parser.parse_known_args(shlex.split(command)[1:])
    except (ValueError, argparse.ArgumentError):  # of a log that others wrote
        return command
    results = Path(given.results).resolve()
    if others[:1] == [ADVISE] and root.name == RACE and results != root.resolve():
        root = root.parent
    if results == root.resolve():
        return command
    return typed([*others, "--results", str(root)])
