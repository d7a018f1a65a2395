"""Commands that once ended wrongly, each as the README of its case has it."""

import os
import subprocess
import sys
import time

import pandas as pd
import pytest

from tests.support.shared_cases import Command, Copied
from tests.support.small_suite import REPOSITORY, start


def test_confidence_of_one_has_no_bin_of_its_own(copied: Copied, run: Command) -> None:
    """Guo's error of these outputs, as other packages give it."""
    copied("201-ece-confidence-one")
    answer = run("score --task cola --predictions probs.csv --references refs.tsv --json")
    assert answer.code == 0, answer.err
    found = answer.json["scores"]
    assert (found["ece"], found["mce"]) == pytest.approx((0.475, 0.475), abs=5e-4)


def test_every_results_folder_has_its_own_trials(copied: Copied, run: Command) -> None:
    """Whatever its name means in an address."""
    folder = copied("206-results-path")
    for name in ("lr?1", "lr?2", "100%20"):
        answer = run(f"tune tiny.yaml --trials 8 --seeds 1 --results '{name}' --workers 1 --json")
        assert answer.code == 0, answer.err
        assert list((folder / name).rglob("*.db"))
    assert not (folder / "lr").exists()


def test_password_of_a_storage_stays_out_of_messages_and_logs(copied: Copied, run: Command) -> None:
    """An unescaped @ in it is told with the way out."""
    folder = copied("207-password")
    url = "postgresql://ann:p@s3cr3t@127.0.0.1:1/db"
    answer = run(f"tune tiny.yaml --trials 8 --results res --workers 1 --storage {url}")
    assert answer.code == 2
    logs = [path.read_text() for path in folder.glob("res/logs/*")]
    assert all("s3cr3t" not in text for text in (answer.out, answer.err, *logs))


def test_terminal_that_cannot_show_a_name_costs_no_exit_code(
    copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs went well, and the table replaces what it cannot show."""
    folder = copied("210-cli")
    flags = ("--results", folder / "resu", "--workers", "1")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    process = start("run", folder / "u.yaml", *flags)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "majority" in out


def test_budgets_of_one_task_stand_apart(copied: Copied, run: Command) -> None:
    """After an edit of the budget and a run of one method, none is starred for both."""
    folder = copied("213-edit")
    for suite, methods in (("s.yaml", "head,lora"), ("s2.yaml", "head")):
        text = (folder / suite).read_text().replace("name: s2", "name: s")
        (folder / "s.yaml").write_text(text)
        assert run(f"run s.yaml --results r --workers 1 --methods {methods}").code == 0
    rows = pd.DataFrame(run("leaderboard r --json").json["rows"])
    settings = rows.groupby("method")["setting"].first()
    assert settings["head"] != settings["lora"]
    text = run("leaderboard r").out
    assert text.count("budget.epochs") >= 2


def test_folders_of_a_users_project_hide_none_of_ours(copied: Copied) -> None:
    """Whatever a folder on the path is called, methods are found and runs end as elsewhere."""
    project = copied("215-wheel") / "proj"
    for name in ("methods", "bench", "suites", "reports"):
        (project / name).mkdir(parents=True)
    path = os.pathsep.join([".", str(REPOSITORY / "src")])
    for line in ("list methods", "run quickstart --methods majority --seeds 1 --workers 1"):
        ended = subprocess.run(
            [sys.executable, "-m", "gapbench", *line.split()],
            cwd=project,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert "majority" in ended.stdout


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
