"""`gapbench init`: from a file of rows to a suite that checks and runs as it is."""

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gapbench.bench.config.task import Task
from gapbench.bench.config.task_files import load
from gapbench.bench.experiment import suite as suites
from gapbench.bench.tasks.kinds.labels import MOST_NUMBERED_CLASSES
from tests.support.small_suite import call, rows

SENTENCES = rows("train")["sentence"] + rows("validation")["sentence"]
N = len(SENTENCES)
MOODS = ["glum" if "cat" in text.split() else "merry" for text in SENTENCES]

OF_ONE_METHOD = ("--methods", "lora")
"""Flags of `check` where the rows are what is tried; some tests check all methods of the suite."""

Writer = Callable[[pd.DataFrame, Path], Any]
FORMATS: dict[str, Writer] = {
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".tsv": lambda table, path: table.to_csv(path, index=False, sep="\t"),
    ".jsonl": lambda table, path: table.to_json(path, orient="records", lines=True),
    ".parquet": lambda table, path: table.to_parquet(path),
}


def write(folder: Path, columns: Mapping[str, Any], suffix: str = ".csv") -> Path:
    """Write a file of rows and return its path."""
    path = folder / f"rows{suffix}"
    FORMATS[suffix](pd.DataFrame(columns), path)
    return path


def made(capsys: pytest.CaptureFixture[str], data: Path, *options: object) -> Task:
    """Run the command beside its data and return the task that it wrote."""
    suite = data.with_name("mine.yaml")
    answer = call(capsys, "init", suite, "--data", data, *options)
    assert answer.code == 0, answer.err
    return load("mine", data.parent)


