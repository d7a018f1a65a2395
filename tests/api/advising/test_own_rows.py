"""A race on own rows, of a file or a frame."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import gapbench
from gapbench.bench.api.spelled_call import spelled
from gapbench.bench.core.errors import ConfigError, DataError
from tests.api.advising.conftest import advised, records
from tests.support.small_suite import call

Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("one_thread")
ARMS = ["--arms", "3"]


def test_call_is_stored_as_it_was_made(rows: Path, tmp_path: Path) -> None:
    """With the file, the methods and the backbone, though it ran as a suite."""
    with pytest.raises(ConfigError, match="folds is 1; rows are cut into 2 folds or more"):
        advised(rows, text="review", label="stars", folds=1, results=tmp_path / "out")
    given = {"text": "review", "label": "stars", "methods": "lora,head"}
    call = spelled(gapbench.advise, {"source": rows, "arms": None, **given})
    assert call == (
        f"gapbench.advise({str(rows)!r}, text='review', label='stars', methods='lora,head')"
    )


def test_frame_with_values_of_several_types_is_refused(tmp_path: Path) -> None:
    """By the library's reason, with a way out."""
    frame = pd.DataFrame({"t": ["a", 1] * 40, "y": ["a", "b"] * 40})
    with pytest.raises(DataError, match="give each column values of one type"):
        advised(frame, text="t", label="y", results=tmp_path / "out")


def test_own_rows_as_a_file_and_as_a_frame(
    rows: Path, tmp_path: Path, make_backbone: Callable[[str], Path]
) -> None:
    """Both are read alike; the adapter of the winner is written where it is wanted."""
    given = {"text": "review", "label": "stars", "backbone": make_backbone("bert")}
    given |= {"methods": "lora", "precision": "fp32"}
    given |= {"quantization": "int8"}
    of_file = advised(rows, results=tmp_path / "one", export=tmp_path / "adapter", **given)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    assert list((tmp_path / "one" / "runs").rglob("*.safetensors"))  # so that none trains again
    for folder in ("one", "one/race"):
        assert {each.cell.quantization for each in records(tmp_path / folder)} == {"int8"}
    assert of_file.task == "my_reviews"
    assert of_file.final
    of_frame = advised(pd.read_csv(rows), results=tmp_path / "two", **given)
    assert of_frame.task == "rows"
    assert [row.arm for row in of_frame.rows] == [row.arm for row in of_file.rows]


def test_rows_of_a_test_file_that_are_trained_on_are_told(
    rows: Path, tmp_path: Path, capsys: Capture
) -> None:
    """The check on them stands, with a caution."""
    lines = rows.read_text().splitlines()
    test = tmp_path / "test.csv"
    test.write_text(
        "\n".join([lines[0], *lines[1:11], *(f"a new {k},no" for k in range(10))]) + "\n"
    )
    words = ["--data", rows, "--test", test, "--text", "review", "--label", "stars"]
    where = [*ARMS, "--arms", "2", "--folds", "2", "--repeats", "1", "--results", tmp_path / "r"]
    answer = call(capsys, "advise", *words, *where)
    assert answer.code == 0, answer.err
    assert f"{test}: 10 rows have texts that are in {rows} too" in answer.err
    assert "10 test rows have texts that are among" in " ".join(answer.out.split())
