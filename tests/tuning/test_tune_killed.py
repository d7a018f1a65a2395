"""Tuning that is killed, interrupted or shared by processes loses nothing and spends no more."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from gapbench.bench.api.choices import INTERRUPTED
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import Store
from gapbench.bench.tuning.summary import read_summaries
from tests.support.planted_study import REGRESSION
from tests.support.small_suite import (
    PROCESSES,
    SmallSuite,
    begin,
    call,
    hasten_workers,
    make,
    run_command,
)

pytestmark = pytest.mark.usefixtures("one_thread")

METHODS = ["head", {"method": "lora", "config": {"rank": 2}}]
BUDGET = {"steps": 8, "batch_size": 4, "evaluations": 2}
TRIALS = 12
KILLS = 8


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of two studies."""
    small = make(tmp_path / "small", make_backbone("bert"), methods=METHODS, budget=BUDGET)
    small.write_task(**REGRESSION)
    return small


def arguments(small: SmallSuite, folder: Path) -> list[str]:
    """Return how every process here tunes: one run in a stack, so that there is much to kill."""
    flags = ["--results", str(folder), "--trials", str(TRIALS), "--stack", "1", "--workers", "1"]
    return ["tune", *small.planning, *flags]


def told(folder: Path) -> dict[tuple[str, int], Any]:
    """Return what the storage knows of every trial that is told, by study and number."""
    url = f"sqlite:///{folder / 'studies.db'}"
    if not (folder / "studies.db").exists():
        return {}
    try:
        names = optuna.get_all_study_names(url)
    except KeyError:  # killed while making its tables
        return {}
    found = {}
    for name in names:
        study = optuna.load_study(study_name=name, storage=url)
        assert len(study.trials) <= TRIALS
        for trial in study.trials:
            if trial.state.is_finished():
                row = dict(trial.user_attrs["gapbench"])
                row.pop("seconds")
                found[name, trial.number] = (trial.state, trial.params, trial.values, row)
    return found


def finished(folder: Path) -> dict[tuple[str, int], Any]:
    """Return `told` of a search that has ended, checking that nothing is stuck or lost."""
    for summary in read_summaries(folder):
        study = summary.study
        assert [trial.number for trial in study.trials] == list(range(TRIALS))
        assert {trial.state.value for trial in study.trials} == {"complete"}
        assert study.spent == TRIALS
    for store in (Store(path.parent) for path in (folder / "tuning").glob("*/runs")):
        records = [record for record in store.records() if isinstance(record, Record)]
        assert len(records) == TRIALS
        assert {record.status for record in records} == {Status.OK}
    trials = told(folder)
    assert len(trials) == 2 * TRIALS
    return trials


@pytest.mark.slow
def test_tuning_killed_many_times_ends_as_if_never_killed(
    small: SmallSuite, tmp_path: Path
) -> None:
    """Told trials stay, none is stuck or doubled, the budget is exact, and trials are the same."""
    draw = random.Random(5)  # noqa: S311 - not for secrets
    out = tmp_path / "out"
    first = PROCESSES.Process(target=int)  # waits until the server of processes has begun
    first.start()
    first.join()
    began = time.monotonic()
    whole = PROCESSES.Process(target=run_command, args=(out, *arguments(small, tmp_path / "whole")))
    whole.start()
    whole.join()
    assert whole.exitcode == 0, out.with_suffix(".err").read_text()
    whole_s = time.monotonic() - began
    reference = finished(tmp_path / "whole")
    kills = folders = half_done = 0
    before: dict[tuple[str, int], Any] = {}
    while True:
        folder = tmp_path / f"killed-{folders}"
        process = PROCESSES.Process(target=run_command, args=(out, *arguments(small, folder)))
        process.start()
        process.join(draw.uniform(0.2, 0.7) * whole_s if kills < KILLS else None)
        process.kill()
        process.join()
        now = told(folder)
        assert before.items() <= now.items()
        before = now
        half_done += 0 < len(now) < 2 * TRIALS
        if process.exitcode == -signal.SIGKILL:
            kills += 1
            continue
        assert process.exitcode == 0, out.with_suffix(".err").read_text()
        assert finished(folder) == reference
        if kills == KILLS:
            break
        folders, before = folders + 1, {}
    assert half_done


@pytest.mark.slow
def test_two_processes_on_one_study_spend_its_budget_together(
    small: SmallSuite, tmp_path: Path
) -> None:
    """Two processes that start at once do every trial once, and the same ones as one process."""
    for folder, count in ((tmp_path / "one", 1), (tmp_path / "two", 2)):
        processes = [
            PROCESSES.Process(
                target=run_command,
                args=(tmp_path / f"out-{count}-{number}", *arguments(small, folder)),
            )
            for number in range(count)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        # The first to end may leave runs in the other's hands, which it says by its exit code.
        codes = [process.exitcode for process in processes]
        logs = [path.read_text() for path in tmp_path.glob(f"out-{count}-*.err")]
        assert 0 in codes, logs
        assert set(codes) <= {0, INTERRUPTED}, logs
    assert finished(tmp_path / "two") == finished(tmp_path / "one")


@pytest.mark.slow
def test_interrupted_tuning_ends_with_130_and_goes_on(
    small: SmallSuite,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C ends with one line, also with helpers; the same command then does what is left."""
    hasten_workers(monkeypatch)  # of the second command, which is one of this process
    command = arguments(small, small.results)
    command[-1] = "2"
    process = begin(tmp_path / "out", *command)
    assert process.pid is not None
    progress = tmp_path / "out.err"
    deadline = time.monotonic() + 120
    # Summaries, not the storage: opening that while its tables are made would disturb.
    while sum(len(s.study.trials) for s in read_summaries(small.results)) < 5:
        assert process.is_alive(), progress.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    process.join()
    said = progress.read_text()
    assert process.exitcode == 130, said
    assert said.endswith("gapbench: interrupted; run the same command again to resume\n")
    assert "Traceback" not in said
    before = told(small.results)
    assert call(capsys, *command).code == 0
    assert before.items() <= finished(small.results).items()
