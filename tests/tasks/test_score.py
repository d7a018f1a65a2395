"""`gapbench score` gives outputs of any system the numbers that a run's own would get."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from gapbench.bench.metrics import calibration, classification
from gapbench.bench.metrics.base import compute
from tests.support.small_suite import Answer, call

Capture = pytest.CaptureFixture[str]
Table = Mapping[str, Sequence[Any]]

SHARED: dict[str, Any] = {
    "name": "small",
    "version": 1,
    "description": "A task of a test.",
    "source": {"files": "parquet"},
    "validation_size": 8,
    "max_length": 16,
}
TASKS: dict[str, dict[str, Any]] = {
    "classification": {
        "kind": "classification",
        "text": ["sentence"],
        "labels": ["no", "maybe", "yes"],
        "metrics": ["accuracy", "matthews_correlation"],
    },
    "regression": {
        "kind": "regression",
        "text": ["sentence"],
        "label_range": [0, 5],
        "metrics": ["pearson", "mse"],
    },
    "choice": {
        "kind": "choice",
        "text": ["question"],
        "choice": {"options": "options"},
        "metrics": ["accuracy", "accuracy_norm"],
    },
    "span": {
        "kind": "span",
        "text": ["question", "context"],
        "label": "answers",
        "span": {"version": "2.0"},
        "metrics": ["span_f1", "exact_match"],
    },
    "generation": {
        "kind": "generation",
        "text": ["record"],
        "label": "telling",
        "generation": {"parts": "category"},
        "metrics": ["bleu", "rouge_l", "ter"],
        "checkpoint_metric": "perplexity",
    },
}
REFERENCES: dict[str, Table] = {
    "classification": {"sentence": ["a", "b", "c", "d"], "label": [0, 2, 1, 2]},
    "regression": {"sentence": ["a", "b", "c"], "label": [0.5, 2.0, 4.5]},
    "choice": {
        "question": ["q0", "q1", "q2"],
        "options": [["aa", "b"], ["a", "bb", "cccc"], ["a", "b", "c"]],
        "label": [0, 2, 1],
    },
    "span": {
        "id": ["x", "y", "z"],
        "question": ["who?", "where?", "why?"],
        "context": ["the cat sat", "in the old house", "nobody knows"],
        "answers": [
            {"text": ["the cat", "cat"], "answer_start": [0, 4]},
            {"text": ["old house"], "answer_start": [7]},
            {"text": [], "answer_start": []},
        ],
    },
    "generation": {
        "record": ["r0", "r1", "r0", "r2"],
        "telling": [
            "the red cat sees a dog",
            "a bird is in the old house",
            "a dog is seen by the red cat",
            "it is 5",
        ],
        "category": ["seen", "unseen", "seen", "seen"],
    },
}
TELLINGS = ["the red cat sees a dog", "a bird likes the old house", "it is not 5"]


def scored(
    folder: Path,
    capsys: Capture,
    kind: str,
    predictions: Table | str,
    suffix: str = ".parquet",
    **changes: Any,
) -> Answer:
    """Score predictions for a small task of a kind."""
    task = folder / "small.yaml"
    task.write_text(yaml.safe_dump(SHARED | TASKS[kind]))
    references = folder / "references.parquet"
    pd.DataFrame(changes.get("references", REFERENCES[kind])).to_parquet(references)
    path = folder / f"predictions{suffix}"
    if isinstance(predictions, str):
        path.write_bytes(predictions.encode())
    elif suffix == ".csv":
        pd.DataFrame(predictions).to_csv(path, index=False)
    else:
        pd.DataFrame(predictions).to_parquet(path)
    files = ("--predictions", path, "--references", references)
    return call(capsys, "score", "--task", task, *files, *changes.get("flags", ("--json",)))


@pytest.mark.parametrize(
    "system", ["train-orig_test-orig_sclstm.run0", "train-clean_test-orig_tgen-minus.run1"]
)
def test_real_outputs_get_the_official_scores(
    shared_folder: Path, tmp_path: Path, capsys: Capture, system: str
) -> None:
    """Outputs of real systems for E2E get the official scripts' scores through the command."""
    golden = shared_folder / "data" / "e2e_metrics_golden"
    if not golden.is_dir():
        pytest.skip(f"no official scores in {golden}")
    path = tmp_path / "outputs.txt"
    outputs = pd.read_parquet(golden / "system_outputs.parquet")[system]
    path.write_text("".join(f"{text}\n" for text in outputs), encoding="utf-8")
    files = ("--predictions", path, "--references", golden / "references.parquet")
    answer = call(capsys, "score", "--task", "e2e_nlg", *files, "--json")
    assert answer.code == 0
    official = json.loads((golden / "scores.json").read_text(encoding="utf-8"))[system]
    scores = answer.json["scores"]
    assert answer.json["examples"] == len(outputs)
    assert scores["bleu"] == pytest.approx(official["BLEU"], abs=0.5001e-4)
    assert scores["nist"] == pytest.approx(official["NIST"], abs=0.5001e-4)
    assert scores["rouge_l"] == pytest.approx(official["ROUGE_L"], abs=0.003)
    assert scores["cider"] == pytest.approx(official["CIDEr"], abs=0.003)


