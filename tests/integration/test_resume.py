"""Interrupted work: killed, stopped by the user, or divided between processes, it ends the same."""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from gapbench.bench.execution.stack_executor import Attempt
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import Store
from tests.support.small_suite import (
    PROCESSES,
    SmallSuite,
    begin,
    call,
    hasten_workers,
    make,
    numbers,
    run_command,
)

pytestmark = pytest.mark.usefixtures("one_thread")

METHODS = ["majority", "untuned", {"method": "lora", "config": {"rank": 2}}, "head"]
BUDGET = {"steps": 12, "batch_size": 4, "evaluations": 3}
KILLS = 20


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of 12 runs."""
    return make(tmp_path / "small", make_backbone("bert"), methods=METHODS, budget=BUDGET, seeds=3)


def finished(store: Store) -> dict[Path, bytes]:
    """Return the bytes of every settled record and of its predictions, checking that all parse."""
    found: dict[Path, bytes] = {}
    for item in store.records():
        assert isinstance(item, Record), item
        assert item.status in {Status.OK, Status.INTERRUPTED}
        if item.status == Status.OK:
            predictions = store.predictions(item.run)
            assert predictions is not None
            assert predictions.num_rows == item.splits["test"].examples
            path = store.record_path(item.run)
            found |= {p: p.read_bytes() for p in (path, path.with_suffix(".parquet"))}
    return found


def kill_at_random(small: SmallSuite, folder: Path, draw: random.Random, longest_s: float) -> bool:
    """Start the suite and kill it within ``longest_s``; return False if it ended before that."""
    arguments = [*small.planning, "--results", folder, "--stack", "1"]
    process = PROCESSES.Process(target=run_command, args=(small.folder / "out", "run", *arguments))
    process.start()
    process.join(draw.uniform(0, longest_s))
    process.kill()
    process.join()
    assert process.exitcode in {0, -signal.SIGKILL}
    return process.exitcode != 0


@pytest.mark.slow
def test_run_killed_twenty_times_loses_and_repeats_nothing(small: SmallSuite) -> None:
    """Whenever a run is killed, finished runs stay as they are, and going on completes the suite.

    Several results folders are filled, each over and over again until nothing is left to do.
    """
    draw = random.Random(20)  # noqa: S311 - not for secrets
    assert not kill_at_random(small, small.results, draw, 1e6)
    reference = numbers(Store(small.results))
    began = time.monotonic()
    assert not kill_at_random(small, small.folder / "again", draw, 1e6)
    whole_s = time.monotonic() - began
    kills = folders = 0
    while kills < KILLS:
        store = Store(small.folder / f"results-{folders}")
        before: dict[Path, bytes] = {}
        killed = True
        while killed:
            killed = kill_at_random(small, store.root, draw, 0.6 * whole_s)
            now = finished(store)
            assert before.items() <= now.items()
            before = now
            kills += killed
        folders += 1
        assert numbers(store) == reference
        assert {row.run_hash for row in store.plans()} == reference.keys()
        assert len(before) == 2 * 12
        assert not list(store.root.rglob("*.part"))
        # A kill between the record and the end of its claim leaves an unheld lock file, no more.
        locks = [p for p in (store.root / "claims").iterdir() if not p.name.startswith("plan-")]
        for lock in locks:
            FileLock(lock).acquire(timeout=0).lock.release()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_run_ends_with_130_and_goes_on(
    tmp_path: Path,
    make_backbone: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    workers: int,
) -> None:
    """Ctrl-C ends with one line and code 130; the same command then does only what is left."""
    budget = BUDGET | {"steps": 150, "evaluations": 15}
    small = make(tmp_path / "small", make_backbone("bert"), methods=METHODS[:3], budget=budget)
    command = ("run", *small.running, "--stack", "1")
    process = begin(tmp_path / "out", *command, "--workers", workers)
    assert process.pid is not None
    while not small.records() and process.is_alive():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # the terminal signals every process
    process.join()
    progress = (tmp_path / "out.err").read_text()
    assert process.exitcode == 130, progress
    assert progress.endswith("gapbench: interrupted; run the same command again to resume\n")
    assert "Traceback" not in progress
    store = Store(small.results)
    before = finished(store)
    assert before
    assert len(before) < 2 * 6
    assert call(capsys, *command).code == 0
    after = finished(store)
    assert len(after) == 2 * 6
    assert before.items() <= after.items()


def test_interruption_is_recorded_and_tried_again(
    small: SmallSuite, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of the stack that was stopped have the status interrupted until they are done."""
    with monkeypatch.context() as patch:
        patch.setattr("gapbench.bench.training.trainer.Trainer.train", _press_ctrl_c)
        answer = call(capsys, "run", *small.running)
    assert answer.code == 130
    store = Store(small.results)
    statuses = {r.cell.method: r.status for r in store.records() if isinstance(r, Record)}
    assert statuses == {"head": "interrupted"}  # it trains, as lora does, and comes before it
    answer = call(capsys, "run", *small.running, "--json")
    assert answer.code == 0
    assert answer.json["now"] == {"ok": 12}


