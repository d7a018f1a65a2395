"""`status`: workers, lost work, watching a folder until it is done, and metrics for Prometheus."""

import json
import platform
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gapbench.bench.cli.commands import status as command
from gapbench.bench.config.run import Run
from gapbench.bench.monitor.prometheus import exposition
from gapbench.bench.monitor.status import FolderStatus, ResultsFolder, SuiteStatus, Worker
from gapbench.bench.store import event_log
from gapbench.bench.store.event_log import EventLog
from gapbench.bench.store.record import Status
from gapbench.bench.store.store import Store, store_at
from tests.support.small_suite import CELL, Answer, SmallSuite, blank, call, make

Capture = pytest.CaptureFixture[str]
RUNS = [Run(CELL, seed) for seed in range(4)]
COMMAND = "gapbench run small.yaml --data 'my data'"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A results folder with a plan of four runs, and no record, in the current folder."""
    monkeypatch.chdir(tmp_path)
    store = store_at(tmp_path / "results")
    store.write_plan("small", [(run, "default") for run in RUNS], COMMAND)
    return store


@pytest.fixture
def done(tmp_path: Path, make_backbone: Callable[[str], Path], capsys: Capture) -> SmallSuite:
    """A suite with all of its four runs done by one process."""
    small = make(tmp_path / "small", make_backbone("bert"), methods=["majority", "lora"])
    assert call(capsys, "run", *small.running).code == 0
    return small


def test_workers_are_shown_with_throughput_and_memory(done: SmallSuite, capsys: Capture) -> None:
    """Of the last invocation, when none is at work."""
    rows = call(capsys, "status", done.results, "--json").json
    (worker,) = (row for row in rows if "worker" in row)
    assert worker["log"] == "000001-run"
    assert worker["worker"].startswith(platform.node())
    assert (worker["now"], worker["stacks"], worker["runs_done"]) == ("ended", 2, 4)
    assert worker["tokens_per_second"] > 0
    assert worker["peak_memory_mib"] > 1
    assert worker["worker"] in call(capsys, "status", done.results).out


def test_worker_at_a_stack_is_shown_while_its_invocation_lives(store: Store) -> None:
    """What it is at, beside what it has done."""
    log = EventLog(store.logs / "000001-run.jsonl", platform.node())
    with event_log.lock(event_log.alive_path(store, log.path)), log.stack(RUNS[:2]):
        standing = ResultsFolder(store.root).look()
    (worker,) = standing.workers
    assert (standing.alive, standing.done) == (1, False)
    assert worker.now == "2 runs of lora on animals with tiny"
    assert standing.failures == []


def test_work_of_a_process_that_died_is_shown_until_it_is_done(
    store: Store, capsys: Capture
) -> None:
    """A process that was killed leaves no record; its log says what it was at, and the way out."""
    log = EventLog(store.logs / "000001-run.jsonl", platform.node())
    log.tell("start", command=COMMAND)
    about = {"task": "animals", "backbone": "tiny", "method": "lora", "runs": 4}
    log.tell("stack_started", worker="here:1", **about)
    answer = call(capsys, "status", store.root)
    assert answer.err.splitlines() == [
        f"lost: {log.path}: 4 runs of lora on animals with tiny were under way when it died",
        f"  try again: {COMMAND}",
    ]
    assert "died" in answer.out
    for run in RUNS:
        store.write(blank(run))
    assert call(capsys, "status", store.root).err == ""


def test_what_ended_the_last_command_is_shown(store: Store, capsys: Capture) -> None:
    """Where nothing could be stored any more, the log says why."""
    log = EventLog(store.logs / "000001-run.jsonl", platform.node())
    log.tell("start", command=COMMAND)
    log.tell("end", exit_code=2, stopped="StoreError: x.json: No space left on device; make room")
    rows = call(capsys, "status", store.root, "--json").json
    (trouble,) = (row for row in rows if "failure" in row)
    assert trouble == {
        "failure": "stopped",
        "cause": "StoreError: x.json: No space left on device; make room",
        "retry": COMMAND,
        "paths": [str(log.path)],
    }


@pytest.mark.parametrize(
    "line",
    [
        {"event": "start"},
        {"event": []},
        {"event": "end", "exit_code": "2", "stopped": "x"},
        {"event": "stack_started", "worker": "a", "runs": 2},
        {"event": "stack_started", "worker": ["a"]},
        {"event": "stack_finished", "worker": "a", "statuses": {"ok": "1"}},
        {"event": "unknown", "worker": "a"},
    ],
)
def test_line_that_is_no_event_is_passed_over(
    store: Store, capsys: Capture, line: dict[str, Any]
) -> None:
    """Whatever a log holds, the folder can be looked at."""
    (store.logs / "000001-run.jsonl").write_text(json.dumps(line) + "\n")
    answer = call(capsys, "status", store.root)
    assert answer.code == 0
    assert answer.err == ""
    assert "worker" not in answer.out


def test_failures_of_one_cause_are_one_line(store: Store, capsys: Capture) -> None:
    """Three times the same is said once; each status has the command that fits it."""
    for run in RUNS[:3]:
        store.write(blank(run, Status.FAILED, detail="trace\nRuntimeError: no such layer"))
    store.write(blank(RUNS[3], Status.DIVERGED, detail="loss is nan at step 3"))
    lines = call(capsys, "status", store.root).err.splitlines()
    first, last = store.record_path(RUNS[0]), store.record_path(RUNS[3])
    assert lines == [
        f"failed: {first} and 2 more: RuntimeError: no such layer",
        f"  try again: {COMMAND} --retry failed",
        f"diverged: {last}: loss is nan at step 3",
    ]


@pytest.mark.parametrize("typed", [COMMAND, f"{COMMAND} --results=old", f"{COMMAND} --res old"])
def test_advice_names_the_folder_where_it_is_now(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    """A folder may be moved, and looked at from elsewhere, after the command was typed."""
    monkeypatch.chdir(tmp_path)
    old = store_at(tmp_path / "old")
    old.write_plan("small", [(RUNS[0], "default")], typed)
    old.write(blank(RUNS[0], Status.FAILED, detail="broken"))
    new = old.root.rename(tmp_path / "it's new")
    advice = f"{COMMAND} --results {shlex.quote(str(new))} --retry failed"
    assert f"  try again: {advice}\n" in call(capsys, "status", new).err


@pytest.mark.parametrize(
    ("typed", "place", "told"),
    [
        ("gapbench advise small.yaml", "results/race", "gapbench advise small.yaml"),
        ("gapbench advise small.yaml", "results", "gapbench advise small.yaml"),
        (
            "gapbench advise a.yaml --results old",
            "new/race",
            "gapbench advise a.yaml --results new",
        ),
        ("gapbench advise a.yaml --results race", "race", "gapbench advise a.yaml --results race"),
        ("gapbench.advise('a.yaml')", "results/race", "gapbench.advise('a.yaml')"),
    ],
)
def test_retry_of_advice_is_the_command_that_was_typed(
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    place: str,
    told: str,
) -> None:
    """It has no flag for failed runs, and its race lies in a folder of the results."""
    monkeypatch.chdir(tmp_path)
    store = store_at(Path(place))
    store.write_plan("small", [(RUNS[0], "default")], typed)
    store.write(blank(RUNS[0], Status.FAILED, detail="broken"))
    assert f"  try again: {told}\n" in call(capsys, "status", place).err


def watch(
    store: Store, capsys: Capture, monkeypatch: pytest.MonkeyPatch, steps: Iterator[object]
) -> Answer:
    """Watch a folder in which something happens in every pause."""
    monkeypatch.setattr(command, "time", SimpleNamespace(sleep=lambda _: next(steps)))
    return call(capsys, "status", store.root, "--watch", "1")


def test_runs_that_no_plan_names_are_counted(done: SmallSuite, capsys: Capture) -> None:
    """A folder without plans holds results all the same."""
    shutil.rmtree(done.results / "plans")
    answer = call(capsys, "status", done.results)
    assert answer.code == 0
    assert f"(no suite)  {len(list(done.results.rglob('seed-*.json')))}" in answer.out


def test_stopped_run_that_no_plan_names_is_waited_for_by_nobody(store: Store) -> None:
    """Its settings were changed since, so that no command goes on with it."""
    store.write(blank(RUNS[0], Status.INTERRUPTED))
    for path in (store.root / "plans").iterdir():
        path.unlink()
    status = ResultsFolder(store.root).look()
    assert status.suites["(no suite)"].statuses == {"interrupted": 1}
    assert status.done


def test_watching_in_a_pipe_prints_a_line_a_change_until_all_is_done(
    store: Store, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines are appended, and none twice; it ends by itself."""

    def work() -> Iterator[None]:
        yield  # a pause in which nothing happens
        for run in RUNS:
            store.write(blank(run))
            yield

    answer = watch(store, capsys, monkeypatch, work())
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "small: 4 missing",
        "small: 3 missing, 1 ok",
        "small: 2 missing, 2 ok",
        "small: 1 missing, 3 ok",
        "small: 4 ok",
    ]


