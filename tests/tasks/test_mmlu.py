"""MMLU: the likelihoods of lm-evaluation-harness, and scores by subject and by category."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

from gapbench.bench.config import task as task_config
from gapbench.bench.config import task_files
from gapbench.bench.core.errors import ConfigError, DataError
from gapbench.bench.core.schema import laid_over
from gapbench.bench.data.encoded import AbsentSplit, TaskData
from gapbench.bench.data.rows import Rows
from gapbench.bench.data.sources import Sources, backbone_folder
from gapbench.bench.experiment import suite as suites
from gapbench.bench.metrics.calibration import expected_calibration_error
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.dataset import read_rows
from gapbench.bench.tasks.eval_subset import EvalSubset
from tests.support.causal_files import Made, make_runs
from tests.support.small_stack import load_backbone

VALUES = json.loads((Path(__file__).parent / "harness" / "mmlu.json").read_text(encoding="utf-8"))
POSITIONS: int = VALUES["positions"]
KNOWN: dict[str, dict[str, Any]] = VALUES["values"]


@pytest.fixture(scope="module")
def decoder(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small decoder of the reference values, which reads texts of any length."""
    folder = tmp_path_factory.mktemp("decoder") / "stories"
    shutil.copytree(shared_folder / "models" / "tinystories-656k", folder)
    config = folder / "config.json"
    content = json.loads(config.read_text()) | {"max_position_embeddings": POSITIONS}
    config.write_text(json.dumps(content))
    return folder


def encoded(folder: Path, task: task_config.Task, rows: Rows) -> Made:
    """Encode test rows for the backbone in a folder."""
    backbone, kind = load_backbone(folder, make_runs(task)), kinds.get(task.kind)
    arrays = kind.encode(task, "here", rows, backbone.reader)
    arrays |= {"targets": rows.targets, "example_ids": rows.numbers}
    test = kind.load(arrays, backbone.tokenizer.pad_token_id)
    return Made(task, folder, backbone, TaskData(AbsentSplit(), AbsentSplit(), test))


@pytest.mark.parametrize("form", KNOWN)
def test_likelihoods_are_those_of_lm_evaluation_harness(
    form: str, decoder: Path, shared_folder: Path
) -> None:
    """Letters and answers, without and after examples, to 1e-6 in double precision."""
    name, shots = form.split("/")
    base = task_files.load(name)
    task = task_files.parse(
        laid_over(base.model_dump(), {"shots": {"number": int(shots)}, "max_length": POSITIONS}),
        form,
    )
    table = pd.read_parquet(shared_folder / "data" / "mmlu" / "test.parquet")
    known = KNOWN[form]
    firsts = [int((table["subject"] == subject).argmax()) for subject in known]
    assert table["idx"][firsts].tolist() == [each["idx"] for each in known.values()]
    rows = read_rows(task, Sources(shared_folder / "data"))["test"].take(np.array(firsts))
    made = encoded(decoder, task, rows)
    assert made.data.test.cut is not None
    assert not made.data.test.cut.any()
    expected = [each["log_likelihoods"] for each in known.values()]
    found = made.untuned()["logits"][0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["tiny-decoder", "stories"])
def test_second_tests_of_the_suite_can_be_read_by_small_decoders(
    name: str, decoder: Path, shared_folder: Path
) -> None:
    """Rows with an option of 99 tokens, and with one of a character that tokenizers drop."""
    folder = decoder if name == "stories" else backbone_folder(name)
    assert folder is not None
    suite, _ = suites.load("instruction")
    tests = [task_files.load(each.task) for each in suite.tasks[0].also_test]
    exams = [task for task in tests if task.kind == "choice"]
    assert [task.name for task in exams] == ["mmlu", "mmlu_5_shots"]
    for task in exams:
        rows = read_rows(task, Sources(shared_folder / "data"))["test"].take(np.array([1212, 2921]))
        assert len(encoded(folder, task, rows).data.test) == 2


