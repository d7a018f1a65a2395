"""Commands that run a record of a results folder again: reproduce, export."""

import argparse
import json
from dataclasses import asdict

from gapbench.bench.cli.commands.options import sources_of
from gapbench.bench.cli.main import EXIT_FAILED_RUNS, EXIT_OK
from gapbench.bench.core.errors import printable
from gapbench.bench.execution import export, reproduce
from gapbench.bench.store.store import Store


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
