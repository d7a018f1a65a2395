"""Commands on what a results folder holds: report, reproduce, export."""

import argparse
import json
from dataclasses import asdict
from importlib import import_module

from bench import export, reproduce
from bench.cli import EXIT_FAILED_RUNS, EXIT_OK
from bench.commands.options import sources_of
from bench.store import Store


def report_command(options: argparse.Namespace) -> int:
    """Write the report's files and print where they are."""
    out = options.out or options.results / "report"
    built = import_module("reports.build").build(options.results, out)
    for path in (built.report, built.leaderboard, built.runs):
        print(path)
    return EXIT_OK


def reproduce_command(options: argparse.Namespace) -> int:
    """Run one record again and print what is the same and what drifted."""
    outcome = reproduce.reproduce(
        Store(options.results), options.run, sources_of(options), options.device
    )
    if options.json:
        print(json.dumps(asdict(outcome)))
    else:
        print(outcome)
    return EXIT_OK if outcome.same else EXIT_FAILED_RUNS


def export_command(options: argparse.Namespace) -> int:
    """Train one record again and write its adapter; a drift is shown, and is no failure."""
    exported = export.export(
        Store(options.results), options.run, sources_of(options), options.device, options.out
    )
    print(json.dumps(exported.report) if options.json else exported)
    return EXIT_OK
