"""Commands about rows that are not yet in a results folder: init, fetch, score."""

import argparse
import json
import sys
from dataclasses import asdict
from functools import partial
from typing import Any

from tqdm import tqdm

from gapbench.bench.cli.commands.printing import print_rows
from gapbench.bench.cli.main import EXIT_OK
from gapbench.bench.data.sources import Sources
from gapbench.bench.experiment.mirror import fetch, wanted
from gapbench.bench.experiment.scaffold import Columns, init
from gapbench.bench.tasks.score import score


def init_command(options: argparse.Namespace) -> int:
    """Write a suite about the user's own rows and print what was found in them."""
    columns = Columns(
        text=options.text,
        label=options.target or options.label,
        kind="generation" if options.target else options.kind,
        group=options.group,
    )
    print(init(options.suite, options.data, options.test, columns, force=options.force))
    return EXIT_OK


def fetch_command(options: argparse.Namespace) -> int:
    """Fill a folder with what a suite needs, and print what is in it."""
    items = wanted(
        options.suite,
        Sources(options.data, offline=options.offline),
        options.tasks,
        options.backbone,
    )
    shape = "{l_bar}{bar}| {n}/{total} items, {elapsed} gone, {remaining} left"
    rows = [
        asdict(fetched)
        for fetched in tqdm(
            fetch(items, options.out), total=len(items), bar_format=shape, file=sys.stderr
        )
    ]
    print_rows(rows, as_json=options.json)
    where = options.out
    print(
        f"use it by --data {where / 'data'} and --backbone {where / 'backbones'}/NAME",
        file=sys.stderr,
    )
    return EXIT_OK


def score_command(options: argparse.Namespace) -> int:
    """Print what outputs score, and why a score is missing."""
    track = partial(tqdm, desc="metrics", file=sys.stderr, delay=1.0, leave=False)
    scored = score(options.task, options.predictions, options.references, options.metrics, track)
    if options.json:
        print(json.dumps(asdict(scored)))
    else:
        by_part = {"all": scored.scores} | scored.parts
        rows: list[dict[str, Any]] = [
            {
                **({"part": part} if scored.parts else {}),
                "metric": name,
                "score": None if value is None else f"{value:.4f}",
            }
            for part, scores in by_part.items()
            for name, value in scores.items()
        ]
        print_rows(rows, as_json=False)
    for name, reason in scored.reasons.items():
        print(f"no {name}: {reason}", file=sys.stderr)
    return EXIT_OK
