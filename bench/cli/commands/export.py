"""Write one stored run as an adapter folder for PEFT; train it again if it was not kept."""

import argparse
import json
import sys
from pathlib import Path

from gapbench.bench.api.choices import OK
from gapbench.bench.cli import arguments
from gapbench.bench.cli.command import given
from gapbench.bench.core.errors import ConfigError

EXAMPLE = "gapbench export 3f1c0a9be2d45678 --out adapter"
ORDER = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="output folder: new or empty",
    )
    parser.add_argument(
        "--push",
        default=None,
        metavar="OWNER/NAME",
        help="upload the folder to this repository of the Hugging Face hub; asks first",
    )
    parser.add_argument(
        "--public",
        action="store_true",
        help="let everybody read the repository, if it is new (default: private)",
    )
    parser.add_argument("--yes", action="store_true", help="push without asking, for scripts")
    arguments.stored_run(parser)
    arguments.json(parser)


def _agreed(name: str, *, public: bool) -> bool:
    """Ask whether to push.

    Raises:
        ConfigError: if nobody can answer.
    """
    seen = "which everybody can read if it is new" if public else "which is private if it is new"
    print(
        f"Push the adapter, its tokenizer and a card with task, data, settings and scores to {name}"
        f" on the hub, {seen}? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    try:
        return input().strip().lower() in {"y", "yes"}
    except EOFError:
        raise ConfigError("--push asks first, and nobody answers here; give --yes") from None


def main(options: argparse.Namespace) -> int:
    """Write the adapter of one record; a drift is shown but is not a failure."""
    from gapbench.bench.api.stored import export

    if options.push and not options.yes and not _agreed(options.push, public=options.public):
        print("nothing was trained or pushed", file=sys.stderr)
        return OK
    exported = export(**given(options, "yes"))
    print(json.dumps(exported.report) if options.json else exported)
    return OK
