"""The user's own files: read where the task file says, cut by seed, run from end to end."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from gapbench.bench.config.task import Task
from gapbench.bench.config.task_files import load
from gapbench.bench.config.task_sources import OwnSource
from gapbench.bench.core.errors import ConfigError, DataError
from gapbench.bench.data.sources import Sources
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store
from gapbench.bench.tasks.dataset import read_rows
from gapbench.bench.tasks.split_rows import cut_validation
from tests.experiment.test_scaffold import MOODS, SENTENCES, N, made, write
from tests.support.small_suite import TASK, call


def own_task(folder: Path, source: dict[str, Any], **fields: Any) -> Task:
    """Write a task file about own rows and load it."""
    content = TASK | {"source": source, "text": ["text"], "labels": ["glum", "merry"], **fields}
    content.pop("splits")
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks" / "animals.yaml").write_text(yaml.safe_dump(content))
    return load("animals", folder)


SHARED = {"train": "../rows.csv", "test_share": 0.25}


def numbered(count: int) -> dict[str, list[Any]]:
    """Return rows whose texts all differ, a third of them merry."""
    return {
        "text": [f"row {i}" for i in range(count)],
        "label": ["merry" if i % 3 == 0 else "glum" for i in range(count)],
    }


def test_cut_test_split_is_stratified_and_repeatable(tmp_path: Path) -> None:
    """Train and test partition the file, both with its share of classes; so always."""
    write(tmp_path, numbered(120))
    task = own_task(tmp_path, SHARED)
    first, second = read_rows(task, Sources()), read_rows(task, Sources())
    train, test = (set(first[split].numbers) for split in ("train", "test"))
    assert (train | test, train & test) == (set(range(120)), set())
    assert len(test) == 30
    assert first["test"].targets.mean() == pytest.approx(1 / 3)
    assert first["test"].numbers.tolist() == second["test"].numbers.tolist()
    other = read_rows(task.model_copy(update={"version": 2}), Sources())
    assert first["test"].numbers.tolist() != other["test"].numbers.tolist()


@pytest.mark.parametrize("copies", [2, 5])
def test_equal_inputs_stay_together_in_the_cut(copies: int, tmp_path: Path) -> None:
    """Rows with the same text are all in train or all in test, which keeps its size."""
    write(tmp_path, {name: values * copies for name, values in numbered(60).items()})
    rows = read_rows(own_task(tmp_path, SHARED), Sources())
    train, test = (set(rows[split].columns["text"]) for split in ("train", "test"))
    assert not train & test
    assert len(rows["test"]) == 15 * copies


def test_group_column_keeps_its_rows_together(tmp_path: Path) -> None:
    """Rows of one writer are all in train or all in test."""
    writers = [f"writer {i % 12}" for i in range(60)]
    write(tmp_path, numbered(60) | {"writer": writers})
    rows = read_rows(own_task(tmp_path, SHARED, group="writer"), Sources())
    sides = [{writers[i] for i in rows[split].numbers} for split in ("train", "test")]
    assert not sides[0] & sides[1]


def test_groups_that_look_like_one_number_are_several(tmp_path: Path) -> None:
    """A CSV file does not tell ids from numbers, and its columns of names are text."""
    ids = ["12345678901234567890", "12345678901234567891", "01", "1", "1.0"]
    write(tmp_path, numbered(60) | {"writer": [ids[i % 5] for i in range(60)]})
    rows = read_rows(own_task(tmp_path, SHARED, group="writer"), Sources())
    groups = [rows[split].groups for split in ("train", "test")]
    assert sum(len(np.unique(each)) for each in groups if each is not None) == len(ids)


@pytest.mark.parametrize(
    ("group", "changed", "field"),
    [
        ("writer", {"writer": ["me"] * 30}, "'source.test_share' asks for 8 of 30"),
        ("writer", {"writer": ["me"] * 15 + ["you"] * 15}, "'validation_size' asks for 8 of 15"),
        (None, {"text": ["hi", *["ho"] * 29]}, "'source.test_share' asks for 8 of 30"),
    ],
    ids=["one group", "two groups", "two inputs"],
)
def test_cut_that_leaves_nothing_to_train_on_is_refused(
    group: str | None, changed: dict[str, Any], field: str, tmp_path: Path
) -> None:
    """Where rows stay together, a cut may take all of them: the field to change is named."""
    write(tmp_path, numbered(30) | changed)
    task = own_task(tmp_path, SHARED, group=group)
    with pytest.raises(DataError, match=field) as raised:
        cut_validation(task, read_rows(task, Sources())["train"])
    assert "\n" not in str(raised.value)


def test_given_test_file_is_taken_whole(tmp_path: Path) -> None:
    """With a test file nothing is cut from the other."""
    write(tmp_path, numbered(40))
    write(tmp_path, numbered(12), ".jsonl")
    rows = read_rows(
        own_task(tmp_path, {"train": "../rows.csv", "test": "../rows.jsonl"}), Sources()
    )
    assert (len(rows["train"]), len(rows["test"])) == (40, 12)


def test_fingerprint_is_of_the_content_alone(tmp_path: Path) -> None:
    """Moved and renamed files are the same data and the same task; one other row is not."""
    data = write(tmp_path, numbered(40))
    task = own_task(tmp_path, SHARED)
    before = (Sources().data(task), task.identity())
    shutil.move(data, tmp_path / "renamed.csv")
    moved = own_task(tmp_path, SHARED | {"train": "../renamed.csv"})
    assert (Sources().data(moved), moved.identity()) == before
    write(tmp_path, numbered(41))
    assert Sources().data(task) != before[0]


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A file that has gone is an error that names the path and the field."""
    with pytest.raises(DataError, match=r"rows.csv does not exist; put it back, or .* 'source'"):
        Sources().data(own_task(tmp_path, SHARED))