TASK = {
    "name": "exam",
    "version": 1,
    "kind": "choice",
    "description": "",
    "source": {"files": "parquet"},
    "text": ["question"],
    "introduction": "About {topic}:\n\n",
    "prompt": "{question}\n{choices}\nAnswer:",
    "shots": {"split": "dev", "number": 2, "by": "topic"},
    "choice": {
        "options": "choices",
        "letters": True,
        "parts": "topic",
        "part_groups": {"sums": ["plain_sums", "hard_sums"], "words": ["words"]},
    },
    "metrics": ["accuracy", "macro_accuracy"],
    "splits": {"train": None, "test": "test"},
    "max_length": 100,
}
DEV = {
    "question": [" 1 + 1? ", "2 + 2?", "Red?", "3 + 3?", "Blue?", "4 + 4?"],
    "choices": [["2", "3 "], ["4", "5"], ["yes", "no"], ["6", "7"], ["no", "yes"], ["8", "9"]],
    "label": [0, 0, 1, 0, 1, 0],
    "topic": ["plain_sums", "plain_sums", "words", "hard_sums", "words", "hard_sums"],
}
TEST = {
    "question": ["5 + 5?", "Green?", "6 + 6?"],
    "choices": [["10", "11"], ["yes", "no", "maybe"], ["12", "13"]],
    "label": [0, 2, 0],
    "topic": ["plain_sums", "words", "hard_sums"],
}


def stored(folder: Path, **tables: dict[str, list[Any]]) -> Sources:
    """Return sources with the task's tables, with others in their place where given."""
    (folder / "exam").mkdir(exist_ok=True)
    for split, table in ({"dev": DEV, "test": TEST} | tables).items():
        pd.DataFrame(table).to_parquet(folder / "exam" / f"{split}.parquet")
    return Sources(folder)


def test_prompt_follows_introduction_and_solved_examples_of_its_part(tmp_path: Path) -> None:
    """Examples are the first rows with the row's value, in order; answers are letters."""
    task = task_files.parse(TASK, "here")
    rows = read_rows(task, stored(tmp_path))["test"]
    pairs = rows.columns["pairs"]
    assert pairs[0] == [
        (
            "About plain sums:\n\n1 + 1?\nA. 2\nB. 3 \nAnswer: A\n\n2 + 2?\nA. 4\nB. 5\nAnswer: A"
            "\n\n5 + 5?\nA. 10\nB. 11\nAnswer:",
            letter,
        )
        for letter in "AB"
    ]
    assert pairs[1][0][0].count("Answer: B\n\n") == 2
    assert [letter for _, letter in pairs[1]] == ["A", "B", "C"]
    none = task_files.parse(laid_over(TASK, {"shots": {"number": 0}}), "here")
    assert read_rows(none, stored(tmp_path))["test"].columns["pairs"][2][0] == (
        "About hard sums:\n\n6 + 6?\nA. 12\nB. 13\nAnswer:",
        "A",
    )


def test_rows_without_enough_examples_or_a_known_part_are_refused(tmp_path: Path) -> None:
    """The message names the row, what is missing and the way out."""
    many = task_files.parse(laid_over(TASK, {"shots": {"number": 3}}), "here")
    says = (
        r"split 'test', row 0: field 'shots.number' is 3, but .*split 'dev' has 2 rows with topic"
    )
    with pytest.raises(DataError, match=says):
        read_rows(many, stored(tmp_path))
    odd = TEST | {"topic": ["plain_sums", "words", "odd"]}
    with pytest.raises(DataError, match="row 2: column 'topic' holds 'odd', allowed: the parts in"):
        read_rows(task_files.parse(TASK, "here"), stored(tmp_path, test=odd))


