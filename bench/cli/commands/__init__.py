"""The commands, one file each, without a list: a new file is a new command."""

from importlib import import_module
from pkgutil import iter_modules

from gapbench.bench.cli.command import Command


def discover() -> dict[str, Command]:
    """Return all commands by name, in the order of the help."""
    names = [info.name for info in iter_modules(__path__)]
    found: dict[str, Command] = {
        name.replace("_", "-"): import_module(f"gapbench.bench.cli.commands.{name}")
        for name in names
    }
    return dict(sorted(found.items(), key=lambda item: (item[1].ORDER, item[0])))
