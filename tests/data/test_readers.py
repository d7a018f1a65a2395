"""Files of rows: what their cells become, and what is refused with its place."""

import math
from pathlib import Path

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
