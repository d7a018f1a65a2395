"""Read files of rows as columns: Parquet, CSV, TSV and JSON lines, chosen by suffix.

What the columns must hold is checked by those who ask for them (`bench.data.rows`,
`bench.experiment.scaffold`).
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from gapbench.bench.core.errors import DataError
from gapbench.bench.core.safe_parsing import parse_json

Columns = dict[str, list[Any]]

_QUOTED = re.compile(rb'"(?:[^"]|"")*"')  # a field of a program that doubles quotes inside
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
# Those of the library, but for not-a-number, which is a number that is not finite.
_NULLS = [name for name in pc.ConvertOptions().null_values if "nan" not in name.lower()]


def read(path: Path, texts: Sequence[str] = ()) -> Columns:
    """Return the columns of a file, in the file's order.

    Args:
        path: its suffix says what it is.
        texts: columns that hold text, even if it looks like numbers or dates; of CSV and TSV only,
            as the other formats tell them apart.

    Raises:
        DataError: if the suffix is unknown, or the file cannot be read as what it says.
    """
    if path.suffix not in _READERS:
        raise DataError(
            f"{path}: a file of rows must end in {', '.join(_READERS)}, got {path.suffix!r}; "
            "save it in one of these formats"
        )
    if not path.is_file():
        raise DataError(f"{path} does not exist; give the path of a file of rows")
    what, reader = _READERS[path.suffix]
    try:
        return reader(path, texts)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a readable {what} file: {error}") from None


def _parquet(path: Path, _: Sequence[str]) -> Columns:
    return _plain(pq.read_table(path))


def _csv(path: Path, texts: Sequence[str]) -> Columns:
    return _separated(path, texts, pc.ParseOptions(newlines_in_values=True))


def _tsv(path: Path, texts: Sequence[str]) -> Columns:
    """Read a file with tabs, in which most quotes are characters, as in the files of GLUE."""
    quoted = _is_quoted(path.read_bytes())
    try:
        return _separated(
            path, texts, pc.ParseOptions(delimiter="\t", quote_char='"' if quoted else False)
        )
    except pa.ArrowException as error:
        quotes = "around fields" if quoted else "characters"
        raise ValueError(
            f"{error}; quotes are {quotes} here: a text with a tab or line break in it needs "
            "another format, such as .csv or .jsonl"
        ) from None


def _is_quoted(content: bytes) -> bool:
    """Whether quotes in a file with tabs stand around fields, as a program writes them.

    It closes all that it opens in the same line, and quotes all fields or those that need it: in
    a file without line breaks in texts those that hold a quote, which it then doubles.
    """
    if b'"' not in content:
        return False
    lines = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    fields = [field for line in lines if line for field in line.split(b"\t")]
    opened = [field for field in fields if field.startswith(b'"')]
    closed = all(map(_QUOTED.fullmatch, opened))
    doubled = any(b'""' in field[1:-1] for field in opened)
    return closed and (len(opened) == len(fields) or doubled)


def _separated(path: Path, texts: Sequence[str], parsing: pc.ParseOptions) -> Columns:
    whole = path.stat().st_size + 1  # one block, so that all rows decide a column's type
    table = pc.read_csv(
        path,
        read_options=pc.ReadOptions(block_size=whole),
        parse_options=parsing,
        convert_options=pc.ConvertOptions(
            column_types=dict.fromkeys(texts, pa.string()), null_values=_NULLS
        ),
    )
    return _plain(table)


def _plain(table: pa.Table) -> Columns:
    return {name: table.column(place).to_pylist() for place, name in enumerate(table.column_names)}


def _json_lines(path: Path, _: Sequence[str]) -> Columns:
    rows = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = parse_json(line)
            if _HALF_PAIR.search(line):  # by an escape; files cannot hold one otherwise
                _refuse_half_pairs(row, number)
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no object with a value for each column")  # noqa: TRY004
            rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _refuse_half_pairs(row: Any, number: int) -> None:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.end].encode("ascii", "backslashreplace").decode()
        raise ValueError(
            f"line {number} holds {half}, one half of a pair that is a character, such as an "
            "emoji that was cut; give both halves or none"
        ) from None


UNTYPED = {".csv", ".tsv"}
"""Formats that do not tell text from what looks like a number."""
_READERS: dict[str, tuple[str, Callable[[Path, Sequence[str]], Columns]]] = {
    ".csv": ("CSV", _csv),
    ".tsv": ("TSV", _tsv),
    ".jsonl": ("JSON lines", _json_lines),
    ".parquet": ("parquet", _parquet),
}
