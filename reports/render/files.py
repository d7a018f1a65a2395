"""How the files of a report are written: as new ones, and as tables that hold no formulas.

A link that stands in a file's place is replaced, not followed. Names are data: a spreadsheet would
run some of them as formulas, were they not marked as text.
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from gapbench.bench.core.files import new_file

_FORMULA = re.compile(r"[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")


def put(path: Path, content: str | bytes) -> None:
    """Write a file, in place of what is there.

    Raises:
        OSError: if it cannot be written.
    """
    with new_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def put_table(path: Path, table: pd.DataFrame, counts: Iterable[str] = ()) -> None:
    """Write a table as CSV, in place of what is there.

    Text that a spreadsheet would take for a formula has an apostrophe before it. Numbers have 12
    significant digits, beyond which is but rounding.

    Args:
        path: the file.
        table: to be written.
        counts: columns to be written as whole numbers in all their digits.

    Raises:
        OSError: if it cannot be written.
    """
    texts = table.select_dtypes(["object", "str", "category"])
    # Looked at once each: a long table repeats few of them.
    changed = {
        str(name): column.map(_inert)
        for name, column in texts.items()
        if any(_inert(each) is not each for each in column.unique())
    }
    floats = table.select_dtypes("float64").columns
    # As objects: operations of training may be more than 64 bits hold.
    changed |= {
        name: pd.Series(map(_whole, table[name]), table.index, dtype=object)
        for name in counts
        if name in floats
    }
    shown = table.assign(**changed).rename(columns=_inert)
    put(path, shown.to_csv(index=False, lineterminator="\n", float_format="%.12g"))


def _whole(value: float) -> float | None:
    return round(value) if math.isfinite(value) else None


def _inert(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # it would end a row unquoted
    formula = _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return f"'{text}" if formula else text
