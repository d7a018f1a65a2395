"""Read files of rows as columns: Parquet, CSV, TSV and JSON lines, chosen by suffix.

No guess is made that could be wrong: a file that contradicts its suffix is refused. The callers
(`bench.data.rows`, `bench.experiment.inferred_task`) check the content of columns.
"""

import codecs
import csv
import io
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

MOST_BYTES = 2**31 - 2
"""Size of a CSV or TSV file: the library reads one block, so that all rows decide a type."""
_QUOTED = re.compile(r'"(?:[^"]|"")*"')  # a field in which quotes are doubled
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
# The library's marks except NaN, which is a number.
_NULLS = [name for name in pc.ConvertOptions().null_values if "nan" not in name.lower()]
_COLUMNS = re.compile(r"Expected (\d+) columns, got (\d+)")
_TABBED = 0.9  # share of lines with a tab from which tabs separate columns
_SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_MARKS = {  # byte-order marks of encodings, longer ones first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
csv.field_size_limit(MOST_BYTES)  # the default limit is 128 KiB


def read(path: Path, texts: Sequence[str] = ()) -> Columns:
    """Return the columns of a file, in the file's order.

    Args:
        path: path of the file; its suffix is the format.
        texts: columns that hold text, even if it looks like numbers or dates; needed for CSV
            and TSV only, since other formats are typed.

    Raises:
        DataError: if the suffix is unknown, or the file cannot be read in that format.
    """
    if suffix(path) not in _READERS:
        raise DataError(
            f"{path}: a file of rows must end in {', '.join(_READERS)}, got {path.suffix!r}; "
            "save it in one of these formats, or, if tabs separate its columns and its first line "
            "names them, rename it to .tsv"
        )
    if not path.is_file():
        raise DataError(f"{path} does not exist; give the path of a file of rows")
    what, reader = _READERS[suffix(path)]
    try:
        return reader(path, texts)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a readable {what} file: {error}") from None


def suffix(path: Path) -> str:
    """Return the suffix that names a file's format, in lower case."""
    return path.suffix.lower()


def is_typed(path: Path) -> bool:
    """Whether a file's format distinguishes text from numbers."""
    return suffix(path) not in {".csv", ".tsv"}


def read_text(path: Path) -> str:
    """Return the text of a file: UTF-8, or another encoding that its first bytes name.

    Raises:
        OSError: if it cannot be read.
        ValueError: naming the line, if it is of another encoding, or holds NUL characters.
    """
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(content[: error.start + 1].splitlines())
        raise ValueError(
            f"line {line} is not {encoding.upper()} (byte {content[error.start]:#04x}); save it "
            "as UTF-8"
        ) from None
    if "\0" in text:
        line = len(text[: text.index("\0") + 1].splitlines())
        raise ValueError(f"line {line} holds a NUL character; save it as text, in UTF-8")
    return text


def parse_rows(text: str) -> Any:
    """Return the content of a JSON text of rows; texts must not hold half a surrogate pair.

    Raises:
        ValueError: if it is not JSON, or has half a character.
    """
    content = parse_json(text)
    if _HALF_PAIR.search(text):  # through an escape; files cannot hold one otherwise
        try:
            json.dumps(content, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = error.object[error.start : error.end].encode("ascii", "backslashreplace")
            raise ValueError(
                f"it holds {half.decode()}, one half of a pair that is a character, such as an "
                "emoji that was cut; give both halves or none"
            ) from None
    return content


def _parquet(path: Path, _: Sequence[str]) -> Columns:
    _refuse_doubled(pq.read_schema(path).names)
    return _plain(pq.read_table(path))


def _csv(path: Path, texts: Sequence[str]) -> Columns:
    text = _small_text(path)
    _check_tabs(text)
    _check_header(text, ",")
    if '"' in text:
        _check_quotes(text)
    try:
        return _separated(text, texts, pc.ParseOptions(newlines_in_values=True))
    except pa.ArrowInvalid as error:
        found = _COLUMNS.search(str(error))
        if found is None or int(found[2]) < int(found[1]):
            raise
        raise ValueError(f"{error}; put quotes around a text with a comma in it") from None


def _tsv(path: Path, texts: Sequence[str]) -> Columns:
    """Read a file with tabs, in which most quotes are characters, as in the files of GLUE."""
    text = _small_text(path)
    quoted = _is_quoted(text)
    _check_header(text, "\t", quoted=quoted)
    parsing = pc.ParseOptions(delimiter="\t", quote_char='"' if quoted else False)
    try:
        return _separated(text, texts, parsing)
    except pa.ArrowException as error:
        quotes = "around fields" if quoted else "characters"
        raise ValueError(
            f"{error}; quotes are {quotes} here: a text with a tab or line break in it needs "
            "another format, such as .csv or .jsonl"
        ) from None


def _small_text(path: Path) -> str:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(
            f"it has {size:,} bytes, and at most {MOST_BYTES:,} of this format are read; save it "
            "as .parquet or .jsonl, or in parts"
        )
    return read_text(path)


def _check_header(text: str, separator: str, *, quoted: bool = True) -> None:
    """Refuse a first line with another separator than the suffix implies.

    Raises:
        ValueError: naming the separator.
    """
    rows = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
    )
    names = next(filter(None, rows), [])
    other = next((each for each in _SEPARATORS if len(names) == 1 and each in names[0]), None)
    if other is not None:
        raise ValueError(
            f"its first line, {names[0][:60]!r}, has a {_SEPARATORS[other]} and no "
            f"{_SEPARATORS[separator]}; it must name the columns, with commas between them in a "
            ".csv file and tabs in a .tsv file"
        )


def _check_tabs(text: str) -> None:
    """Refuse a file in which the first line and nearly all others have a tab outside of quotes.

    Raises:
        ValueError: with the way out.
    """
    lines = [line for line in re.split(r"[\r\n]+", re.sub(r'"[^"\r\n]*"', "", text)) if line]
    tabbed = sum("\t" in line for line in lines)
    if len(lines) > 1 and "\t" in lines[0] and tabbed > _TABBED * len(lines):
        raise ValueError(
            "tabs separate its columns; rename it to .tsv, with a first line that names the columns"
        )


def _check_quotes(text: str) -> None:
    """Refuse quotes that open a field but do not close it, because they swallow later rows.

    Raises:
        ValueError: naming the line where the row begins.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begin = 1
    try:
        for _ in reader:
            begin = reader.line_num + 1
    except csv.Error:
        raise ValueError(
            f"a quote opens a field of the row in line {begin}, and does not close it by "
            f'line {reader.line_num}; put quotes around the whole field, and write "" for a quote '
            "inside it"
        ) from None


def _is_quoted(text: str) -> bool:
    """Whether quotes in a file with tabs enclose fields, as programs write them.

    A program closes each quote in the same line, and quotes all fields of a column or those that
    need it: without line breaks in texts, those that hold a quote, which is then doubled.
    """
    if '"' not in text:
        return False
    lines = [line.split("\t") for line in re.split(r"[\r\n]+", text) if line]
    opened = [[field for field in line if field.startswith('"')] for line in lines]
    if not all(_QUOTED.fullmatch(field) for line in opened for field in line):
        return False
    if any('""' in field[1:-1] for line in opened for field in line):
        return True
    columns = zip(*lines[1:], strict=False)
    return any(column and all(f.startswith('"') for f in column) for column in columns)


def _separated(text: str, texts: Sequence[str], parsing: pc.ParseOptions) -> Columns:
    content = text.encode()
    table = pc.read_csv(
        pa.BufferReader(content),
        # One block has no use for threads, and the library's pool can abort a process that ends
        # soon after, with "terminate called without an active exception".
        read_options=pc.ReadOptions(block_size=len(content) + 1, use_threads=False),
        parse_options=parsing,
        convert_options=pc.ConvertOptions(
            column_types=dict.fromkeys(texts, pa.string()),
            null_values=_NULLS,
            # Without 1 and 0, which are numbers.
            true_values=["true", "True", "TRUE"],
            false_values=["false", "False", "FALSE"],
        ),
    )
    return _plain(table)


def _plain(table: pa.Table) -> Columns:
    _refuse_doubled(table.column_names)
    return {name: table.column(name).to_pylist() for name in table.column_names}


def _refuse_doubled(names: Sequence[str]) -> None:
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise ValueError(
            f"it has {names.count(doubled)} columns {doubled!r}; rename or remove all but one"
        )


def _json_lines(path: Path, _: Sequence[str]) -> Columns:
    rows = []
    # Lines end as in any text file; a break inside a text is an escape.
    for number, line in enumerate(io.StringIO(read_text(path), newline=None), 1):
        if line.strip():
            rows.append(_json_row(line, number))
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _json_row(line: str, number: int) -> dict[str, Any]:
    try:
        row = parse_rows(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"line {number}, character {error.colno}: {error.msg}; every line must be one object"
        ) from None
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"line {number} is not an object with a value for each column")  # noqa: TRY004
    return row


_READERS: dict[str, tuple[str, Callable[[Path, Sequence[str]], Columns]]] = {
    ".csv": ("CSV", _csv),
    ".tsv": ("TSV", _tsv),
    ".jsonl": ("JSON lines", _json_lines),
    ".parquet": ("parquet", _parquet),
}