@pytest.mark.parametrize("at", ["training", "scoring"])
def test_time_budget_cuts_off_what_runs_and_the_next_call_goes_on_from_there(
    small: SmallSuite,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    at: str,
) -> None:
    """The stack in training is saved, nothing failed, and the whole has the numbers of one run."""
    small.write_suite(methods=METHODS[2:3])
    assert call(capsys, "run", *small.running, "--stack", "1").code == 0
    reference = numbers(Store(small.results))
    other = ["run", *small.planning, "--results", small.folder / "other", "--stack", "1"]
    clock = Clock(monkeypatch)
    with monkeypatch.context() as patch:
        where = {"training": "Trainer._account", "scoring": "Trainer._choose"}[at]
        calls = {"training": 5, "scoring": 3}[at]  # the first run; after its last evaluation
        clock.jump_at(patch, f"gapbench.bench.training.trainer.{where}", calls)
        answer = call(capsys, *other, "--time-budget", "5m", "--json")
    assert (answer.code, answer.json["now"]) == (130, {})
    assert answer.json["left"] == 3
    assert "3 runs are left" in answer.err
    assert list((small.folder / "other" / "checkpoints").glob("*.safetensors"))
    clock.steps.clear()
    with monkeypatch.context() as patch:
        clock.count(patch)
        assert call(capsys, *other).code == 0
    assert numbers(Store(small.folder / "other")) == reference
    assert 0 < len(clock.steps) < 3 * 12


class Clock:
    """The monotonic clock, which jumps by an hour when something has happened often enough."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.late = 0.0
        self.steps: list[int] = []
        real = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: real() + self.late)

    def jump_at(self, patch: pytest.MonkeyPatch, name: str, calls: int) -> None:
        """Jump at the given call of a method."""
        seen: list[int] = []

        def watched(*given: Any) -> Any:
            seen.append(1)
            self.late += 3600 * (len(seen) == calls)
            return original(*given)

        original = _original(name)
        patch.setattr(name, watched)

    def count(self, patch: pytest.MonkeyPatch) -> None:
        """Note every step of training."""
        name = "gapbench.bench.training.trainer.Trainer._step"

        def counted(*given: Any) -> Any:
            self.steps.append(1)
            return original(*given)

        original = _original(name)
        patch.setattr(name, counted)


def _original(name: str) -> Callable[..., Any]:
    module, owner, method = name.rsplit(".", 2)
    found: Callable[..., Any] = getattr(getattr(import_module(module), owner), method)
    return found


def _press_ctrl_c(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_workers_give_the_same_scores_as_one_process(
    small: SmallSuite,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two worker processes do the whole suite, and every number equals that of one process.

    The size of stacks is given: workers would measure it, on a machine with other work.
    """
    hasten_workers(monkeypatch)
    assert call(capsys, "run", *small.running, "--stack", "4").code == 0
    other = tmp_path / "other"
    flags = ("--stack", "4", "--workers", "2", "--json")
    answer = call(capsys, "run", *small.planning, "--results", other, *flags)
    assert answer.code == 0
    assert answer.json == {"suite": "small", "runs": 12, "now": {"ok": 12}}
    assert numbers(Store(other)) == numbers(Store(small.results))


def test_failed_run_is_tried_again_and_finished_ones_are_not(
    small: SmallSuite, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure is never kept as a result; a later attempt replaces it and touches nothing else."""
    with monkeypatch.context() as patch:
        patch.setattr("gapbench.methods.lora.Lora.adapt", _fail)
        answer = call(capsys, "run", *small.running, "--json")
    assert answer.code == 3
    assert answer.json["now"] == {"ok": 9, "failed": 3}
    assert "no such layer" in answer.err
    kept = {path: data for path, data in small.records().items() if "/lora/" not in path}
    answer = call(capsys, "run", *small.running, "--json")
    assert answer.code == 0
    assert answer.json["now"] == {"ok": 3}
    assert kept.items() <= small.records().items()
    assert all(json.loads(data)["status"] == "ok" for data in small.records().values())


def _fail(*_: object) -> None:
    raise RuntimeError("no such layer")


def test_what_is_settled_when_memory_runs_out_is_not_done_again(
    small: SmallSuite, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a stack with a run that is skipped, and another one scored, only the rest is tried."""
    ranks = (500, 2, 4)  # the first is more than the layers have
    methods = [{"method": "lora", "variant": f"{r}", "config": {"rank": r}} for r in ranks]
    small.write_suite(methods=methods, seeds=1)
    written: list[tuple[str, Status]] = []
    write, scored = Store.write, Attempt.records

    def note(store: Store, record: Record, *more: Any) -> None:
        written.append((record.run_hash, record.status))
        write(store, record, *more)

    def one_of_several(attempt: Attempt, *kept: Any) -> Iterator[Any]:
        made = scored(attempt, *kept)
        yield made[0]
        if len(made) > 1:
            raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(Store, "write", note)
    monkeypatch.setattr(Attempt, "records", one_of_several)
    answer = call(capsys, "run", *small.running, "--stack", "3", "--json")
    assert (answer.code, answer.json["now"]) == (0, {"skipped": 1, "ok": 2})
    assert len(written) == len({run for run, _ in written}) == 3


def test_stack_that_does_not_fit_is_halved(
    small: SmallSuite, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory makes smaller stacks until it fits; a single run that does not fit says so."""
    train = "gapbench.bench.training.trainer.Trainer.train"
    original = __import__("gapbench.bench.training.trainer", fromlist=["Trainer"]).Trainer.train

    def limited(trainer: Any) -> None:
        if len(trainer.runs) > fitting:
            raise torch.OutOfMemoryError("no memory left")
        original(trainer)

    monkeypatch.setattr(train, limited)
    fitting = 0
    answer = call(capsys, "run", *small.running, "--methods", "head", "--json")
    assert (answer.code, answer.json["now"]) == (3, {"out_of_memory": 3})
    fitting = 1
    answer = call(capsys, "run", *small.running, "--methods", "head,lora", "--json")
    assert (answer.code, answer.json["now"]) == (0, {"ok": 6})