@pytest.mark.parametrize("suffix", FORMATS)
def test_init_from_every_format_makes_the_same_task(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Classes, sizes and columns are found alike, whatever format holds the rows."""
    data = write(tmp_path, {"text": SENTENCES, "mood": MOODS}, suffix)
    task = made(capsys, data, "--text", "text", "--label", "mood")
    assert (task.kind, task.labels, task.text) == ("classification", ("glum", "merry"), ("text",))
    assert task.validation_size == 10
    assert call(capsys, "check", tmp_path / "mine.yaml", *OF_ONE_METHOD).code == 0


@pytest.mark.parametrize(
    ("labels", "kind", "found"),
    [
        (["b", "a"], "classification", ("a", "b")),
        ([0, 1], "classification", (0, 1)),
        ([5, 1, 3], "classification", (1, 3, 5)),
        ([1.0, 2.0], "classification", (1, 2)),
        ([True, False], "classification", ("false", "true")),
        ([0.5, 4.25], "regression", (0.0, 5.0)),
        (list(range(MOST_NUMBERED_CLASSES + 1)), "regression", (0.0, MOST_NUMBERED_CLASSES)),
        (["inf", "-inf"], "classification", ("-inf", "inf")),
        (["12345678901234567890", "12345678901234567891"], "classification", None),
    ],
)
def test_kind_and_classes_follow_from_the_labels(
    labels: list[Any],
    kind: str,
    found: tuple[Any, ...] | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Text and few whole numbers are classes, all other numbers values of a range around them."""
    values = [labels[i % len(labels)] for i in range(N)]
    data = write(tmp_path, {"text": SENTENCES, "label": values})
    task = made(capsys, data, "--text", "text", "--label", "label")
    assert task.kind == kind
    assert (task.labels or task.label_range) == (found or tuple(labels))
    methods = () if labels in (["b", "a"], [0.5, 4.25]) else OF_ONE_METHOD
    assert call(capsys, "check", tmp_path / "mine.yaml", *methods).code == 0


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("1e400", "column 'label' holds inf; a regression needs finite numbers"),
        ("1" + "0" * 400, "a regression needs finite numbers"),
        ("NaN", "row 7: column 'label' is empty"),
        ('" "', "row 7: column 'label' is empty"),
    ],
)
def test_label_without_a_finite_value_is_refused_in_a_line(
    label: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON may hold more than a float does, and blanks name no class."""
    data = tmp_path / "rows.jsonl"
    values = [label if row == 7 else f"{row}.5" for row in range(N)]
    data.write_text(
        "\n".join(
            f'{{"text": "{t}", "label": {v}}}' for t, v in zip(SENTENCES, values, strict=True)
        )
    )
    given = ("--data", data, "--text", "text", "--label", "label", "--kind", "regression")
    answer = call(capsys, "init", tmp_path / "mine.yaml", *given)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert said in answer.err


def test_label_cannot_be_the_group_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No label would be in train and in test."""
    data = write(tmp_path, {"text": SENTENCES, "label": MOODS})
    columns = ("--text", "text", "--label", "label", "--group", "label")
    answer = call(capsys, "init", tmp_path / "mine.yaml", "--data", data, *columns)
    assert answer.code == 2
    assert "--group label: is the label too" in answer.err
    assert not (tmp_path / "mine.yaml").exists()


def test_kind_option_overrides_what_the_labels_suggest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stars from 1 to 5 are a regression if the user says so."""
    data = write(tmp_path, {"text": SENTENCES, "stars": [i % 5 + 1 for i in range(N)]})
    task = made(capsys, data, "--text", "text", "--label", "stars", "--kind", "regression")
    assert (task.kind, task.label_range) == ("regression", (1.0, 5.0))


@pytest.mark.parametrize("kind", ["regresion", "generation", "span"])
def test_kind_that_no_label_makes_is_refused(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message lists the kinds that the option can make."""
    data = write(tmp_path, {"text": SENTENCES, "label": MOODS})
    columns = ("--text", "text", "--label", "label", "--kind", kind)
    answer = call(capsys, "init", tmp_path / "mine.yaml", "--data", data, *columns)
    assert answer.code == 2
    assert f"--kind {kind} with --label: allowed: classification, regression" in answer.err


def test_numbers_and_dates_as_text_stay_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A text column is read as text even where every row looks like something else."""
    data = write(
        tmp_path, {"a": range(N), "b": ["2020-01-01"] * N, "label": ["NA", "x"] * (N // 2)}
    )
    task = made(capsys, data, "--text", "a,b", "--label", "label")
    assert task.labels == ("NA", "x")
    assert call(capsys, "check", tmp_path / "mine.yaml", *OF_ONE_METHOD).code == 0


@pytest.mark.parametrize(
    "names",
    [("1", "2", "02"), ("1000", "1e3", "5"), ("12345678901234567890", "12345678901234567891", "7")],
)
def test_names_that_are_one_number_stay_two_classes(
    names: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A CSV file says no more of its cells than that they look like numbers."""
    rows = [f"text {n} of many,{names[n % len(names)]}" for n in range(60)]
    data = tmp_path / "rows.csv"
    data.write_text("text,label\n" + "\n".join(rows) + "\n")
    flags = ("--data", data, "--text", "text", "--label", "label")
    assert call(capsys, "init", tmp_path / "own.yaml", *flags).code == 0
    task = load("own", tmp_path)
    assert set(task.labels) == set(names)


def test_files_say_what_every_setting_is_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both files hold comments, a path relative to the task file, and nothing of this machine."""
    data = write(tmp_path, {"text": SENTENCES, "label": MOODS})
    made(capsys, data, "--text", "text", "--label", "label")
    for path in (tmp_path / "mine.yaml", tmp_path / "tasks" / "mine.yaml"):
        content = path.read_text()
        assert content.count("\n#") > 3
        assert str(tmp_path) not in content
    assert "source: {train: ../rows.csv, test_share: 0.2}" in content
    suite, _ = suites.load(str(tmp_path / "mine.yaml"))
    assert [entry.task for entry in suite.tasks] == ["mine"]


def test_rates_and_length_fit_the_backbone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wider backbones get lower rates; full fine-tuning and the head have rates of their own."""
    data = write(tmp_path, {"text": SENTENCES, "label": MOODS})
    rates = {}
    for width in (64, 384, 768, 4096):
        folder = tmp_path / f"model-{width}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"hidden_size": width}))
        made(capsys, data, "--text", "text", "--label", "label", "--backbone", folder, "--force")
        suite, _ = suites.load(str(tmp_path / "mine.yaml"))
        assert suite.backbones == (str(folder),)
        assert suite.precision == "auto"
        rates[width] = suite.training.learning_rate
        own = {entry.method: entry.training.get("learning_rate") for entry in suite.methods}
        assert own["full"] < rates[width] < own["head"]
    assert list(rates.values()) == [3e-3, 1e-3, 5e-4, 2e-4]
    made(
        capsys,
        data,
        "--text",
        "text",
        "--label",
        "label",
        "--backbone",
        "o/m@" + "0" * 40,
        "--force",
    )
    assert suites.load(str(tmp_path / "mine.yaml"))[0].training.learning_rate == 5e-4


def test_any_path_can_be_read_and_the_next_commands_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A path may hold what means something to YAML, to a URL or to a shell."""
    folder = tmp_path / "it's; $(mine) [a]*"
    folder.mkdir()
    data = folder / "rows #1, {b}?%20.csv"
    pd.DataFrame({"text": SENTENCES, "label": MOODS}).to_csv(data, index=False)
    suite = folder / "mine.yaml"
    answer = call(capsys, "init", suite, "--data", data, "--text", "text", "--label", "label")
    check, run = answer.out.splitlines()[-1].removeprefix("next: ").split(", then ")
    assert shlex.split(check) == ["gapbench", "check", str(suite)]
    assert shlex.split(run) == ["gapbench", "run", str(suite)]
    assert call(capsys, "check", suite, *OF_ONE_METHOD).code == 0


def test_init_writes_over_nothing_without_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that exists is named and left as it is; --force replaces it."""
    data = write(tmp_path, {"text": SENTENCES, "label": MOODS})
    suite = tmp_path / "mine.yaml"
    suite.write_text("precious")
    arguments = ("init", suite, "--data", data, "--text", "text", "--label", "label")
    refused = call(capsys, *arguments)
    assert refused.code == 2
    assert "mine.yaml exists; give another name, or --force" in refused.err
    assert suite.read_text() == "precious"
    assert not (tmp_path / "tasks").exists()
    assert call(capsys, *arguments, "--force").code == 0
    assert suite.read_text() != "precious"


WRONG: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("no column 'text'", {"review": SENTENCES}, ("columns present: review, label", "--text")),
    ("no column 'label'", {"label": None, "class": MOODS}, ("columns present: text, class",)),
    ("row 3: column 'label' is empty", {"label": [*MOODS[:3], "", *MOODS[4:]]}, ("fill it in",)),
    ("holds only 'a'", {"label": ["a"] * N}, ("at least two",)),
    ("different values in 56 rows", {"label": SENTENCES}, ("--target", "--kind regression")),
]


