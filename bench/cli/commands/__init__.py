"""What each command does: one function each, from parsed options to an exit code.

A command loads the modules that it needs and no others: a report takes no training libraries.
"""

import argparse
from collections.abc import Callable
from importlib import import_module

_HOMES = {
    "files": ("fetch", "init", "score"),
    "inspect": ("check", "list", "plan"),
    "measure": ("bench",),
    "records": ("export", "reproduce"),
    "reports": ("compare", "leaderboard", "report"),
    "status": ("status",),
    "train": ("run",),
    "tune": ("tune",),
}


def find(name: str) -> Callable[[argparse.Namespace], int]:
    """Return the function of a command."""
    home = next(home for home, names in _HOMES.items() if name in names)
    command: Callable[[argparse.Namespace], int]
    command = getattr(import_module(f"gapbench.bench.cli.commands.{home}"), f"{name}_command")
    return command
