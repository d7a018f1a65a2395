"""Which output belongs to which reference, and what `gapbench score` refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.support.scored_outputs import REFERENCES, SHARED, TASKS, TELLINGS, Capture, Table, scored
from tests.support.small_suite import call


@pytest.mark.parametrize(
    ("kind", "content", "suffix", "says"),
    [
        ("generation", "one\ntwo\n", ".txt", ("2 outputs, but there are 3 examples", "4 rows")),
        ("generation", "", ".txt", ("predictions.txt: it is empty, but there are 3",)),
        ("generation", {"output": TELLINGS}, ".csv", ("no column 'prediction'", "output")),
        ("generation", {"prediction": ["a", None, "b"]}, ".parquet", ("row 1: found None",)),
        ("generation", {"prediction": []}, ".parquet", ("it is empty",)),
        ("generation", TELLINGS[0], ".doc", ("must end in .csv",)),
        ("classification", {"label": [0] * 4}, ".csv", ("no column 'prediction', logit_0",)),
        ("classification", {"prediction": ["no", "si", "no", "no"]}, ".csv", ("row 1", "'si'")),
        ("classification", {"logit_0": [0] * 4}, ".csv", ("3 classes", "logit_0 to logit_2")),
        ("classification", {f"prob_{k}": [0.9] * 4 for k in range(3)}, ".csv", ("sum to 1",)),
        ("regression", {"prediction": [1, 2, "x"]}, ".csv", ("row 2", "holds 'x', expected a")),
        ("choice", {"prediction": [2, 0, 0]}, ".csv", ("row 0", "the number of a choice, 0 to 1")),
        ("span", '{"x": "a cat", "z": ""}', ".json", ("1 of 3", "have no answer", "'y'")),
        ("span", "{", ".json", ("not valid JSON",)),
        ("span", '["a \\ud83d", "b", "c"]', ".json", ("it holds \\ud83d, one half of a pair",)),
        ("span", '{"x": "a", "y": "b", "z": "c", "x": "d"}', ".json", ("'x' appears twice",)),
        ("regression", {"prediction": [1, "NaN", 2]}, ".csv", ("row 1", "holds nan, expected")),
        ("classification", {"prediction": ["no", "NaN", "yes", "no"]}, ".csv", ("row 1", "'NaN'")),
        (
            "classification",
            {"prob_0": [1, 0.333, 0, 0], "prob_1": [0, 0.333, 1, 0], "prob_2": [0, 0.333, 0, 1]},
            ".csv",
            ("row 1", "the sum is 0.999", "with more digits"),
        ),
    ],
)
def test_file_that_does_not_fit_is_refused(
    tmp_path: Path, capsys: Capture, kind: str, content: Any, suffix: str, says: tuple[str, ...]
) -> None:
    """One clear line names the file, what is wrong with it and what is expected."""
    answer = scored(tmp_path, capsys, kind, content, suffix)
    assert (answer.code, answer.out) == (2, "")
    (line,) = [line for line in answer.err.splitlines() if "gapbench: error: " in line]
    assert [part for part in says if part not in line] == [], line


def test_unknown_task_or_metric_is_refused_with_what_was_meant(
    tmp_path: Path, capsys: Capture
) -> None:
    """A misspelt name is answered with the nearest one, a metric of another kind with its kind."""
    path = tmp_path / "out.txt"
    files = ("--predictions", path, "--references", path)
    answer = call(capsys, "score", "--task", "e2e_nlgg", *files)
    assert answer.code == 2
    assert "unknown task 'e2e_nlgg'" in answer.err
    assert "(did you mean 'e2e_nlg'?)" in answer.err
    answer = call(capsys, "score", "--task", "e2e_nlg", *files, "--metrics", "pearson")
    assert answer.code == 2
    assert "metric 'pearson' does not score generation" in answer.err


IDS = {"id": ["a", "b", "c", "d"], "sentence": ["a", "b", "c", "d"], "label": [0, 2, 1, 2]}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    "given",
    [
        {"id": ["d", "a", "c", "b"], "prediction": [2, 0, 1, 2]},
        {"sentence": ["d", "a", "c", "b"], "prediction": ["yes", "no", "maybe", "yes"]},
        {"id": ["b", "a", "d", "c"], "sentence": ["b", "a", "d", "c"], "prediction": [2, 0, 2, 1]},
        {"id": ["c", "b", "a", "d"], **{f"prob_{k}": np.eye(3)[[1, 2, 0, 2], k] for k in range(3)}},
        {"prediction": [0, 2, 1, 2], "note": ["z", "y", "x", "w"]},
    ],
)
def test_outputs_are_aligned_by_what_both_files_have(
    tmp_path: Path, capsys: Capture, given: Table, suffix: str
) -> None:
    """A perfect system scores 1 in any order that an id, or an input, tells."""
    answer = scored(tmp_path, capsys, "classification", given, suffix, references=IDS)
    assert answer.json["scores"]["accuracy"] == 1.0


def test_numbered_ids_are_equal_in_every_format(tmp_path: Path, capsys: Capture) -> None:
    """A whole number is the same as text and with a point; regression and texts are aligned too."""
    table = {"idx": ["10", "2", "3"], **REFERENCES["regression"]}
    for ids in ([3, 10, 2], [3.0, 10.0, 2.0], ["3", "10", "2"]):
        given = {"idx": ids, "prediction": [4.5, 0.5, 2.0]}
        answer = scored(tmp_path, capsys, "regression", given, references=table)
        assert answer.json["scores"]["mse"] == 0
    given = {"id": ["z", "x", "y"], "prediction": ["", "the cat", "old house"]}
    answer = scored(tmp_path, capsys, "span", given, ".csv")
    assert answer.json["scores"]["exact_match"] == 1.0
    told = {"record": ["r2", "r1", "r0"], "prediction": TELLINGS[::-1]}
    plain = scored(tmp_path, capsys, "generation", "\n".join(TELLINGS), ".txt").json["scores"]
    assert scored(tmp_path, capsys, "generation", told, ".csv").json["scores"] == plain


@pytest.mark.parametrize(
    ("ids", "row"),
    [(["a", "b", "c", "e"], 3), (["a", "b", "b", "d"], 2), (["01", "02", "03", "04"], 0)],
)
def test_ids_that_disagree_are_refused(
    tmp_path: Path, capsys: Capture, ids: list[str], row: int
) -> None:
    """An unknown or doubled id cannot be aligned, and the order must not be guessed."""
    given = {"id": ids, "prediction": [0, 2, 1, 2]}
    answer = scored(tmp_path, capsys, "classification", given, ".csv", references=IDS)
    assert (answer.code, answer.out) == (2, "")
    assert f"row {row}: id is {ids[row]!r}, but {IDS['id'][row]!r} in the references" in answer.err


def test_column_that_repeats_orders_nothing(tmp_path: Path, capsys: Capture) -> None:
    """A domain that both files name row by row is fine, and in another order refused."""
    table = {"domain": ["x", "x", "y", "y"], **REFERENCES["classification"]}
    for domains, code in ((["x", "x", "y", "y"], 0), (["y", "x", "y", "x"], 2)):
        given = {"domain": domains, "prediction": [0, 2, 1, 2]}
        answer = scored(tmp_path, capsys, "classification", given, references=table)
        assert answer.code == code


def test_references_may_name_classes_like_numbers(tmp_path: Path, capsys: Capture) -> None:
    """Names are text in references of CSV as in predictions of CSV."""
    task = tmp_path / "codes.yaml"
    labels = {"labels": ["01", "02", "10"]}
    task.write_text(yaml.safe_dump(SHARED | TASKS["classification"] | {"name": "codes"} | labels))
    (tmp_path / "references.csv").write_text("sentence,label\na,01\nb,02\nc,02\n")
    (tmp_path / "predictions.csv").write_text("prediction\n01\n02\n01\n")
    files = ("--predictions", tmp_path / "predictions.csv")
    files += ("--references", tmp_path / "references.csv")
    answer = call(capsys, "score", "--task", task, *files, "--json")
    assert answer.json["scores"]["accuracy"] == pytest.approx(2 / 3)


def test_choices_are_told_by_name_where_they_have_names(tmp_path: Path, capsys: Capture) -> None:
    """The names of a task's choices stand in references and in predictions."""
    task = tmp_path / "named.yaml"
    change = {"name": "named", "labels": ["1", "2"], "choice": {"options": ["one", "two"]}}
    content = SHARED | TASKS["choice"] | change | {"metrics": ["accuracy"]}
    task.write_text(yaml.safe_dump(content))
    (tmp_path / "references.csv").write_text("question,one,two,label\nq,3,5,2\nr,7,9,1\n")
    (tmp_path / "predictions.csv").write_text("prediction\n2\n2\n")
    files = ("--predictions", tmp_path / "predictions.csv")
    files += ("--references", tmp_path / "references.csv")
    answer = call(capsys, "score", "--task", task, *files, "--json")
    assert answer.json["scores"] == {"accuracy": 0.5}


