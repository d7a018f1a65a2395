"""Printing of tables and sentences by commands."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from shutil import get_terminal_size
from typing import Any

from gapbench.bench.core.errors import printable

_SHORTEST = 8


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool = False) -> None:
    """Print rows as an aligned table, or as JSON."""
    if as_json:
        print(json.dumps(list(rows)))
    elif rows:
        names = list(dict.fromkeys(name for row in rows for name in row))
        cells = [names] + [[_cell(row.get(name)) for name in names] for row in rows]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        _fit(cells, widths)
        for line in cells:
            padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
            print("  ".join(padded).rstrip())


def _fit(cells: list[list[str]], widths: list[int]) -> None:
    """Shorten the longest texts until a line fits a terminal; a pipe gets all of them."""
    if not sys.stdout.isatty():
        return
    room = get_terminal_size().columns - 2 * (len(widths) - 1)
    while sum(widths) > room and max(widths) > _SHORTEST:
        column = widths.index(max(widths))
        widths[column] -= 1
        for line in cells:
            if len(line[column]) > widths[column]:
                line[column] = line[column].removesuffix("~")[: widths[column] - 1] + "~"


def print_notes(notes: Iterable[str]) -> None:
    """Print sentences to stderr, one per line."""
    for note in notes:
        print(note, file=sys.stderr)


def _cell(value: object) -> str:
    return "-" if value is None else printable(str(value))
