"""Commands that read a results folder alone: leaderboard, compare, and report on a part of one."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gapbench.bench.store.store import Store
from tests.support.results_folder import fill, make_task
from tests.support.small_suite import REPOSITORY, Answer, call

Capture = pytest.CaptureFixture[str]

METHODS = ("head", "lora", "lora_dropout")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a results folder of two tasks, three methods and four seeds."""
    return fill(tmp_path / "results", methods=METHODS, seeds=4)


def refused(answer: Answer) -> str:
    """Return the message of a command that was refused as bad usage."""
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("gapbench: error: ")
    return answer.err


def test_leaderboard_prints_the_table_in_every_form(store: Store, capsys: Capture) -> None:
    """Text, Markdown, LaTeX and JSON each go to stdout and know every method."""
    plain = call(capsys, "leaderboard", store.root)
    assert plain.code == 0
    assert plain.out.startswith("quickstart | syn_sentiment | tiny-bert | accuracy\n")
    assert call(capsys, "leaderboard", store.root, "--markdown").out.startswith("**quickstart")
    assert r"\toprule" in call(capsys, "leaderboard", store.root, "--latex").out
    made = call(capsys, "leaderboard", store.root, "--json").json
    assert {row["method"] for row in made["rows"]} == set(METHODS)
    assert made["unreadable"] == []
    assert [each["tasks"] for each in made["verdicts"]]
    assert max(map(len, plain.out.splitlines())) <= 80
    assert plain.out.rstrip().endswith("=" * 80)


@pytest.mark.usefixtures("page_alone")
def test_leaderboard_as_json_is_that_of_the_report(
    store: Store, capsys: Capture, tmp_path: Path
) -> None:
    """A program reads the same columns and numbers from both; what does not exist is null."""
    made = call(capsys, "leaderboard", store.root, "--json").json["rows"]
    assert call(capsys, "report", store.root, "--out", tmp_path).code == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "leaderboard.csv").read_text())))
    assert [list(row) for row in made] == [list(row) for row in rows]
    for one, other in zip(made, rows, strict=True):
        assert one["score"] == pytest.approx(float(other["score"]))
        assert one["tune_trials"] is None
        assert other["tune_trials"] == ""


def test_leaderboard_takes_one_form_at_a_time(store: Store, capsys: Capture) -> None:
    """Two forms at once are bad usage."""
    answer = call(capsys, "leaderboard", store.root, "--latex", "--json")
    assert (answer.code, answer.out) == (2, "")
    assert "not allowed with" in answer.err


def test_leaderboard_of_a_part_has_that_part_alone(store: Store, capsys: Capture) -> None:
    """Tasks, backbones and methods are picked by name, and the text says so."""
    flags = ["--tasks", "syn_similarity", "--methods", "lora,head", "--backbones", "tiny-bert"]
    made = call(capsys, "leaderboard", store.root, *flags, "--json").json["rows"]
    assert {(row["task"], row["method"]) for row in made} == {
        ("syn_similarity", "lora"),
        ("syn_similarity", "head"),
    }
    assert "Only task syn_similarity; backbone tiny-bert; method lora, head." in (
        call(capsys, "leaderboard", store.root, *flags).out
    )


@pytest.mark.usefixtures("page_alone")
def test_report_on_a_part_says_so_and_leaves_out_the_rest(
    store: Store, capsys: Capture, tmp_path: Path
) -> None:
    """The page names the part; its tables hold nothing else."""
    answer = call(capsys, "report", store.root, "--out", tmp_path, "--methods", "lora,head")
    assert answer.code == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Only method lora, head; comparisons are those of the whole folder." in page
    for name in ("leaderboard.csv", "runs.csv"):
        rows = csv.DictReader(io.StringIO((tmp_path / name).read_text()))
        assert {row["method"] for row in rows} == {"lora", "head"}


@pytest.mark.parametrize("command", ["leaderboard", "report"])
def test_a_part_that_is_not_there_is_refused_with_what_is(
    store: Store, capsys: Capture, command: str
) -> None:
    """A misspelt name is answered with the names of the folder."""
    message = refused(call(capsys, command, store.root, "--tasks", "syn_sentimant"))
    assert "has no task 'syn_sentimant'; it has syn_sentiment, syn_similarity" in message


