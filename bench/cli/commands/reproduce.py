"""Run one stored record again and compare."""

import argparse
import json
from dataclasses import asdict

from gapbench.bench.api.choices import FAILED_RUNS, OK
from gapbench.bench.cli import arguments
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench reproduce 3f1c0a9be2d45678"
ORDER = 110


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    arguments.stored_run(parser)
    arguments.json(parser)


def main(options: argparse.Namespace) -> int:
    """Run one record again and print agreements and drifts."""
    from gapbench.bench.api.stored import reproduce
    from gapbench.bench.core.errors import printable

    outcome = reproduce(**given(options))
    if options.json:
        print(json.dumps(asdict(outcome)))
    else:
        print("\n".join(map(printable, str(outcome).splitlines())))
    return OK if outcome.same else FAILED_RUNS
