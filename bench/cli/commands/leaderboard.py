"""Print the leaderboard and the answer, also as a table for a paper."""

import argparse

from gapbench.bench.api.choices import OK
from gapbench.bench.cli import arguments

EXAMPLE = "gapbench leaderboard results --tasks rte,mrpc --latex"
ORDER = 90
_FORMS = {
    "markdown": "print GitHub Markdown",
    "latex": "print a LaTeX tabular with booktabs",
    "json": "print JSON for a program to read",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    arguments.results(parser, positional=True)
    arguments.selection(parser)
    arguments.comparison(parser)
    form = parser.add_mutually_exclusive_group()
    for name, what in _FORMS.items():
        form.add_argument(
            f"--{name}", action="store_const", const=name, dest="form", default="text", help=what
        )


def main(options: argparse.Namespace) -> int:
    """Print the leaderboard in the requested form."""
    from gapbench.reports.render.build import terminal
    from gapbench.reports.results.selection import Selection

    selection = Selection(options.tasks or (), options.backbones or (), options.methods or ())
    wanted = (options.form, options.reference, options.matters)
    print(terminal(options.results, selection, *wanted), end="")
    return OK
