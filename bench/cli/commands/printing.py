"""How commands print: tables and progress bars."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from gapbench.bench.core.errors import printable


def print_rows(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows as an aligned table, or as JSON."""
    if as_json:
        print(json.dumps(list(rows)))
    elif rows:
        names = list(dict.fromkeys(name for row in rows for name in row))
        cells = [names] + [[_cell(row.get(name)) for name in names] for row in rows]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        for line in cells:
            print(
                "  ".join(
                    text.ljust(width) for text, width in zip(line, widths, strict=True)
                ).rstrip()
            )


def _cell(value: object) -> str:
    return "-" if value is None else printable(str(value))


def span(seconds: float) -> str:
    """Return a time in the two largest of its units."""
    parts: list[str] = []
    rest = max(1, round(seconds))
    for name, each in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        amount, rest = divmod(rest, each)
        if amount or parts:
            parts.append(f"{amount} {name}")
    return " ".join(parts[:2])


def progress_bar(total: int, unit: str) -> Any:
    """Return a progress bar with an estimate of the time left."""
    shape = f"{{l_bar}}{{bar}}| {{n:.1f}}/{{total}}{unit}, {{elapsed}} gone, {{remaining}} left"
    pause = 0.5 if sys.stderr.isatty() else 30.0  # seconds between lines; a log needs few
    # smoothing=0: the estimate is the average so far, since single stacks differ much in length.
    return tqdm(
        total=total,
        bar_format=shape + "{postfix}",
        file=sys.stderr,
        mininterval=pause,
        smoothing=0,
    )
