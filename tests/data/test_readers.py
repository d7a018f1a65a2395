"""Files of rows: what their cells become, and what is refused with its place."""

import csv
import math
from pathlib import Path

import pandas as pd
import pytest

from gapbench.bench.core.errors import DataError
from gapbench.bench.data.readers import read


def written(tmp_path: Path, name: str, content: str) -> Path:
    """Write a file of rows and return its path."""
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
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
    with pytest.raises(DataError, match=r"line 2 holds \\u[dD][0-9a-f]+, one half of a pair"):
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


def test_quoted_field_with_a_line_break_or_a_tab_is_refused(tmp_path: Path) -> None:
    """Lines are rows there; the message says what to do."""
    for text in ('"a\nb"', '"a\tb"', '"say ""x\ny"" now"'):
        path = written(tmp_path, "rows.tsv", f"text\tlabel\nfine\t0\n{text}\t1\n")
        with pytest.raises(DataError, match=r"rows.tsv is not a readable TSV file.*another format"):
            read(path)
