"""Input that cannot be advised on."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import gapbench
from gapbench.bench.core.errors import ConfigError, DataError
from tests.api.advising.conftest import advised, records
from tests.support.small_suite import SmallSuite, call

Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("one_thread")


def bad(path: Path, frame: pd.DataFrame) -> Path:
    """Write a file of rows."""
    frame.to_csv(path, index=False)
    return path


TEXTS = [f"text {number}" for number in range(80)]
TWO = ["a", "b"] * 40
MANY_LONG = {"t": [f"{'word ' * 60}{number}" for number in range(800)], "y": ["a", "b"] * 400}


@pytest.mark.parametrize(
    ("frame", "words", "said"),
    [
        ({"t": TEXTS, "y": TWO}, ["--label", "z"], "no column 'z'"),
        ({"t": TEXTS, "y": ["a"] * 80}, ["--label", "y"], "only 'a'; give at least two classes"),
        (
            {"t": TEXTS[:20], "y": TWO[:20]},
            ["--label", "y"],
            "20 rows with 20 different texts; fewer than 50",
        ),
        ({"t": [""] * 60 + TEXTS[:20], "y": TWO}, ["--label", "y"], "no text in 60 of 80 rows"),
        (MANY_LONG, ["--label", "y", "--budget", "1s"], "--budget 1 s: one block of"),
        ({"t": TEXTS, "y": TWO}, [], "one of --label and --target"),
        (
            {"t": TEXTS, "y": [str(k / 7) for k in range(80)]},
            ["--label", "y", "--at-most-ece", "0.1"],
            "--at-most-ece: task 'rows' is regression, which has no calibration error",
        ),
        ({"t": TEXTS, "y": TWO}, ["--label", "y", "--methods", "nothing"], "nothing"),
        (
            {"t": TEXTS, "y": TWO},
            ["--label", "y", "--methods", "lora,head,dora", "--arms", "2"],
            "--arms 2: 3 methods race, lora included; give at least as many arms",
        ),
        (
            {"t": TEXTS, "y": TWO, "who": [f"user {k % 5}" for k in range(80)]},
            ["--label", "y", "--group", "who"],
            "rows to cut make only 4 groups",
        ),
        ({"t": TEXTS[:40] * 2, "y": TWO}, ["--label", "y"], "80 rows with 40 different texts"),
        ({"t": TEXTS, "y": TWO}, ["--label", "y", "--repeats", "300"], "at most 1000 blocks"),
    ],
)
def test_bad_input_gets_one_clear_line(
    frame: dict[str, list[str]], words: list[str], said: str, tmp_path: Path, capsys: Capture
) -> None:
    """Nothing is trained, and the message names what is wrong."""
    path = bad(tmp_path / "rows.csv", pd.DataFrame(frame))
    answer = call(
        capsys, "advise", "--data", path, "--text", "t", *words, "--results", tmp_path / "r"
    )
    assert answer.code == 2
    last = answer.err.strip().splitlines()[-1]
    assert last.startswith("gapbench: error: ")
    assert said in last
    assert not records(tmp_path / "r" / "race")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"group": "author"}, "a suite cannot be given group; for own rows, name the columns"),
        ({"test": "held out.csv", "label": "y"}, "a suite cannot be given label, test"),
        ({"text": "t", "label": "y", "tasks": "animals"}, "own rows cannot be given tasks"),
    ],
)
def test_what_the_other_form_alone_is_given_is_refused(
    small: SmallSuite, given: dict[str, str], said: str
) -> None:
    """A suite has its own columns and test rows, and own rows are one task; nothing is dropped."""
    with pytest.raises(ConfigError, match=said):
        advised(small.path, data=None if "text" in given else small.data, **given)
    assert not small.results.exists()


def test_protocol_that_validates_on_test_rows_is_refused(small: SmallSuite) -> None:
    """The race would choose by what the final scores are of."""
    small.write_suite(protocol="paper")
    with pytest.raises(ConfigError, match="protocol 'paper' validation is the test split"):
        advised(small.path, data=small.data, results=small.results)
    assert not records(small.results / "race")


def test_what_is_missing_is_said(capsys: Capture) -> None:
    """Neither rows nor a suite."""
    assert "SUITE" in call(capsys, "advise", "--budget", "10m").err
    assert call(capsys, "advise").code == 2


@pytest.mark.parametrize("label", [1, 0])
def test_column_that_is_no_name_is_refused(label: Any, tmp_path: Path) -> None:
    """A frame's columns may be numbers, which the message says how to rename."""
    frame = pd.DataFrame({"t": TEXTS, label: TWO})
    with pytest.raises(
        ConfigError, match=rf"label is {label}, which is no text; .*rename\(columns=str\)"
    ):
        gapbench.advise(frame, text="t", label=label, results=tmp_path)


def test_rows_of_a_test_file_are_not_counted_as_those_to_train_on(tmp_path: Path) -> None:
    """They are told apart in the message on too few rows."""
    train = bad(tmp_path / "train.csv", pd.DataFrame({"t": TEXTS[:40], "y": TWO[:40]}))
    test = bad(tmp_path / "test.csv", pd.DataFrame({"t": TEXTS[40:], "y": TWO[40:]}))
    with pytest.raises(DataError, match="40 rows with 40 different texts"):
        advised(train, test=test, text="t", label="y", results=tmp_path / "out")