@pytest.mark.parametrize(("said", "columns", "also"), WRONG, ids=[case[0] for case in WRONG])
def test_wrong_rows_are_named_with_file_and_column(
    said: str,
    columns: dict[str, Any],
    also: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message names the file, what is there and the way out, and nothing is written."""
    table = {"text": SENTENCES, "label": MOODS} | columns
    if "review" in columns:
        table = {"review": SENTENCES, "label": MOODS}
    data = write(tmp_path, {name: values for name, values in table.items() if values is not None})
    suite = tmp_path / "mine.yaml"
    answer = call(capsys, "init", suite, "--data", data, "--text", "text", "--label", "label")
    assert answer.code == 2
    assert "Traceback" not in answer.err
    for part in ("rows.csv", said, *also):
        assert part in answer.err
    assert not suite.exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.xlsx", "", "must end in .csv, .tsv, .jsonl, .parquet, got '.xlsx'"),
        ("absent.csv", None, "absent.csv does not exist"),
        ("rows.csv", "a,b\n1,2,3\n", "is not a readable CSV file"),
        ("rows.jsonl", '{"text": 1}\n[2]\n', "line 2 is not an object"),
        ("rows.jsonl", "text", "is not a readable JSON lines file"),
        ("rows.parquet", "text", "is not a readable parquet file"),
    ],
)
def test_unreadable_files_are_named(
    name: str,
    content: str | None,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file that cannot be read as what its suffix says is an error of one line."""
    data = tmp_path / name
    if content is not None:
        data.write_text(content)
    suite = tmp_path / "mine.yaml"
    answer = call(capsys, "init", suite, "--data", data, "--text", "text", "--label", "label")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert said in answer.err


def test_target_lists_of_texts_become_references(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column with several texts a row is a generation task with as many references."""
    data = tmp_path / "rows.jsonl"
    lines = [json.dumps({"given": t, "told": [t.upper(), t]}) for t in dict.fromkeys(SENTENCES)]
    data.write_text("\n".join(lines))
    task = made(capsys, data, "--text", "given", "--target", "told")
    assert task.generation is not None
    assert task.generation.references == "told"
    answer = call(capsys, "check", tmp_path / "mine.yaml", "--methods", "lora", "--json")
    assert answer.json[0]["verdict"] == "ok"


def test_fields_of_objects_are_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON lines may nest what a table has side by side."""
    data = tmp_path / "rows.jsonl"
    table = zip(SENTENCES, MOODS, strict=True)
    lines = [json.dumps({"said": {"text": t}, "mood": {"name": m, "by": 1}}) for t, m in table]
    data.write_text("\n".join(lines))
    columns = ("--text", "said.text", "--label", "mood.name", "--group", "said.text")
    task = made(capsys, data, *columns)
    assert (task.labels, task.text) == (("glum", "merry"), ("said.text",))
    assert call(capsys, "check", tmp_path / "mine.yaml", *OF_ONE_METHOD).code == 0


def test_row_without_a_named_field_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not the column, which is there."""
    data = tmp_path / "rows.jsonl"
    rows_ = [{"text": t, "label": {"name": m}} for t, m in zip(SENTENCES, MOODS, strict=True)]
    rows_[2]["label"] = {"id": 1}  # type: ignore[assignment]
    data.write_text("\n".join(map(json.dumps, rows_)))
    suite = tmp_path / "mine.yaml"
    answer = call(capsys, "init", suite, "--data", data, "--text", "text", "--label", "label.name")
    assert answer.code == 2
    assert "rows.jsonl, row 2: column 'label' holds \"{'id': 1}\", which has no" in answer.err


@pytest.mark.parametrize(
    ("nested", "option", "said"),
    [
        ({"label": {"name": "a", "id": 1}}, "--label", "fields instead: label.name, label.id"),
        ({"label": ["a"]}, "--label", "holds a list, but each row has one label"),
        ({"label": [{"text": "a"}]}, "--target", "holds a list of objects; write out its texts"),
        ({"text": [{"role": "user", "content": "a"}]}, "--label", "holds a list of objects"),
        ({"text": {"body": "a"}}, "--label", "fields instead: text.body"),
    ],
)
def test_nested_column_is_named_with_the_way_out(
    nested: dict[str, Any],
    option: str,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is written for a column that is no text, class or value."""
    data = tmp_path / "rows.jsonl"
    rows_ = [{"text": t, "label": m} | nested for t, m in zip(SENTENCES, MOODS, strict=True)]
    data.write_text("\n".join(map(json.dumps, rows_)))
    suite = tmp_path / "mine.yaml"
    answer = call(capsys, "init", suite, "--data", data, "--text", "text", option, "label")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    (name,) = nested
    assert f"rows.jsonl, row 0: column {name!r} holds" in answer.err
    assert said in answer.err
    assert not suite.exists()


def test_whole_numbers_are_classes_in_files_of_unlike_formats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typed file and a CSV file hold the same classes, as numbers and as their digits."""
    half = N // 2
    labels = [int(mood == "glum") for mood in MOODS]
    train, test = tmp_path / "train.jsonl", tmp_path / "test.csv"
    FORMATS[".jsonl"](pd.DataFrame({"text": SENTENCES[:half], "y": labels[:half]}), train)
    FORMATS[".csv"](pd.DataFrame({"text": SENTENCES[half:], "y": labels[half:]}), test)
    task = made(capsys, train, "--test", test, "--text", "text", "--label", "y")
    assert (task.kind, list(task.labels)) == ("classification", [0, 1])


@pytest.mark.parametrize(
    ("text", "said"),
    [("text,label", "is what the model has to predict"), ("text,text", "names a column twice")],
)
def test_texts_that_hold_the_answer_or_repeat_are_refused(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A label among the inputs leaks it whole."""
    data = write(tmp_path, {"text": SENTENCES, "label": MOODS})
    answer = call(
        capsys, "init", tmp_path / "a.yaml", "--data", data, "--text", text, "--label", "label"
    )
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert said in answer.err
