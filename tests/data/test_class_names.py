"""Names of classes that look like numbers are names in every format, and numbers count else."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import DataError
from gapbench.bench.data.rows import class_column, read_classes
from tests.support.small_suite import TASK, call

NAMES = {
    "one to three": (("1", "2", "3"), ["1", "2", "2", "1"], [0, 1, 1, 0]),
    "leading zeros": (("01", "02", "10"), ["01", "10", "02"], [0, 2, 1]),
    "sorted as text": (("0", "1", "10", "2"), ["10", "2", "0"], [2, 3, 0]),
    "fractions": (("0.5", "1.0"), ["1.0", "0.5"], [1, 0]),
    "one that is none": (("1", "2", "none"), ["2", "1"], [1, 0]),
    "signs": (("-1", "+1"), ["-1", "+1"], [0, 1]),
    "counted": (("no", "yes"), ["0", "1", "1"], [0, 1, 1]),
    "truth": (("false", "true"), ["True", "false", "true"], [1, 0, 1]),
}


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("case", NAMES)
def test_names_that_look_like_numbers_are_names(tmp_path: Path, case: str, suffix: str) -> None:
    """A number is a place only where no row holds a name."""
    labels, cells, expected = NAMES[case]
    task = Task.model_validate(TASK | {"source": {"files": "parquet"}, "labels": list(labels)})
    path = tmp_path / f"rows{suffix}"
    separator = "," if suffix == ".csv" else "\t"
    path.write_text("\n".join([f"label{separator}x", *(f"{cell}{separator}a" for cell in cells)]))
    table = read_classes(path, task, "label")
    assert class_column(task, "here", table).tolist() == expected


def test_place_among_names_is_refused(tmp_path: Path) -> None:
    """Zero is no class of one to three, though it would be a place."""
    task = Task.model_validate(TASK | {"labels": ["1", "2", "3"]})
    path = tmp_path / "rows.csv"
    path.write_text("label\n1\n0\n")
    with pytest.raises(DataError, match=r"row 1: column 'label' holds '0'"):
        class_column(task, "here", read_classes(path, task, "label"))


def test_init_takes_names_of_both_files_and_sorts_them_by_their_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A test file may hold only those names that look like numbers."""
    rows: dict[str, Any] = {"text": [f"text {row}" for row in range(60)]}
    names = ["none", "10", "9", "1"]
    for name, chosen in (("train", names), ("test", ["1", "9"])):
        rows["label"] = [chosen[row % len(chosen)] for row in range(60)]
        pd.DataFrame(rows).to_csv(tmp_path / f"{name}.csv", index=False)
    given = ["--data", tmp_path / "train.csv", "--test", tmp_path / "test.csv"]
    suite = tmp_path / "mine.yaml"
    answer = call(capsys, "init", suite, *given, "--text", "text", "--label", "label")
    assert answer.code == 0, answer.err
    assert "labels: ['1', '9', '10', none]" in (tmp_path / "tasks" / "mine.yaml").read_text()
    assert call(capsys, "check", suite).code == 0
