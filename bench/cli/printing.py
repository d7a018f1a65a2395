"""Printing of tables and sentences by commands."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gapbench.bench.core.errors import printable


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool = False) -> None:
    """Print rows as an aligned table, or as JSON."""
    if as_json:
        print(json.dumps(list(rows)))
    elif rows:
        names = list(dict.fromkeys(name for row in rows for name in row))
        cells = [names] + [[_cell(row.get(name)) for name in names] for row in rows]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        for line in cells:
            padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
            print("  ".join(padded).rstrip())


def print_notes(notes: Iterable[str]) -> None:
    """Print sentences to stderr, one per line."""
    for note in notes:
        print(note, file=sys.stderr)


def _cell(value: object) -> str:
    return "-" if value is None else printable(str(value))