def test_a_part_without_any_run_is_refused(tmp_path: Path, capsys: Capture) -> None:
    """Names that are all there, but never together, are no silent empty table."""
    fill(tmp_path, methods=("lora",), seeds=1, tasks=(make_task(),))
    fill(tmp_path, methods=("head",), seeds=1, tasks=(make_task("other"),))
    message = refused(
        call(capsys, "leaderboard", tmp_path, "--tasks", "other", "--methods", "lora")
    )
    assert "has no run of task other; method lora" in message


def test_unreadable_records_are_told_in_every_form(store: Store, capsys: Capture) -> None:
    """Nothing vanishes, whatever is printed."""
    path = next((store.root / "runs").rglob("*.json"))
    path.write_text("{", encoding="utf-8")
    assert f"unreadable: {path}" in call(capsys, "leaderboard", store.root).out
    assert f"% unreadable: {path}" in call(capsys, "leaderboard", store.root, "--latex").out
    assert "unreadable: " in call(capsys, "leaderboard", store.root, "--markdown").out
    [reason] = call(capsys, "leaderboard", store.root, "--json").json["unreadable"]
    assert str(path) in reason


def test_compare_prints_a_line_per_task_or_json(store: Store, capsys: Capture) -> None:
    """Text and JSON tell the same."""
    answer = call(capsys, "compare", "lora_dropout", "head", store.root)
    assert answer.code == 0
    assert answer.out.startswith("A: lora_dropout\nB: head\n")
    made = call(capsys, "compare", "lora_dropout", "head", store.root, "--json").json
    assert [task["task"] for task in made["tasks"]] == [None, "syn_sentiment", "syn_similarity"]
    assert made["conclusion"] in " ".join(answer.out.split())
    assert max(map(len, answer.out.splitlines())) <= 80
    for task in made["tasks"][1:]:  # there is no mean over unlike metrics of two methods
        assert f"{task['difference']:.3f}" in answer.out


def test_compare_on_one_task_and_backbone(store: Store, capsys: Capture) -> None:
    """`--tasks` and `--backbones` pick what is compared, and unknown ones are refused."""
    arguments = ("compare", "lora", "head", store.root, "--json", "--backbones", "tiny-bert")
    [task] = call(capsys, *arguments, "--tasks", "syn_sentiment").json["tasks"]
    assert task["task"] == "syn_sentiment"
    assert "has no task 'rte'" in refused(call(capsys, *arguments, "--tasks", "rte"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("lora", "lora"), "compared with itself"),
        (("lora", "flexora"), "has no method 'flexora'; it has head, lora, lora_dropout"),
    ],
)
def test_compare_of_what_cannot_be_compared_is_refused(
    store: Store, capsys: Capture, names: tuple[str, str], message: str
) -> None:
    """The message names the way out, and nothing goes to stdout."""
    assert message in refused(call(capsys, "compare", *names, store.root))


def test_compare_without_results_says_what_to_run(tmp_path: Path, capsys: Capture) -> None:
    """A folder that is not there is told like an empty one."""
    message = refused(call(capsys, "compare", "lora", "head", tmp_path / "none"))
    assert "holds no plan and no record; run a suite first" in message


def test_reports_load_no_training_library(store: Store, tmp_path: Path) -> None:
    """Who only reads results waits for no engine, and needs no memory for it.

    One process does all commands, and what it has loaded is asked after each.
    """
    folder = str(store.root)
    commands = [
        ["leaderboard", folder],
        ["compare", "lora", "head", folder],
        ["report", folder, "--out", "out"],
    ]
    code = (
        "import json, sys; from gapbench.bench.cli.main import main\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    code = main(words)\n"
        "    heavy = ('torch', 'transformers', 'datasets')\n"
        "    found = [name for name in heavy if name in sys.modules]\n"
        "    print(words[0], code, found, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines() == [f"{words[0]} 0 []" for words in commands]
