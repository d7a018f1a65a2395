"""Commands that run a record of a results folder again: reproduce, export."""

import argparse
import json
from dataclasses import asdict

from bench import export, reproduce
from bench.cli import EXIT_FAILED_RUNS, EXIT_OK
from bench.commands.options import sources_of
from bench.errors import printable
from bench.store import Store


def reproduce_command(options: argparse.Namespace) -> int:
    """Run one record again and print what is the same and what drifted."""
    outcome = reproduce.reproduce(
        Store(options.results), options.run, sources_of(options), options.device
    )
    if options.json:
        print(json.dumps(asdict(outcome)))
    else:
        print("\n".join(map(printable, str(outcome).splitlines())))
    return EXIT_OK if outcome.same else EXIT_FAILED_RUNS


def export_command(options: argparse.Namespace) -> int:
    """Train one record again and write its adapter; a drift is shown, and is no failure."""
    exported = export.export(
        Store(options.results), options.run, sources_of(options), options.device, options.out
    )
    print(json.dumps(exported.report) if options.json else exported)
    return EXIT_OK
