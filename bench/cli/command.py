"""The interface of a command: a file of `bench.cli.commands` with its name defines all below."""

import argparse
from typing import Any, Protocol

_OWN = {"command", "debug", "json", "words"}  # options about a command line, not about the work


class Command(Protocol):
    """A command. The first line of its docstring, without the full stop, is its summary.

    Attributes:
        EXAMPLE: a valid command line.
        ORDER: position in the help, in ascending order.
    """

    EXAMPLE: str
    ORDER: int

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add what can be typed after the name."""

    def main(self, options: argparse.Namespace) -> int:
        """Run the command and return the exit code.

        Imports happen only here, because help and usage errors must not wait for the training
        libraries.
        """


def given(options: argparse.Namespace, *without: str) -> dict[str, Any]:
    """Return the options that a function of `bench.api` takes under the same names."""
    return {name: value for name, value in vars(options).items() if name not in {*_OWN, *without}}