def test_topics_of_a_file_without_types_may_look_like_numbers(tmp_path: Path) -> None:
    """In the introduction and as a part, each is what was written."""
    topics = ["01", "1", "0"]
    table = {"question": ["a?", "b?", "c?"], "x": list("pqr"), "y": list("stu"), "label": [0, 1, 0]}
    pd.DataFrame(table | {"topic": topics}).to_csv(tmp_path / "test.csv", index=False)
    change = {"options": ["x", "y"], "part_groups": None}
    source = {"test": str(tmp_path / "test.csv")}
    content = TASK | {"source": source, "shots": None, "choice": TASK["choice"] | change}
    rows = read_rows(task_files.parse(content, "here"), Sources())["test"]
    assert rows.columns["part"] == topics
    prompts = [pairs[0][0] for pairs in rows.columns["pairs"]]
    assert [prompt.partition(":")[0] for prompt in prompts] == [f"About {each}" for each in topics]


def test_scores_by_part_and_group_and_their_mean(decoder: Path, tmp_path: Path) -> None:
    """Parts and groups are scored apart; the macro mean weighs parts alike, whatever their size."""
    table = {name: values * 4 for name, values in TEST.items()}
    table = {name: [*values, *values[:2]] for name, values in table.items()}
    task = task_files.parse(TASK, "here")
    rows = read_rows(task, stored(tmp_path, test=table))["test"]
    made, kind = encoded(decoder, task, rows), kinds.get("choice")
    logits = np.random.default_rng(0).normal(size=(14, 3))
    logits[:, 2] = np.where(rows.targets == 2, logits[:, 2], -1e9)
    subset = EvalSubset.of(made.data.test)
    found = kind.score(task, {"logits": logits}, subset, task.metrics)
    right, parts = logits.argmax(axis=1), np.array(table["topic"])
    each = {p: accuracy_score(rows.targets[parts == p], right[parts == p]) for p in {*parts}}
    sums = parts != "words"
    assert found.metrics == {
        "accuracy": pytest.approx(accuracy_score(rows.targets, right)),
        "macro_accuracy": pytest.approx(np.mean([*each.values()])),
    }
    groups = {"sums": accuracy_score(rows.targets[sums], right[sums]), "words": each["words"]}
    assert {name: scores["accuracy"] for name, scores in found.parts.items()} == pytest.approx(
        each | groups
    )
    likelihoods = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for name, scores in found.parts.items():
        own = sums if name == "sums" else parts == name
        ece = expected_calibration_error(likelihoods[own], rows.targets[own])
        assert scores["ece"] == pytest.approx(ece, abs=1e-12)
        assert 0 < scores["ece_floor"] < 1
    stored_table = kind.predictions(task, {"logits": logits}, subset, task.metrics)
    items = stored_table["item_macro_accuracy"].to_numpy()
    assert items.mean() == pytest.approx(np.mean([*each.values()]), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shots": {"split": "test"}}, "'shots.split' is 'test', whose rows are trained on or"),
        ({"prompt": "{question}"}, r"'choice.letters' needs a prompt with '{choices}'"),
        ({"prompt": "{question!r}{choices}"}, "'question' is not one of them, or has a format"),
        ({"introduction": "{a.b}"}, "'a.b' is not one of them, or has a format"),
        ({"choice": {"parts": None}}, "'choice.part_groups' needs 'choice.parts'"),
        ({"choice": {"part_groups": {"a": ["x", "y"], "b": ["x"]}}}, "names 'x' twice"),
        ({"choice": {"part_groups": {"x": ["x", "y"]}}}, "names 'x' twice"),
        ({"choice": {"parts": None, "part_groups": None}}, "'macro_accuracy' needs 'choice.parts'"),
        ({"source": {"test": "a.csv"}}, "'shots' needs rows from the hub"),
    ],
)
def test_bad_task_is_refused(change: dict[str, Any], says: str) -> None:
    """The message names the field and the way out."""
    content = laid_over(TASK, change)
    if "source" in change:
        content["source"] = change["source"]
    with pytest.raises(ConfigError, match=says):
        task_files.parse(content, "task.yaml")


def test_groups_of_mmlu_hold_each_of_its_57_subjects_once() -> None:
    """They are those of the authors' code: 18, 13, 12 and 14 subjects."""
    groups = task_files.load("mmlu").model_dump()["choice"]["part_groups"]
    assert [len(own) for own in groups.values()] == [18, 13, 12, 14]
    assert len({part for own in groups.values() for part in own}) == 57
