"""What second tests read: rows, columns and templates, checked, counted and fetched."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import gapbench
from gapbench.bench.config.run import Cell, Fingerprint
from gapbench.bench.core.errors import DataError
from gapbench.bench.data.sources import Sources
from gapbench.bench.experiment import suite as suites
from gapbench.bench.experiment.mirror import wanted
from tests.support.causal_files import (
    CHOOSE,
    STORIES,
    TALK,
)
from tests.support.second_files import ASK, Files


def test_missing_rows_are_named(second_files: Files, tmp_path: Path) -> None:
    """A second test needs its test file alone, and says which is missing."""
    gone = STORIES | {"name": "tales"}
    with pytest.raises(DataError, match=r"tales.*test\.parquet does not exist"):
        gapbench.plan(
            second_files.suite(tasks=[{"task": CHOOSE, "also_test": [gone]}]),
            data=second_files.folder / "data",
            results=tmp_path,
        )


def test_check_names_a_faulty_column(second_files: Files) -> None:
    """Rows of second tests are read before anything is trained."""
    wrong = STORIES | {"text": ["words"]}
    table = gapbench.check(
        second_files.suite(
            tasks=[{"task": CHOOSE, "also_test": [wrong]}], methods=["lora"], seeds=1
        ),
        data=second_files.folder / "data",
    )
    assert "no column 'words'" in table["verdict"].iloc[0]


def test_plan_and_check_name_what_no_run_could_do(
    second_files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option that does not fit is no reason to say only that nothing could be measured."""
    folder = tmp_path / "data"
    for name in ("choose", "ask"):
        shutil.copytree(second_files.folder / "data" / name, folder / name)
    rows = pd.read_parquet(folder / "ask" / "test.parquet")
    rows["choices"] = [["red", "old " * 60] for _ in rows["choices"]]
    rows["label"] = 0
    rows.to_parquet(folder / "ask" / "test.parquet")
    suite = second_files.suite(
        tasks=[{"task": CHOOSE, "also_test": [ASK]}], methods=["lora"], seeds=1
    )
    says = "row 0, target 'old old"
    gapbench.plan(suite, data=folder, results=tmp_path / "results")
    told = capsys.readouterr().err
    assert "none could be measured here: " in told
    assert says in told.partition("none could be measured here: ")[2]
    assert says in gapbench.check(suite, data=folder)["verdict"].iloc[0]


def test_check_says_which_second_test_loses_words(
    second_files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prompts that are cut would be scored without their beginning, and nobody would know."""
    longer = ASK | {"name": "longer", "prompt": f"{'the ' * 60}{{who}} is"}
    (second_files.folder / "data" / "longer").symlink_to(second_files.folder / "data" / "ask")
    table = gapbench.check(
        second_files.suite(
            tasks=[{"task": CHOOSE, "also_test": [ASK, longer]}], methods=["lora"], seeds=1
        ),
        data=second_files.folder / "data",
    )
    assert table[["cut_ask", "cut_longer"]].to_numpy().tolist() == [[0, 24]]
    said = capsys.readouterr().err
    assert "24 of 24 longer inputs are too long" in said
    assert "'max_length' of their own task" in said  # not of the one that is trained


def test_identity_of_a_cell_counts_what_is_tested(second_files: Files) -> None:
    """Another task, map of classes, or other rows make another run; a description does not."""
    sources = Sources(second_files.folder / "data")

    def cell(**changes: Any) -> Cell:
        suite, _ = suites.load(
            second_files.suite(
                tasks=[{"task": CHOOSE, "also_test": [STORIES | changes]}], methods=["lora"]
            )
        )
        return suites.expand(suite, sources)[0].run.cell

    assert cell().hash == cell(description="other words").hash
    assert cell().hash != cell(max_length=16).hash
    (test,) = cell().also_test
    for change in ({"classes": (1, 0)}, {"data": Fingerprint(name="files", digest="0" * 16)}):
        assert test.model_copy(update=change).identity() != test.identity()
    stored = Cell.model_validate_json(cell().model_dump_json())
    assert stored.hash == cell().hash


def test_chat_template_counts_where_a_second_test_is_written_by_it(
    second_files: Files, tmp_path: Path
) -> None:
    """By another template its texts are others; those of stories stay as they are."""
    folder = shutil.copytree(second_files.folder / "decoder", tmp_path / "decoder")
    for name in ("choose", "stories"):
        (tmp_path / name).symlink_to(second_files.folder / "data" / name)
    (tmp_path / "talk").mkdir()
    (tmp_path / "talk" / "test.parquet").touch()

    def digest(test: dict[str, Any]) -> str:
        tasks = [{"task": CHOOSE, "also_test": [test]}]
        content = second_files.suite(
            tasks=tasks, methods=["lora"], seeds=1, backbones=[str(folder)]
        )
        planned = suites.expand(suites.load(content)[0], Sources(tmp_path))
        return planned[0].run.cell.backbone.digest

    tests = STORIES, TALK | {"splits": {"train": None}, "validation_size": 0}
    before = [digest(test) for test in tests]
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    after = [digest(test) for test in tests]
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)


def test_fetch_copies_the_test_rows(second_files: Files, tmp_path: Path) -> None:
    """A folder for a computer without a network has second tests too, of these the test alone."""
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(second_files.suite(methods=["lora"])))
    items = wanted(str(path), Sources(second_files.folder / "data"))
    found = {item.folder: [*item.files] for item in items if item.folder.startswith("data/")}
    assert found == {
        "data/choose": ["train.parquet", "test.parquet"],
        "data/ask": ["test.parquet"],
        "data/stories": ["test.parquet"],
    }