def test_texts_are_held_against_all_references_of_their_input(
    tmp_path: Path, capsys: Capture
) -> None:
    """Rows of equal input are one example, in the order of its first row."""
    answer = scored(tmp_path, capsys, "generation", "\n".join(TELLINGS), ".txt")
    first, second, third, fourth = REFERENCES["generation"]["telling"]
    references = [[first, third], [second], [fourth]]
    expected = compute(["bleu", "rouge_l", "ter"], {"texts": (TELLINGS, references)})
    assert answer.json["scores"] == pytest.approx(expected)
    of_part = compute(["bleu", "rouge_l", "ter"], {"texts": (TELLINGS[1:2], [[second]])})
    assert answer.json["parts"]["unseen"] == pytest.approx(of_part)
    assert set(answer.json["parts"]) == {"seen", "unseen"}


def test_lists_of_references_are_the_same_as_one_a_row(tmp_path: Path, capsys: Capture) -> None:
    """A column `references` with lists gives the scores of the same texts one a row."""
    first, second, third, fourth = REFERENCES["generation"]["telling"]
    listed = {
        "record": ["r0", "r1", "r2"],
        "references": [[first, third], [second], [fourth]],
        "category": ["seen", "unseen", "seen"],
    }
    text = "\r\n".join(TELLINGS) + "\r\n"
    made = scored(tmp_path, capsys, "generation", text, ".txt", references=listed).json
    one_a_row = scored(tmp_path, capsys, "generation", {"prediction": TELLINGS}, ".csv").json
    assert made == one_a_row
    assert made == scored(tmp_path, capsys, "generation", json.dumps(TELLINGS), ".json").json