def test_watching_on_a_terminal_draws_the_tables_anew(
    store: Store, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time from the top of the cleared screen."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    answer = watch(store, capsys, monkeypatch, (store.write(blank(run)) for run in RUNS))
    assert answer.out.count(command._TOP_AND_CLEAR) == 5
    assert answer.out.splitlines()[-1].split() == ["small", "4"]


def test_watching_ends_well_by_ctrl_c(
    store: Store, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has seen enough is not told of an error."""

    def press(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", press)
    assert call(capsys, "status", store.root, "--watch").code == 0


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan"])
def test_pause_that_is_none_is_refused(store: Store, capsys: Capture, value: str) -> None:
    """The message says where a folder belongs."""
    answer = call(capsys, "status", f"--watch={value}", store.root)
    assert answer.code == 2
    assert "expected seconds from 0.1 to 86400; put a results folder before it" in answer.err


def metrics(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Parse an exposition; return each metric's values by the values of its labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.type in {"gauge", "counter"}
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_metrics_of_a_folder_agree_with_its_records(done: SmallSuite, capsys: Capture) -> None:
    """Runs by suite and status, seconds, tokens and the worker's gauges, as Prometheus reads it."""
    answer = call(capsys, "status", done.results, "--prometheus")
    assert answer.code == 0
    found = metrics(answer.out)
    costs = [r.cost for r in Store(done.results).records() if not isinstance(r, Exception)]
    seconds = sum(cost.train_seconds + cost.evaluation_seconds for cost in costs if cost)
    tokens = sum(cost.train_tokens for cost in costs if cost)
    assert found["gapbench_runs"] == {("small", "ok"): 4}
    assert found["gapbench_run_seconds_total"]["small",] == pytest.approx(seconds)
    assert found["gapbench_train_tokens_total"]["small",] == tokens > 0
    assert found["gapbench_invocations"] == {(): 0}
    (worker,) = found["gapbench_worker_runs"]
    assert worker[0] == "000001-run"
    assert found["gapbench_worker_busy"][worker] == 0
    assert found["gapbench_worker_tokens_per_second"][worker] > 0
    assert found["gapbench_worker_peak_memory_bytes"][worker] > 2**20


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "two\nlines", "{a=b}, 1 2", "ä"])
def test_any_name_is_a_label(name: str) -> None:
    """Quotes, backslashes and line breaks survive the format."""
    share = SuiteStatus(seconds=1 / 3, tokens=10**15 + 1)
    share.statuses.update({"ok": 3, "missing": 0})
    worker = Worker(name, name, runs=2)
    found = metrics(exposition(FolderStatus({name: share}, [], [worker], [], 1)))
    assert found["gapbench_runs"] == {(name, "ok"): 3, (name, "missing"): 0}
    assert found["gapbench_run_seconds_total"][name,] == pytest.approx(1 / 3, rel=1e-12)
    assert found["gapbench_train_tokens_total"][name,] == 10**15 + 1
    assert found["gapbench_worker_runs"] == {(name, name): 2}
    assert "gapbench_worker_tokens_per_second" not in found  # nothing is known, not nothing done


def test_forms_of_status_exclude_each_other(store: Store, capsys: Capture) -> None:
    """JSON, metrics and watching are three ways to ask."""
    assert call(capsys, "status", store.root, "--json", "--prometheus").code == 2