@pytest.mark.parametrize("source", [{"train": "a.csv"}, SHARED | {"test": "b.csv"}])
def test_source_needs_either_a_test_file_or_a_share(source: dict[str, Any], tmp_path: Path) -> None:
    """What is scored must be said once."""
    with pytest.raises(ConfigError, match="exactly one of 'test' and 'test_share'"):
        own_task(tmp_path, source)


def test_labels_that_are_numbers_are_no_counts(tmp_path: Path) -> None:
    """Stars 1 to 3 become classes 0 to 2, and star 0 is refused."""
    stars = [i % 3 + 1 for i in range(30)]
    write(tmp_path, numbered(30) | {"label": stars})
    rows = read_rows(own_task(tmp_path, SHARED, labels=[1, 2, 3]), Sources())
    for part in rows.values():
        assert part.targets.tolist() == [stars[i] - 1 for i in part.numbers]
    write(tmp_path, numbered(30) | {"label": [0, *stars[1:]]})
    with pytest.raises(DataError, match="row 0: column 'label' holds 0, allowed: 1, 2, 3"):
        read_rows(own_task(tmp_path, SHARED, labels=[1, 2, 3]), Sources())


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("labels", [["true", "false"], ["False", "True"]])
def test_bools_are_the_names_that_they_spell(
    labels: list[str], suffix: str, tmp_path: Path
) -> None:
    """`true` of a CSV file is the class of that name, and never class 1 because it counts as 1."""
    said = [i % 3 == 0 for i in range(30)]
    data = pd.DataFrame(numbered(30) | {"label": said})
    written = {
        "csv": data.to_csv(index=False),
        "tsv": data.to_csv(index=False, sep="\t"),
        "jsonl": data.to_json(orient="records", lines=True),
    }
    (tmp_path / f"rows.{suffix}").write_text(written[suffix])
    source = {"train": f"../rows.{suffix}", "test_share": 0.25}
    for part in read_rows(own_task(tmp_path, source, labels=labels), Sources()).values():
        assert [labels[i].lower() == "true" for i in part.targets] == [
            said[i] for i in part.numbers
        ]
    with pytest.raises(DataError, match=r"row 0: column 'label' holds True, allowed: .*no, yes"):
        read_rows(own_task(tmp_path, source, labels=["no", "yes"]), Sources())


def short(path: Path) -> None:
    """Let a suite that `init` wrote train three steps."""
    content = yaml.safe_load(path.read_text())
    content["budget"] = {"steps": 3, "batch_size": 4, "evaluations": 1}
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("columns", "options", "method"),
    [
        ({"label": MOODS}, ("--label", "label"), "lora"),
        ({"label": np.linspace(0, 1, N).round(2)}, ("--label", "label"), "lora"),
        ({"told": [f"{text}." for text in SENTENCES]}, ("--target", "told"), "untuned"),
    ],
    ids=["classes", "values", "texts"],
)
def test_init_check_run_and_reproduce_follow_without_an_edit(
    columns: dict[str, Any],
    options: tuple[str, ...],
    method: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run's record holds scores, and is found the same when it is made again."""
    monkeypatch.chdir(tmp_path)  # paths in the task file do not depend on it
    data = write(tmp_path, {"text": SENTENCES} | columns)
    task = made(capsys, data, "--text", "text", *options)
    assert isinstance(task.source, OwnSource)
    suite, results = tmp_path / "mine.yaml", tmp_path / "results"
    short(suite)
    running = (suite, "--methods", method, "--seeds", 1)
    (row,) = call(capsys, "check", *running, "--json").json
    assert (row["verdict"], row["train_overlap_test"]) == ("ok", 0)
    answer = call(capsys, "run", *running, "--results", results, "--workers", 1)
    assert answer.code == 0, answer.err
    (record,) = Store(results).records()
    assert isinstance(record, Record)
    assert record.train_overlap == {"test": 0, "validation": 0}
    monkeypatch.chdir("/")
    again = call(capsys, "reproduce", record.run_hash, "--results", results)
    assert (again.code, "same" in again.out) == (0, True)


TOLD = {"text": [f"row {i}" for i in range(30)], "told": [f"it is row {i}" for i in range(30)]}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"text": None}, "no column 'text'; columns present: told"),
        ({"told": ["", *TOLD["told"][1:]]}, "row 0: no reference text; give at least one"),
        ({"told": ["long " * 150, *TOLD["told"][1:]]}, "(the backbone's window is 64)"),
    ],
    ids=["column", "reference", "target"],
)
def test_check_finds_what_has_changed_since_init(
    changed: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing column or reference, and a target that fits no window, are errors of `check`."""
    made(capsys, write(tmp_path, TOLD), "--text", "text", "--target", "told")
    rows = {name: values for name, values in (TOLD | changed).items() if values is not None}
    write(tmp_path, rows)
    answer = call(capsys, "check", tmp_path / "mine.yaml")
    precision, error, state = answer.err.splitlines()
    assert (answer.code, precision.partition(":")[0]) == (2, "precision auto")
    assert said in error
    assert "is not valid" in state


def test_further_test_splits_of_single_files_are_refused(tmp_path: Path) -> None:
    """There is one file to test on; any other name would have been read as the training file."""
    own_task(tmp_path, {"train": "../rows.csv", "test": "../other.csv"})
    path = tmp_path / "tasks" / "animals.yaml"
    path.write_text(f"{path.read_text()}splits: {{more: {{hard: hard}}}}\n")
    with pytest.raises(ConfigError, match=r"'splits\.more' names further splits"):
        load("animals", tmp_path)
