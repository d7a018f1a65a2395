"""Inputs that stand in two splits, or do not fit: counted and said by `check`, not passed over."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapbench.bench.config.task_files import builtin_names, load
from gapbench.bench.data.rows import Rows
from gapbench.bench.data.sources import Sources
from gapbench.bench.models.loading import load_tokenizer
from gapbench.bench.tasks.dataset import count_overlap, read_rows
from gapbench.reports.render.build import build
from tests.support import small_suite
from tests.support.small_stack import MakeBackbone, make_task
from tests.support.small_suite import SmallSuite, call

WORDS = st.lists(st.sampled_from("abcde"), max_size=12)


@given(train=WORDS, validation=WORDS, test=WORDS)
@settings(max_examples=60, deadline=None)
def test_count_is_that_of_comparing_every_pair(
    train: list[str], validation: list[str], test: list[str]
) -> None:
    """A unit counts once, however often its input stands in train."""
    parts = {"train": train, "validation": validation, "test": test}
    rows = {name: Rows({"text": texts}, np.zeros(len(texts))) for name, texts in parts.items()}
    assert count_overlap(make_task(), rows) == {
        name: sum(any(text == other for other in train) for text in parts[name])
        for name in ("validation", "test")
    }


@pytest.mark.parametrize("name", [name for name in builtin_names() if name.startswith("syn_")])
def test_generated_tasks_share_no_input(name: str) -> None:
    """No input of a built-in task's test split is in train."""
    task = load(name)
    expected = {} if task.tests_only else {"test": 0}
    assert count_overlap(task, dict(read_rows(task, Sources()))) == expected


@pytest.fixture
def small(tmp_path: Path, make_backbone: MakeBackbone) -> SmallSuite:
    """A suite whose test rows are its first 16 training rows."""
    made = small_suite.make(tmp_path, make_backbone("bert"))
    rows = small_suite.rows("train")
    rows["sentence"] = [f"{text} {'very ' * i}" for i, text in enumerate(rows["sentence"])]
    made.write_rows("train", rows)
    made.write_rows("validation", {name: values[:16] for name, values in rows.items()})
    return made


def test_check_counts_shared_inputs_and_says_so(
    small: SmallSuite, capsys: pytest.CaptureFixture[str]
) -> None:
    """Test rows that went from train into validation are not in train any more."""
    answer = call(capsys, "check", *small.planning, "--json")
    assert answer.code == 0
    count = answer.json[0]["train_overlap_test"]
    assert 0 < count < 16
    assert answer.json[0]["train_overlap_validation"] == 0
    sentence = f"task 'animals': {count} of 16 test inputs are in train too"
    assert answer.err.count(sentence) == 1


@pytest.mark.usefixtures("page_alone")
def test_records_and_tables_show_shared_inputs(
    small: SmallSuite, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `check` counts stands in every run's row and on the page."""
    count = call(capsys, "check", *small.planning, "--json").json[0]["train_overlap_test"]
    assert call(capsys, "run", *small.running, "--methods", "majority").code == 0
    built = build(small.results, small.folder / "report")
    runs = [line.split(",") for line in built.runs.read_text().splitlines()]
    place = runs[0].index("train_overlap_test")
    assert {row[place] for row in runs[1:]} == {str(count)}
    assert f"test {count}, validation 0" in built.report.read_text()


def test_check_counts_inputs_that_are_cut(
    small: SmallSuite, capsys: pytest.CaptureFixture[str]
) -> None:
    """A unit counts where its whole text has more tokens than the task or the backbone allows."""
    tokenizer = load_tokenizer(small.backbone)
    texts = pd.read_parquet(small.data / "animals" / "validation.parquet")["sentence"]
    long = sum(len(tokenizer(text)["input_ids"]) > 16 for text in texts)
    answer = call(capsys, "check", *small.planning, "--json")
    assert answer.code == 0
    assert 0 < long < 16
    assert answer.json[0]["cut_test"] == long
    assert answer.err.count(f"task 'animals': {long} of 16 test inputs are too long") == 1
    small.write_task(max_length=64)
    answer = call(capsys, "check", *small.planning, "--json")
    assert {answer.json[0][f"cut_{name}"] for name in ("train", "validation", "test")} == {0}
    assert "too long" not in answer.err


def test_check_tells_of_further_test_splits_too(
    small: SmallSuite, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their sizes, what is cut of them, and what they share with train."""
    further = small_suite.rows("train")
    further["sentence"] = [f"the cat {'very ' * i}" for i, _ in enumerate(further["sentence"])]
    small.write_rows("further", further)
    splits = {"train": "train", "test": "validation", "more": {"other": "further"}}
    small.write_task(splits=splits)
    answer = call(capsys, "check", *small.planning, "--json")
    assert answer.code == 0, answer.err
    (row, *_) = answer.json
    assert row["other"] == len(further["sentence"]) > row["cut_other"] > 0
    said = f"task 'animals': {row['cut_other']} of {row['other']} other inputs are too long"
    assert answer.err.count(said) == 1
    small.write_rows("further", small_suite.rows("train") | {"sentence": _texts(small)})
    answer = call(capsys, "check", *small.planning, "--json")
    shared = answer.json[0]["train_overlap_other"]
    assert shared > 0
    assert f"{shared} of {row['other']} other inputs are in train too" in answer.err


def _texts(small: SmallSuite) -> list[str]:
    found = pd.read_parquet(small.data / "animals" / "train.parquet")["sentence"]
    return [str(text) for text in found]
