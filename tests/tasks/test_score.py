"""`gapbench score` gives outputs of any system the numbers that a run's own would get."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from gapbench.bench.metrics import calibration, classification
from gapbench.bench.metrics.base import compute
from tests.support.scored_outputs import REFERENCES, SHARED, TASKS, TELLINGS, Capture, scored
from tests.support.small_suite import call


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
    metrics = ("--metrics", "bleu,nist,rouge_l,cider")  # the others are slow
    answer = call(capsys, "score", "--task", "e2e_nlg", *files, *metrics, "--json")
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


@pytest.mark.parametrize("parts", [["0", "01", "1"], ["false", "true", "True"], ["1", "1.0", ""]])
def test_parts_that_look_like_numbers_have_the_names_that_were_written(
    tmp_path: Path, capsys: Capture, parts: list[str]
) -> None:
    """No part of a CSV file is lost because it counts as nothing, or joined to its equal."""
    task = tmp_path / "small.yaml"
    task.write_text(yaml.safe_dump(SHARED | TASKS["generation"] | {"metrics": ["rouge_l"]}))
    references, path = tmp_path / "references.csv", tmp_path / "outputs.txt"
    table = {"record": list("abc"), "telling": ["a cat", "a dog", "it is"], "category": parts}
    pd.DataFrame(table).to_csv(references, index=False)
    path.write_text("a cat\na dog\nnothing\n")
    files = ("--predictions", path, "--references", references)
    answer = call(capsys, "score", "--task", task, *files, "--json")
    assert answer.code == 0, answer.err
    found = {name: scores["rouge_l"] for name, scores in answer.json["parts"].items()}
    scores = {part: float(row < 2) for row, part in enumerate(parts) if part}
    assert found == pytest.approx(scores)


def test_part_has_the_scores_that_it_has_in_a_run(tmp_path: Path, capsys: Capture) -> None:
    """The mean over parts is one of the whole alone, as in records."""
    fields = SHARED | TASKS["choice"] | {"metrics": ["macro_accuracy", "accuracy"]}
    fields["choice"] = fields["choice"] | {"parts": "topic"}
    task = tmp_path / "small.yaml"
    task.write_text(yaml.safe_dump(fields))
    references, path = tmp_path / "references.parquet", tmp_path / "outputs.csv"
    pd.DataFrame(REFERENCES["choice"] | {"topic": ["a", "b", "a"]}).to_parquet(references)
    pd.DataFrame({"prediction": [0, 2, 0]}).to_csv(path, index=False)
    files = ("--predictions", path, "--references", references)
    answer = call(capsys, "score", "--task", task, *files, "--json")
    assert answer.json["scores"] == pytest.approx({"macro_accuracy": 0.75, "accuracy": 2 / 3})
    assert answer.json["parts"] == {"a": {"accuracy": 0.5}, "b": {"accuracy": 1.0}}
    flags = ("--metrics", "macro_accuracy", "--json")
    assert call(capsys, "score", "--task", task, *files, *flags).json["parts"] == {}


@pytest.mark.parametrize("ids", [["1", "02", "3"], [1, 2, 3]])
def test_answers_by_id_may_be_about_ids_that_are_numbers(
    tmp_path: Path, capsys: Capture, ids: list[Any]
) -> None:
    """Names in JSON are texts, whatever the references hold."""
    references = REFERENCES["span"] | {"id": ids}
    answers = dict(zip(map(str, ids), ["the cat", "old house", ""], strict=True))
    given = json.dumps(answers)
    answer = scored(tmp_path, capsys, "span", given, ".json", references=references)
    assert answer.code == 0, answer.err
    assert answer.json["scores"]["exact_match"] == 1.0


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


def test_loss_of_enormous_logits_is_shown_in_few_digits(tmp_path: Path, capsys: Capture) -> None:
    """Its 300 digits would hide the other scores."""
    (tmp_path / "logits.csv").write_text("logit_0,logit_1\n" + "1e307,-1e307\n" * 2)
    (tmp_path / "refs.tsv").write_text("sentence\tlabel\na\t0\nb\t1\n")
    files = ("--predictions", tmp_path / "logits.csv", "--references", tmp_path / "refs.tsv")
    answer = call(capsys, "score", "--task", "sst2", *files)
    assert answer.code == 0, answer.err
    assert "e+300" in answer.out
    assert max(map(len, answer.out.splitlines())) < 40
