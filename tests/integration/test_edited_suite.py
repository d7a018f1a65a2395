"""A suite or its rows are edited and a part is run again: what was run before is apart from it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_suite import SmallSuite, call, make, rows

Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """Two methods, two seeds."""
    return make(tmp_path / "small", make_backbone("bert"), methods=["lora", "head"])


def budget(small: SmallSuite) -> None:
    """Train longer."""
    small.write_suite(budget={"steps": 8, "batch_size": 4, "evaluations": 2})


def data(small: SmallSuite) -> None:
    """Turn one label round."""
    table = rows("train")
    table["label"][0] = 1 - table["label"][0]
    small.write_rows("train", table)


def precision(small: SmallSuite) -> None:
    """Compute with more digits."""
    small.write_suite(precision="fp64")


def protocol(small: SmallSuite) -> None:
    """Choose checkpoints on the test split, as papers do."""
    small.write_suite(protocol="paper")


EDITS = {budget: "budget.steps", data: "data.digest", precision: "precision"}


@pytest.mark.parametrize(("edit", "field"), EDITS.items(), ids=[e.__name__ for e in EDITS])
def test_no_table_mixes_what_was_run_before_and_after_an_edit(
    small: SmallSuite, capsys: Capture, edit: Callable[[SmallSuite], None], field: str
) -> None:
    """Each has a table of its own whose heading says what differs, in every form of it."""
    assert call(capsys, "run", *small.running).code == 0
    edit(small)
    assert call(capsys, "run", *small.running, "--methods", "head").code == 0
    rows: list[dict[str, Any]] = call(capsys, "leaderboard", small.results, "--json").json["rows"]
    kept = {row["method"]: row["setting"] for row in rows if row["method"] == "lora"}
    new = {row["setting"] for row in rows if row["method"] == "head"} - set(kept.values())
    assert len(new) == 1
    for form in ([], ["--markdown"], ["--latex"]):
        shown = call(capsys, "leaderboard", small.results, *form).out
        assert shown.count(field.rpartition(".")[2]) >= 2, shown
    answer = call(capsys, "compare", "lora", "head", small.results)
    assert answer.code == 2
    assert f"{field} is " in answer.err


def test_rows_of_the_paper_protocol_stand_apart(small: SmallSuite, capsys: Capture) -> None:
    """Their names carry a mark; the name without it means the row that is no part of the suite."""
    assert call(capsys, "run", *small.running).code == 0
    protocol(small)
    assert call(capsys, "run", *small.running, "--methods", "head").code == 0
    shown = call(capsys, "leaderboard", small.results).out
    assert "head [paper]" in shown
    answer = call(capsys, "compare", "lora", "head", small.results)
    assert answer.code == 2
    assert "'lora' and 'head' were run under different settings" in answer.err
