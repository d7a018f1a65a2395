"""Verify a suite before it runs: schema, data, backbones."""

import argparse

from gapbench.bench.api.choices import OK, USAGE
from gapbench.bench.cli import arguments
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench check quickstart"
ORDER = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    arguments.suite(parser)
    arguments.json(parser)


def main(options: argparse.Namespace) -> int:
    """Verify a suite before an hour is spent on it."""
    from gapbench.bench.api.checking import checked
    from gapbench.bench.cli.printing import print_notes, print_rows

    overview = checked(**given(options))
    print_rows(overview.rows, as_json=options.json)
    print_notes(overview.notes)
    return USAGE if overview.failing else OK
