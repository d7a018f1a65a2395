"""Files of rows: what their cells become, and what is refused with its place."""

import csv
import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gapbench.bench.core.errors import DataError
from gapbench.bench.data import readers
from gapbench.bench.data.readers import read


def written(tmp_path: Path, name: str, content: str | bytes) -> Path:
    """Write a file of rows and return its path."""
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("cell", ["NaN", "nan", "-nan", "-NaN"])
def test_not_a_number_is_a_number_that_is_not_finite(tmp_path: Path, cell: str) -> None:
    """Messages can then name what the file holds; an empty cell is nothing."""
    path = written(tmp_path, "rows.csv", f"a,b\n1.5,x\n{cell},y\n,z\n")
    first, second, third = read(path)["a"]
    assert (first, third) == (1.5, None)
    assert math.isnan(second)


@pytest.mark.parametrize(
    "text", [r"a\ud83d", r"\ude00b", r"\uD83D \uDE00", r"[\ud83d]", r"\ud83d\ud83d\ude00"]
)
def test_half_of_a_surrogate_pair_is_named_by_line(tmp_path: Path, text: str) -> None:
    """No encoding holds one, so that it would fail later, far from its row."""
    path = written(tmp_path, "rows.jsonl", f'{{"a": "fine \\ud83d\\ude00"}}\n{{"a": ["{text}"]}}\n')
    with pytest.raises(DataError, match=r"line 2: it holds \\u[dD][0-9a-f]+, one half of"):
        read(path)


def test_whole_surrogate_pair_is_its_character(tmp_path: Path) -> None:
    """JSON writes what is beyond the basic plane as two escapes."""
    path = written(tmp_path, "rows.jsonl", '{"a": "\\ud83d\\ude00"}\n')
    assert read(path) == {"a": ["\U0001f600"]}


SAID = ['"Gone" said he', '"He went away', 'she said "yes', '"all of it"', 'he "" said', "it's"]


def test_quotes_in_a_file_with_tabs_are_characters(tmp_path: Path) -> None:
    """As in GLUE's files, which hold one row a line whatever quotes open and never close."""
    lines = [f"{text}\t{row % 2}" for row, text in enumerate(SAID)]
    path = written(tmp_path, "rows.tsv", "\n".join(["text\tlabel", *lines, ""]))
    assert read(path) == {"text": SAID, "label": [0, 1, 0, 1, 0, 1]}
    path = written(tmp_path, "rows.tsv", "\r\n".join(["text\tlabel", *lines, ""]))
    assert read(path)["text"] == SAID


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_quotes_that_a_program_put_around_fields_are_none(tmp_path: Path, quoting: int) -> None:
    """Such a program doubles quotes inside, or quotes every field."""
    path = tmp_path / "rows.tsv"
    rows = {"text": SAID, "label": [str(row % 2) for row in range(len(SAID))]}
    pd.DataFrame(rows).to_csv(path, sep="\t", index=False, quoting=quoting)
    assert read(path, ["text", "label"]) == rows


@pytest.mark.parametrize("header", ["text\tlabel", '"text"\t"label"'])
def test_column_whose_every_text_is_quoted_was_quoted_by_a_program(
    tmp_path: Path, header: str
) -> None:
    """R and others quote texts and leave numbers, whether or not a text holds a quote."""
    rows = ['"a cat"\t0', '"a dog"\t1', '"it\'s"\t0']
    path = written(tmp_path, "rows.tsv", "\n".join([header, *rows]))
    assert read(path) == {"text": ["a cat", "a dog", "it's"], "label": [0, 1, 0]}
    path = written(tmp_path, "rows.tsv", "\n".join(["text\tlabel", *rows, "a bird\t1"]))
    assert read(path)["text"] == ['"a cat"', '"a dog"', '"it\'s"', "a bird"]


def test_quoted_field_with_a_line_break_or_a_tab_is_refused(tmp_path: Path) -> None:
    """Lines are rows there; the message says what to do."""
    for text in ('"a\nb"', '"a\tb"', '"say ""x\ny"" now"'):
        path = written(tmp_path, "rows.tsv", f"text\tlabel\nfine\t0\n{text}\t1\n")
        with pytest.raises(DataError, match=r"rows.tsv is not a readable TSV file.*another format"):
            read(path)


ROWS = {"a": ["x", "y"], "b": [1, 2]}
READ = {
    "line ends of old Macs": ("rows.csv", "a,b\rx,1\ry,2\r"),
    "mixed line ends": ("rows.csv", "a,b\rx,1\r\ny,2\n"),
    "mixed line ends, tabs": ("rows.tsv", "a\tb\r\nx\t1\ry\t2"),
    "line ends of old Macs, JSON": ("rows.jsonl", '{"a": "x", "b": 1}\r{"a": "y", "b": 2}\r'),
    "blank lines": ("rows.csv", "\n\na,b\n\nx,1\n\ny,2\n\n"),
    "upper case": ("ROWS.CSV", "a,b\nx,1\ny,2\n"),
    "mixed case": ("rows.Tsv", "a\tb\nx\t1\ny\t2\n"),
    "byte order mark": ("rows.csv", "\ufeffa,b\nx,1\ny,2\n"),
    "byte order mark, JSON": ("rows.JSONL", '\ufeff{"a": "x", "b": 1}\n{"a": "y", "b": 2}'),
    "UTF-16": ("rows.csv", "a,b\nx,1\ny,2\n".encode("utf-16")),
    "UTF-16, JSON": ("rows.jsonl", '{"a": "x", "b": 1}\n{"a": "y", "b": 2}'.encode("utf-16")),
    "UTF-32": ("rows.tsv", "a\tb\nx\t1\ny\t2\n".encode("utf-32")),
    "all quoted": ("rows.csv", '"a","b"\n"x","1"\n"y","2"\n'),
}


