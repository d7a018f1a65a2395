"""Score the outputs of any system with a task's metrics."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gapbench.bench.api.choices import OK
from gapbench.bench.cli import arguments
from gapbench.bench.cli.argument_types import names
from gapbench.bench.cli.command import given

EXAMPLE = "gapbench score --task e2e_nlg --predictions out.txt --references test.parquet"
ORDER = 140

_LARGE = 1e9  # from which digits after the point say nothing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    parser.add_argument(
        "--task", required=True, metavar="TASK", help="name of a built-in task, or its YAML file"
    )
    parser.add_argument(
        "--predictions",
        type=Path,
        required=True,
        metavar="FILE",
        help="texts: .txt with one per line, or .json; any predictions: .csv, .tsv, .jsonl or "
        ".parquet with a column prediction, or logit_0, logit_1, ..., or prob_0, prob_1, ...",
    )
    parser.add_argument(
        "--references",
        type=Path,
        required=True,
        metavar="FILE",
        help="rows with the task's columns: .csv, .tsv, .jsonl or .parquet",
    )
    parser.add_argument(
        "--metrics",
        type=names,
        default=None,
        metavar="A,B",
        help="override the task's metrics; probabilities always add calibration",
    )
    arguments.json(parser)


def main(options: argparse.Namespace) -> int:
    """Print the scores of outputs, and the reasons for missing ones."""
    from gapbench.bench.api.stored import score
    from gapbench.bench.cli.printing import print_notes, print_rows

    scored = score(**given(options))
    if options.json:
        print(json.dumps(asdict(scored)))
    else:
        rows: list[dict[str, Any]] = [
            {
                **({"part": part} if scored.parts else {}),
                "metric": name,
                "score": None if value is None else _shown(value),
            }
            for part, scores in ({"all": scored.scores} | scored.parts).items()
            for name, value in scores.items()
        ]
        print_rows(rows)
    print_notes(f"no {name}: {reason}" for name, reason in scored.reasons.items())
    return OK


def _shown(value: float) -> str:
    """Return a score as text; the loss of enormous logits in few digits too."""
    return f"{value:.4f}" if abs(value) < _LARGE else f"{value:.4e}"
