"""Parse a command line; the commands are in `bench.cli.commands`."""

import argparse
import difflib
from collections.abc import Sequence

from gapbench.bench.cli.commands import discover
from gapbench.bench.cli.version import ShowVersion
from gapbench.bench.core.errors import without_password


class _CommandParser(argparse.ArgumentParser):
    """Refuses an unknown argument with its own usage and a likely correction."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [flag for action in self._actions for flag in action.option_strings]
            close = difflib.get_close_matches(unknown[0].partition("=")[0], known, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            shown = " ".join(map(without_password, unknown))
            self.error(f"unrecognized arguments: {shown}{hint}")
        return options, unknown


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="gapbench",
        description="Compare overfitting controls for LoRA fine-tuning under one fair protocol.",
        epilog="example: gapbench run quickstart && gapbench report",
    )
    parser.add_argument("--version", action=ShowVersion)
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", parser_class=_CommandParser
    )
    for name, command in discover().items():
        description = (command.__doc__ or "").partition("\n")[0]
        added = commands.add_parser(
            name,
            help=description[:1].lower() + description[1:].removesuffix("."),
            description=description,
            epilog=f"example: {command.EXAMPLE}",
        )
        added.add_argument("--debug", action="store_true", help="show the traceback of an error")
        added.set_defaults(command=command)
        command.add_arguments(added)
    return parser