@pytest.mark.parametrize("case", READ)
def test_files_of_other_systems_are_read_alike(tmp_path: Path, case: str) -> None:
    """Line ends, cases of suffixes and encodings that a file names itself leave no doubt."""
    assert read(written(tmp_path, *READ[case])) == ROWS


REFUSED = {
    "semicolons": ("rows.csv", "a;b\nx;1\n", "'a;b', has a semicolon and no comma"),
    "tabs, commas in texts": (
        "rows.csv",
        "ham\tGo, now\nspam\tWin, win\n",
        "tabs separate its columns; rename it to .tsv",
    ),
    "a comma too many": (
        "rows.csv",
        "text,label\na,0\nb,c,1\n",
        "Expected 2 columns, got 3.*put quotes around a text with a comma in it",
    ),
    "tabs, no header": (
        "rows.csv",
        "a film\t1\nbad\t0\n",
        "tabs separate its columns; rename it to .tsv",
    ),
    "bars": ("rows.csv", "a|b\nx|1\n", "has a bar and no comma"),
    "separator of a spreadsheet": ("rows.csv", "sep=;\na;b\nx;1\n", "has a semicolon and no"),
    "commas for tabs": ("rows.tsv", "a,b\nx,1\n", "has a comma and no tab"),
    "columns of one name": ("rows.csv", "a,b,a\nx,1,y\n", "2 columns 'a'; rename or remove"),
    "columns of one name, tabs": ("rows.tsv", "a\ta\nx\t1\n", "2 columns 'a'"),
    "keys of one name": ("rows.jsonl", '{"a": 1}\n{"a": 1, "a": 2}\n', "line 2: 'a' appears twice"),
    "inner keys": ("rows.jsonl", '{"a": {"b": 1, "b": 2}}\n', "line 1: 'b' appears twice"),
    "quote never closed": ("rows.csv", 'a,b\nx,0\n"y,1\nz,2\n', "row in line 3, and does not"),
    "quotes that swallow rows": ("rows.csv", 'a,b\n"x,0\ny,1\n"z,2\n', "row in line 2, and does"),
    "quotes of a word": ("rows.csv", 'a,b\n"x" said he,0\n', "does not close it by line 2"),
    "latin-1": (
        "rows.csv",
        "a,b\nx,1\ncafé,2\n".encode("latin-1"),
        r"line 3 is not UTF-8 \(byte 0xe9",
    ),
    "latin-1, JSON": ("rows.jsonl", '{"a": "é"}'.encode("latin-1"), "line 1 is not UTF-8"),
    "windows": ("rows.tsv", "a\tb\n“x”\t1\n".encode("cp1252"), r"line 2 is not UTF-8 \(byte 0x93"),
    "half a pair": ("rows.jsonl", b'{"a": "\xed\xa0\xbd"}', "line 1 is not UTF-8"),
    "NUL": ("rows.csv", "a,b\nx\0,1\n", "line 2 holds a NUL character"),
    "NUL, JSON": ("rows.jsonl", '{"a": "\0"}\n', "line 1 holds a NUL character"),
    "UTF-16 without a mark": (
        "rows.tsv",
        "a\tb\nx\t1".encode("utf-16-le"),
        "holds a NUL character",
    ),
    "cut-off JSON": ("rows.jsonl", '{"a": 1}\n{"a":', "line 2, character 6: .*one object"),
    "an array": ("rows.jsonl", '[{"a": 1}]\n', "line 1 is not an object"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_reader_would_have_to_guess_is_refused(tmp_path: Path, case: str) -> None:
    """The message names the file, the place and what is there."""
    name, content, said = REFUSED[case]
    with pytest.raises(DataError, match=f"{name} is not a readable .* file: .*{said}"):
        read(written(tmp_path, name, content))


def test_columns_of_one_name_in_parquet_are_refused(tmp_path: Path) -> None:
    """No format may let the last one win."""
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="2 columns 'a'"):
        read(tmp_path / "rows.parquet")


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_file_above_the_limit_is_refused_unread(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library takes blocks of less than 2 GiB; other formats have no such limit."""
    path = tmp_path / f"rows.{suffix}"
    with path.open("wb") as file:
        file.truncate(2**31)  # takes no place on the disk
    monkeypatch.setattr(readers, "read_text", lambda _: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"2,147,483,648 bytes, .*save it as .parquet or .jsonl"):
        read(path)


def test_long_texts_and_quotes_inside_are_read(tmp_path: Path) -> None:
    """Quotes that open no field are characters, doubled ones are one, and texts may be long."""
    path = written(
        tmp_path, "rows.csv", f'a,b\nsay "x" now,5" disk\n"say ""x""\nnow","{"y " * 10**5}"\n'
    )
    assert read(path) == {"a": ['say "x" now', 'say "x"\nnow'], "b": ['5" disk', "y " * 10**5]}


def test_numbers_are_no_bools(tmp_path: Path) -> None:
    """A column of bools and numbers stays as it is written."""
    path = written(tmp_path, "rows.csv", "a,b\ntrue,True\n0,FALSE\n1,true\n")
    assert read(path) == {"a": ["true", "0", "1"], "b": [True, False, True]}


def test_tabs_inside_of_texts_are_texts(tmp_path: Path) -> None:
    """A file with commas stays one, whatever its texts hold."""
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + '"a\tb",0\n' * 20)
    assert read(path)["text"] == ["a\tb"] * 20