def test_metric_that_needs_more_than_texts_is_empty_with_its_reason(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """METEOR without Java and perplexity have no value, and say why once, outside the results."""
    monkeypatch.setenv("PATH", "")
    flags = ("--metrics", "rouge_l,meteor,perplexity")
    answer = scored(tmp_path, capsys, "generation", "\n".join(TELLINGS), ".txt", flags=flags)
    assert answer.code == 0
    lines = [line.split() for line in answer.out.splitlines()]
    assert lines[0] == ["part", "metric", "score"]
    assert lines[2:4] == [["all", "meteor", "-"], ["all", "perplexity", "-"]]
    assert answer.err.count("no meteor: METEOR needs a Java runtime") == 1
    assert answer.err.count("no perplexity: it needs the model's probabilities") == 1


def test_classes_are_told_by_name_or_number(tmp_path: Path, capsys: Capture) -> None:
    """Names and numbers of classes score alike, and without calibration."""
    names = scored(
        tmp_path, capsys, "classification", {"prediction": ["no", "yes", "yes", "yes"]}, ".csv"
    )
    numbers = scored(tmp_path, capsys, "classification", {"prediction": [0, 2, 2, 2]}, ".csv")
    assert names.json == numbers.json
    assert set(names.json["scores"]) == {"accuracy", "matthews_correlation"}
    assert names.json["scores"]["accuracy"] == 0.75


def test_likelihoods_of_classes_are_calibrated_too(tmp_path: Path, capsys: Capture) -> None:
    """Logits and their softmax give the same metrics, and the calibration of the library."""
    logits = np.random.default_rng(0).normal(size=(4, 3)) * 3
    targets = np.array(REFERENCES["classification"]["label"])
    made = [
        scored(
            tmp_path,
            capsys,
            "classification",
            {f"{name}_{k}": values[:, k] for k in range(3)},
        ).json["scores"]
        for name, values in (("logit", logits), ("prob", calibration.softmax(logits)))
    ]
    report = calibration.calibration_report(logits, targets, 1.0)
    names = ("ece", "ece_classwise", "ece_equal_mass", "ece_floor", "mce", "brier", "nll")
    expected = {name: report[name] for name in names}
    expected |= classification.score(["accuracy", "matthews_correlation"], logits, targets)
    assert made[0] == pytest.approx(expected)
    assert made[1] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["prediction", "logit_0"])
def test_values_may_lie_outside_the_range(tmp_path: Path, capsys: Capture, name: str) -> None:
    """Predicted values are compared as they are, even beyond what a target can be."""
    answer = scored(tmp_path, capsys, "regression", {name: [-1, 2.0, 7]}, ".csv")
    assert answer.json["scores"]["mse"] == pytest.approx((1.5**2 + 0 + 2.5**2) / 3)
    assert answer.json["scores"]["pearson"] == pytest.approx(
        np.corrcoef([-1, 2, 7], [0.5, 2, 4.5])[0, 1]
    )


def test_choices_by_number_have_no_normalised_accuracy(tmp_path: Path, capsys: Capture) -> None:
    """The number of a choice gives accuracy; what needs likelihoods says so."""
    answer = scored(tmp_path, capsys, "choice", {"prediction": [0, 2, 2]}, ".csv").json
    assert answer["scores"] == {"accuracy": pytest.approx(2 / 3), "accuracy_norm": None}
    assert "logit_0" in answer["reasons"]["accuracy_norm"]


def test_choices_by_likelihood_are_normalised_by_their_characters(
    tmp_path: Path, capsys: Capture
) -> None:
    """A longer choice with less likelihood wins a character for character comparison."""
    table = {
        "logit_0": [-2.0, -3.0, -1.0],
        "logit_1": [-1.5, -5.0, -2.0],
        "logit_2": [None, -4.0, -3.0],  # the first question has two choices
    }
    answer = scored(tmp_path, capsys, "choice", table).json["scores"]
    assert answer["accuracy"] == 0
    # -1.0 beats -1.5, -1.0 beats -2.5 and -3.0, and -1.0 beats the right -2.0.
    assert answer["accuracy_norm"] == pytest.approx(2 / 3)
    assert answer["nll"] > 0


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        ('{"z": "", "x": "a cat", "y": "house", "w": "more"}', ".json"),
        ("a cat\nhouse\n\n", ".txt"),
        ("a cat\rhouse\r\r", ".TXT"),
        ("\ufeffa cat\r\nhouse\r\n\r\n", ".txt"),
        ({"prediction": ["a cat", "house", ""]}, ".csv"),
        ({"text": ["a cat", "house", ""]}, ".parquet"),
    ],
    ids=["json", "txt", "old Mac", "Windows", "csv", "parquet"],
)
def test_answers_of_every_layout_score_alike(
    tmp_path: Path, capsys: Capture, content: Any, suffix: str
) -> None:
    """Answers by question id, by line and by column are the same answers."""
    answer = scored(tmp_path, capsys, "span", content, suffix).json["scores"]
    assert answer == {"span_f1": pytest.approx((1 + 2 / 3 + 1) / 3), "exact_match": 2 / 3}


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
