"""Commands that once ended wrongly, each as the README of its case has it."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from tests.support.shared_cases import Command, Copied
from tests.support.silent_cluster import stopped
from tests.support.small_suite import REPOSITORY, call_in_ascii


def test_confidence_of_one_has_no_bin_of_its_own(copied: Copied, run: Command) -> None:
    """Guo's error of these outputs, as other packages give it."""
    copied("201-ece-confidence-one")
    answer = run("score --task cola --predictions probs.csv --references refs.tsv --json")
    assert answer.code == 0, answer.err
    found = answer.json["scores"]
    assert (found["ece"], found["mce"]) == pytest.approx((0.475, 0.475), abs=5e-4)


def test_every_results_folder_has_its_own_trials(copied: Copied, run: Command) -> None:
    """Whatever its name means in an address, eight trials are run in it and stored there."""
    folder = copied("206-results-path")
    for name in ("lr?1", "lr?2", "100%20"):
        answer = run(f"tune tiny.yaml --trials 8 --seeds 1 --results '{name}' --workers 1 --json")
        assert answer.code == 0, answer.err
        assert [study["trials"] for study in answer.json["studies"]] == [8]
        assert [path.name for path in folder.rglob("*.db")] == ["studies.db"]
        with closing(sqlite3.connect(folder / name / "studies.db")) as database:
            states = database.execute("select state, count(*) from trials group by 1")
            assert states.fetchall() == [("COMPLETE", 8)]
        shutil.rmtree(folder / name)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "tiny.yaml"]


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("postgresql://ann:p@s3cr3t@127.0.0.1:1/db", "in a password write @ as %40"),
        ("postgresql://ann:s3cr3t@127.0.0.1:1/db", "cannot be reached"),
        ("ann:s3cr3t@127.0.0.1:1/db", "give sqlite:///FILE, postgresql://USER@HOST/NAME"),
        ("postgresql://127.0.0.1:1/db?user=ann&passwd=s3cr3t", "passwd=***"),
        ("postgresql://127.0.0.1:1/db?user=ann&password=s3cr3t", "password=***"),
    ],
)
def test_password_of_a_storage_stays_out_of_messages_and_logs(
    copied: Copied, run: Command, url: str, hint: str
) -> None:
    """Whatever form the URL has; the way out is told."""
    pytest.importorskip("psycopg", reason="needs the driver psycopg")
    folder = copied("207-password")
    answer = run(f"tune tiny.yaml --trials 8 --results res --workers 1 --storage '{url}'")
    assert answer.code == 2
    assert hint in answer.err
    written = [path.read_bytes() for path in folder.glob("res/**/*") if path.is_file()]
    assert written
    said = (answer.out.encode(), answer.err.encode(), *written)
    assert all(b"s3cr3t" not in text for text in said)


def test_terminal_that_cannot_show_a_name_costs_no_exit_code(copied: Copied) -> None:
    """Runs go well, and every table replaces what the terminal cannot show."""
    copied("210-cli")
    lines = [
        "run u.yaml --results resu --workers 1",
        "leaderboard resu",
        "compare head majority resu",
        "plan u.yaml --results resu",
    ]
    answers = [call_in_ascii(*line.split()) for line in lines]
    assert [answer.code for answer in answers] == [0] * len(lines), answers
    assert not any("Traceback" in answer.err for answer in answers)
    assert "".join(answer.out for answer in answers).count(r"gr\xf6\xdfe 4") >= len(lines)


def test_budgets_of_one_task_stand_apart(copied: Copied, run: Command) -> None:
    """After an edit of the budget and a run of one method, none is starred for both."""
    folder = copied("213-edit")
    edited = (folder / "f.yaml").read_text()
    (folder / "fair.yaml").write_text(edited.replace("epochs: 6", "epochs: 1"))
    assert run("run fair.yaml --results r --workers 1").code == 0
    (folder / "fair.yaml").write_text(edited)
    assert run("run fair.yaml --results r --workers 1 --methods head").code == 0
    rows = pd.DataFrame(run("leaderboard r --json").json["rows"])
    epochs = rows["differs"].str.removeprefix("budget.epochs ").astype(float)
    found = set(zip(rows["method"], epochs, rows["n_seeds"], strict=True))
    assert found == {("head", 1, 5), ("lora", 1, 5), ("head", 6, 5)}
    assert rows["setting"].groupby(epochs).nunique().eq(1).all()
    assert rows["setting"].nunique() == 2
    for form, star in (("", "* "), (" --markdown", "| **")):
        tables = run(f"leaderboard r{form}").out.split("syn\\_sentiment" if form else " | syn_sent")
        for table in tables[1:]:  # each heading names one budget, and no table has a star across
            assert table.partition("\n")[0].count("budget.epochs ") == 1
            starred = tuple(f"{star}{method}" for method in ("head", "lora"))
            assert sum(line.startswith(starred) for line in table.splitlines()) == 1
        assert sum("budget.epochs 6.0" in table.partition("\n")[0] for table in tables) == 1
    answer = run("compare head lora r")
    assert answer.code == 2
    assert "budget.epochs is 6.0 and 1.0; run both under one" in answer.err


IN_TURN = (
    "import json, sys; from gapbench.bench.cli.main import main; "
    "print([main(line.split()) for line in json.loads(sys.argv[1])], file=sys.stderr)"
)


def test_folders_of_a_users_project_hide_none_of_ours(copied: Copied) -> None:
    """Whatever a folder on the path is called, methods are found and runs end as elsewhere."""
    project = copied("215-wheel") / "proj"
    for name in ("methods", "bench", "suites", "reports"):
        (project / name).mkdir(parents=True)
    path = os.pathsep.join([".", str(REPOSITORY / "src")])
    lines = ["list methods", "run quickstart --methods majority --seeds 1 --workers 1"]
    ended = subprocess.run(
        [sys.executable, "-c", IN_TURN, json.dumps(lines)],
        cwd=project,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr.endswith("[0, 0]\n"), ended.stderr
    assert ended.stdout.count("majority") >= len(lines)


def test_dead_cluster_is_refused_within_seconds(
    copied: Copied, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a cluster that was looked for on this computer."""
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    copied("216-ray-slurm")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6399")
    began = time.monotonic()
    answer = run("run zero.yaml --engine ray --results r")
    assert time.monotonic() - began < 30
    assert answer.code == 2
    assert "nothing answers at 127.0.0.1:6399" in answer.err


def test_waiting_for_a_cluster_ends_within_seconds_of_sigterm(
    copied: Copied, tmp_path: Path
) -> None:
    """Something listens at the address that never answers."""
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    folder = copied("216-ray-slurm")
    command = ("run", folder / "zero.yaml", "--results", folder / "r")
    code, err, seconds = stopped(tmp_path / "out", *command)
    assert seconds < 15
    assert code == 130
    assert "Traceback" not in err
