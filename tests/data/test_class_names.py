"""Names of classes that look like numbers are names in every format, and numbers count else."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gapbench.bench.config.task import Task
from gapbench.bench.config.task_files import parse
from gapbench.bench.core.errors import ConfigError, DataError
from gapbench.bench.core.safe_parsing import read_yaml
from gapbench.bench.data.rows import class_column, read_classes
from tests.support.small_suite import TASK, Answer, call

NAMES = {
    "one to three": (("1", "2", "3"), ["1", "2", "2", "1"], [0, 1, 1, 0]),
    "leading zeros": (("01", "02", "10"), ["01", "10", "02"], [0, 2, 1]),
    "sorted as text": (("0", "1", "10", "2"), ["10", "2", "0"], [2, 3, 0]),
    "fractions": (("0.5", "1.0"), ["1.0", "0.5"], [1, 0]),
    "one that is none": (("1", "2", "none"), ["2", "1"], [1, 0]),
    "signs": (("-1", "+1"), ["-1", "+1"], [0, 1]),
    "counted": (("no", "yes"), ["0", "1", "1"], [0, 1, 1]),
    "truth": (("false", "true"), ["True", "false", "true"], [1, 0, 1]),
    "blanks around": (("neg", "pos"), ["pos ", " neg", "pos"], [1, 0, 1]),
    "dates": (("2020-01-01", "2021-01-01"), ["2021-01-01", "2020-01-01"], [1, 0]),
    "times": (("12:30", "13:30"), ["13:30", "12:30"], [1, 0]),
    "missing": (("NA", "null"), ["null", "NA"], [1, 0]),
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


@pytest.mark.parametrize(
    ("labels", "values", "expected"),
    [
        (["1", "2", "3"], [1, 2, 1], [0, 1, 0]),
        (["0", "1", "10", "2"], [10, 2.0, 0], [2, 3, 0]),
        (["no", "yes"], [1, 0, 1.0], [1, 0, 1]),
        (["false", "true"], [True, False], [1, 0]),
        ([1, 2, 3], [3, 1.0], [2, 0]),
        (["pos", "pos "], ["pos ", "pos"], [1, 0]),
    ],
)
def test_numbers_of_typed_files_are_names_where_any_is_one(
    labels: list[Any], values: list[Any], expected: list[int]
) -> None:
    """Formats with types follow the same rule as those without: a name first, a count else."""
    task = Task.model_validate(TASK | {"labels": labels})
    assert class_column(task, "here", {"label": values}).tolist() == expected


@pytest.mark.parametrize(
    ("labels", "values", "row"),
    [
        ([0, 1], [0, 1, True], 2),
        (["no", "yes"], [1, True], 1),
        (["false", "true"], [True, 1, "1"], 2),
        (["1", "2"], [1, 2, 0], 2),
        (["no", "yes"], [1, float("nan")], 1),
        (["no", "yes"], ["yes", None], 1),
        ([1, 2], [1, "2"], 1),
        (["no", "yes"], ["yes", 1e300], 1),
    ],
)
def test_value_that_is_no_class_is_named_by_its_row(
    labels: list[Any], values: list[Any], row: int
) -> None:
    """Bools are no numbers, and numbers no places beside a number that is a name."""
    task = Task.model_validate(TASK | {"labels": labels})
    with pytest.raises(DataError, match=f"row {row}: column 'label' holds"):
        class_column(task, "here", {"label": values})


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ("[yes, no]", ("yes", "no")),
        ("[on, off]", ("on", "off")),
        ("[010, 020]", ("010", "020")),
        ("[12:30, 13:30]", ("12:30", "13:30")),
        ("[2020-01-01, 2021-01-01]", ("2020-01-01", "2021-01-01")),
        ("[1, 2]", (1, 2)),
    ],
)
def test_names_in_yaml_stay_names(tmp_path: Path, written: str, labels: tuple[Any, ...]) -> None:
    """The classes of a suite or task file are as they are typed."""
    path = tmp_path / "task.yaml"
    path.write_text(f"labels: {written}\n")
    assert Task.model_validate(TASK | read_yaml(path)).labels == labels


@pytest.mark.parametrize(
    "labels", ["[01, 02, 10]", "[1, x]", "[1.5, 2.5]", "[true, maybe]", "[~, x]"]
)
def test_mixed_classes_in_yaml_are_refused_with_the_way_out(tmp_path: Path, labels: str) -> None:
    """Half of them would never be found in a column."""
    path = tmp_path / "task.yaml"
    path.write_text(f"labels: {labels}\n")
    with pytest.raises(ConfigError, match=r"'labels': must be all names or all .* in quotes"):
        parse(TASK | read_yaml(path), "here")


def test_classes_of_one_name_are_refused() -> None:
    """The second one could never be found."""
    with pytest.raises(ConfigError, match="'labels': must differ from each other"):
        parse(TASK | {"labels": ["a", "b", "a"]}, "here")


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


def init_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], train: list[Any], test: list[Any]
) -> Answer:
    """Call `init` with a CSV file for each of the columns of labels, which are cells as written."""
    for name, cells in (("train", train), ("test", test)):
        lines = [f"{name} {row},{cells[row % len(cells)]}" for row in range(40)]
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    given = ["--data", tmp_path / "train.csv", "--test", tmp_path / "test.csv"]
    columns = ("--text", "text", "--label", "label")
    return call(capsys, "init", tmp_path / "mine.yaml", *given, *columns)


def test_numbers_with_and_without_a_point_are_the_same_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs write 1.0 for 1 in a column with gaps, and do so in one of two files."""
    answer = init_of(tmp_path, capsys, ["0", "1"], ["0.0", "1.0"])
    assert answer.code == 0, answer.err
    assert "labels: [0, 1]" in (tmp_path / "tasks" / "mine.yaml").read_text()
    assert call(capsys, "check", tmp_path / "mine.yaml", "--methods", "majority").code == 0


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (["yes", "no"], ["yes", "no", "Yes"], "'yes' in {train} and 'Yes' in {test}, which"),
        (["yes", "no"], ["Yes", "No"], "'no' in {train} and 'No' in {test}, which would be two"),
        (["1", "2"], ["01", "02"], "'1' in {train} and '01' in {test}, which would be two"),
        (["1", "2", "n"], ["1.0", "2.0"], "'1' in {train} and '1.0' in {test}, which would be"),
        (["0", "1"], ["true", "false"], "'0' in {train} and 'false' in {test}, which would be"),
        (["yes", "no"], ["0", "1"], "'no' in {train} and '0' in {test}, and the files have no"),
    ],
)
def test_classes_that_two_files_spell_in_two_ways_are_refused(
    train: list[Any],
    test: list[Any],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each would be a class that is never learned, and one that is never scored."""
    answer = init_of(tmp_path, capsys, train, test)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    names = {name: tmp_path / f"{name}.csv" for name in ("train", "test")}
    assert said.format(**names) in answer.err


def test_test_file_without_rows_is_told_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no class in common with train either."""
    assert init_of(tmp_path, capsys, ["yes", "no"], ["yes"]).code == 0
    (tmp_path / "test.csv").write_text("text,label\n")
    given = ["--data", tmp_path / "train.csv", "--test", tmp_path / "test.csv", "--force"]
    columns = ("--text", "text", "--label", "label")
    answer = call(capsys, "init", tmp_path / "mine.yaml", *given, *columns)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "test.csv: the split is empty; give at least one row" in answer.err


def test_numbers_of_one_typed_file_are_the_names_of_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One program writes "1" in JSON lines, and another 1."""
    for name, labels in (("train", ["0", "1"]), ("test", [0, 1])):
        rows = [{"text": f"{name} {row}", "label": labels[row % 2]} for row in range(40)]
        pd.DataFrame(rows).to_json(tmp_path / f"{name}.jsonl", orient="records", lines=True)
    given = ["--data", tmp_path / "train.jsonl", "--test", tmp_path / "test.jsonl"]
    suite = tmp_path / "mine.yaml"
    assert call(capsys, "init", suite, *given, "--text", "text", "--label", "label").code == 0
    assert "labels: ['0', '1']" in (tmp_path / "tasks" / "mine.yaml").read_text()
    assert call(capsys, "check", suite, "--methods", "majority").code == 0
