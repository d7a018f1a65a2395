"""What a command calls an option, the Python API calls an argument."""

import argparse
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import gapbench
from gapbench.bench.cli.commands import discover

ONLY_TYPED = {
    "json": "a function returns its results",
    "results": "a method of `Results` has them",
    "form": "a data frame writes itself in any format",
    "watch": "a loop around `status`",
    "prometheus": "for a collector of metrics",
    "yes": "nobody is asked",
}
ONLY_CALLED = {
    "progress": "a command always shows it",
    "command": "the words that were typed",
}
OTHERWISE = {
    "advise": ({"suite"}, {"source"}),  # rows may be a data frame
    "leaderboard": ({"matters"}, set()),  # it is of the card, which `Results.verdict` gives
}
WITHOUT = {"bench", "fetch", "init", "list"}
"""Commands about this machine, about files, and about what there is to choose from."""


def called(name: str) -> Callable[..., Any] | None:
    """Return the function or the method of `Results` of the same name, if there is one."""
    home = gapbench if name in gapbench.__all__ else gapbench.Results
    found = getattr(home, name, None)
    return found if callable(found) else None  # a property takes no options


def options(name: str) -> set[str]:
    """Return the names of all that can be typed after a command."""
    parser = argparse.ArgumentParser()
    discover()[name].add_arguments(parser)
    return {action.dest for action in parser._actions} - {"help"}


@pytest.mark.parametrize("name", sorted(discover()))
def test_command_and_function_have_the_same_names(name: str) -> None:
    """One meaning to document, and what is known of one side holds for the other."""
    function = called(name.replace("-", "_"))
    if name in WITHOUT:
        assert function is None
        return
    assert function is not None, (
        f"command {name!r}: gapbench has no function and Results no method of this name; write one "
        "in bench/api/, or add the name to WITHOUT in this file"
    )
    typed, given = options(name), set(inspect.signature(function).parameters) - {"self"}
    only_typed, only_called = OTHERWISE.get(name, (set(), set()))
    alike = "name options and arguments alike, or add them to ONLY_TYPED, ONLY_CALLED or OTHERWISE"
    assert typed - given - ONLY_TYPED.keys() == only_typed, alike
    assert given - typed - ONLY_CALLED.keys() == only_called, alike


def test_every_exception_is_one() -> None:
    """What no command and no function has is no exception."""
    assert ONLY_TYPED.keys() <= {each for name in discover() for each in options(name)}
    functions = [found for name in discover() if (found := called(name.replace("-", "_")))]
    given = {each for function in functions for each in inspect.signature(function).parameters}
    assert given >= ONLY_CALLED.keys()
