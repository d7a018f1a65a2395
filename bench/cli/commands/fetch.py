"""Copy a suite's data and backbones to a folder, for computers without a network."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gapbench.bench.api.choices import OK
from gapbench.bench.cli import arguments

if TYPE_CHECKING:
    from gapbench.bench.experiment.mirror import Wanted

EXAMPLE = "gapbench fetch glue_small --out mirror"
ORDER = 150

_SHAPE = "{l_bar}{bar}| {n}/{total} items, {elapsed} gone, {remaining} left"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    arguments.suite_tasks(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="output folder; creates DIR/data and DIR/backbones",
    )
    arguments.sources(parser)
    arguments.json(parser)


def main(options: argparse.Namespace) -> int:
    """Fill a folder with a suite's data and backbones, and print its content."""
    from tqdm import tqdm

    from gapbench.bench.cli.printing import print_notes, print_rows
    from gapbench.bench.data.sources import Sources
    from gapbench.bench.experiment.mirror import fetch, wanted

    sources, out = Sources(options.data, offline=options.offline), options.out
    items = wanted(options.suite, sources, options.tasks or (), options.backbone)
    bar = tqdm(fetch(items, out), total=len(items), bar_format=_SHAPE, file=sys.stderr)
    print_rows([asdict(fetched) for fetched in bar], as_json=options.json)
    print_notes([_use(items, out)])
    return OK


def _use(items: "Sequence[Wanted]", out: Path) -> str:
    """Say which options read what is there."""
    there = [item for item in items if item.nothing is None]
    names = [item.name for item in there if item.part == "backbones"]
    options = ["--data", str(out / "data")] if len(names) < len(there) else []
    if names:
        name = names[0] if len(names) == 1 else "NAME"
        options += ["--backbone", str(out / "backbones" / name)]
    return f"use it with {shlex.join(options)}" if options else "nothing of it has to be fetched"