LIKE_NUMBERS = {
    "twenty digits": ["12345678901234567890", "12345678901234567891", "12345678901234567892"],
    "leading zeros": ["1", "01", "001"],
    "exponents": ["1e5", "100000", "10e4"],
    "fractions": ["0.1", "0.10", "0.100"],
    "truth": ["true", "True", "TRUE"],
    "beyond exact floats": ["9007199254740993", "9007199254740992", "9007199254740994"],
}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("case", LIKE_NUMBERS)
def test_ids_that_look_like_one_number_are_several(
    tmp_path: Path, capsys: Capture, case: str, suffix: str
) -> None:
    """Columns of names are text: what a file holds tells its rows apart, not its value."""
    ids = LIKE_NUMBERS[case]
    write(tmp_path / "references.csv", id=ids, sentence=list("abc"), label=[0, 1, 2])
    write(tmp_path / f"predictions{suffix}", id=[*reversed(ids)], prediction=[2, 1, 0])
    task = tmp_path / "small.yaml"
    task.write_text(yaml.safe_dump(SHARED | TASKS["classification"]))
    files = ("--predictions", tmp_path / f"predictions{suffix}")
    files += ("--references", tmp_path / "references.csv")
    answer = call(capsys, "score", "--task", task, *files, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["scores"]["accuracy"] == 1.0


def write(path: Path, **columns: Any) -> None:
    """Write a file of rows in the format of its suffix."""
    table = pd.DataFrame(columns)
    if path.suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"ID": range(12)}, "column 'ID' is 'id' in the references"),
        ({"index": [*range(1, 12), 0]}, "column 'index' numbers the rows in another order"),
        ({"row": [*range(12, 0, -1)]}, "column 'row' numbers the rows in another order"),
    ],
)
def test_column_that_denies_the_order_of_the_file_is_refused(
    tmp_path: Path, capsys: Capture, column: dict[str, Any], said: str
) -> None:
    """Outputs without a shared column are taken as they stand, unless one speaks against it."""
    references = {"id": range(12), "sentence": [*"abcdefghijkl"], "label": [0, 1, 2] * 4}
    given = column | {"prediction": [0, 1, 2] * 4}
    answer = scored(tmp_path, capsys, "classification", given, ".csv", references=references)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
