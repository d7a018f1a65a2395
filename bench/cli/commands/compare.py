"""Compare two methods on the seeds and test items that both have."""

import argparse
import json

from gapbench.bench.api.choices import OK
from gapbench.bench.cli import arguments
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench compare lora hiddenkey results --tasks rte"
ORDER = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    for name, metavar in (("first", "A"), ("second", "B")):
        parser.add_argument(name, metavar=metavar, help="a method, or 'method / variant'")
    arguments.results(parser, positional=True)
    arguments.places(parser)
    arguments.comparison(parser)
    arguments.json(parser)


def main(options: argparse.Namespace) -> int:
    """Print how two methods differ, task by task."""
    from gapbench.bench.api.results import load

    found = load(options.results).compare(**given(options, "results"))
    print(json.dumps(found.content) if options.json else found)
    return OK
