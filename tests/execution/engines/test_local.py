"""Processes of this computer: one that dies is replaced, and none outlives its parent."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Timer

import psutil
import pytest
import torch

import gapbench
from gapbench.bench.adaptation.train_state import StepReport, TrainState
from gapbench.bench.core import plugins
from gapbench.bench.data.batching import Batch
from gapbench.bench.execution.engines import local
from gapbench.bench.execution.engines.base import Settings
from gapbench.bench.execution.work_queue import ATTEMPTS, Job, WorkQueue
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import Store
from gapbench.methods.head import Head
from tests.support.small_suite import SmallSuite, begin, hasten_workers, make, planned

pytestmark = pytest.mark.usefixtures("one_thread")

METHODS = [{"method": "lora", "config": {"rank": 2}}, "head"]
LONG = {"steps": 4000, "batch_size": 4, "evaluations": 20}


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of 4 runs."""
    return make(tmp_path / "small", make_backbone("bert"), methods=METHODS)


def settings(small: SmallSuite, workers: int) -> Settings:
    """Return how to execute a suite with so many processes."""
    return Settings(small.results, planned(small)[1], "cpu", 1, workers)


class Strikes:
    """Kills a worker process whenever one has begun something, so many times."""

    def __init__(self, times: int) -> None:
        self.left = times
        self._struck: set[int] = set()  # one that dies may look busy for a moment

    def __call__(self, _done: float, _statuses: Counter[Status]) -> None:
        """Strike, if there is anything to strike at."""
        busy = [child for child in psutil.Process().children(recursive=True) if at_work(child)]
        alive = [child for child in busy if child.pid not in self._struck]
        if alive and self.left:
            self.left -= 1
            self._struck.add(alive[0].pid)
            alive[0].kill()


def at_work(process: psutil.Process) -> bool:
    """Whether a worker process holds a claim."""
    try:
        return any(file.path.endswith(".lock") for file in process.open_files())
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_worker_that_is_killed_is_replaced_and_its_stack_done(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One dead worker costs time and nothing else."""
    hasten_workers(monkeypatch)
    small.write_suite(budget=LONG | {"steps": 200}, seeds=1)
    runs, _ = planned(small)
    strikes = Strikes(1)
    queue = WorkQueue([Job([run]) for run in runs], strikes)
    local.work(queue, settings(small, 2))
    assert strikes.left == 0
    assert queue.statuses == {Status.OK: 2}
    assert all(r.status == "ok" for r in Store(small.results).records() if isinstance(r, Record))


_BEFORE_STEPS_S = 3.0  # of a processor


def trains(process: psutil.Process) -> bool:
    """Whether a process has held a claim for long enough to be past what comes before a step.

    For an instant after it is forked, any process holds what the command itself holds.
    """
    with suppress(psutil.NoSuchProcess):
        before = sum(process.cpu_times()[:2])
        while at_work(process):
            if sum(process.cpu_times()[:2]) > before + _BEFORE_STEPS_S:
                return True
            time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_command_that_started_them(
    small: SmallSuite, tmp_path: Path, number: signal.Signals
) -> None:
    """However the command ends, its processes stop and hold no claim any more."""
    small.write_suite(budget=LONG)
    command = ("run", *small.running, "--stack", "1", "--workers", "2")
    process = begin(tmp_path / "out", *command)
    assert process.pid is not None
    family = psutil.Process(process.pid)
    while not any(trains(child) for child in family.children()) and process.is_alive():
        time.sleep(0.1)
    workers = family.children(recursive=True)
    os.kill(process.pid, number)  # alone: not the group
    process.join()
    progress = (tmp_path / "out.err").read_text()
    expected = {signal.SIGTERM: 130, signal.SIGKILL: -signal.SIGKILL}
    assert process.exitcode == expected[number], progress
    if number == signal.SIGTERM:  # a process that is just being started cannot know of a kill
        assert "Traceback" not in progress
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
    saved = list((small.results / "checkpoints").glob("*.safetensors"))
    # Who is asked to end saves what is in training.
    assert bool(saved) == (number == signal.SIGTERM)
    runs, _ = planned(small)
    with Store(small.results).claim(runs) as mine:
        assert mine == runs  # nobody holds one, and none is finished


class Deaf(Head):
    """Head tuning in which interrupts are dropped, as Python does inside a destructor."""

    name = "deaf"
    reference = "this test"

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Spend most of a step where interrupts get lost."""
        with suppress(KeyboardInterrupt):
            time.sleep(0.1)
        return super().step(state, batches)


def press_ctrl_c(done: float, _statuses: Counter[Status]) -> None:
    """Interrupt once steps are made."""
    if done > 0.01:
        raise KeyboardInterrupt


@pytest.mark.slow
def test_worker_that_misses_an_interrupt_stops_at_its_next_report(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would train to the end and wait for another stack, and its parent for it."""
    hasten_workers(monkeypatch)
    monkeypatch.setattr(plugins, "registered", {})
    gapbench.register(Deaf)
    small.write_suite(methods=["deaf"], budget=LONG, seeds=1)
    (run,), _ = planned(small)
    pool = local.WorkerPool(WorkQueue([Job([run])], press_ctrl_c), settings(small, 1), 1)
    rescue = Timer(120, lambda: local.kill(worker.process for worker in pool._workers))
    rescue.start()
    with pytest.raises(KeyboardInterrupt):
        pool.work()
    rescue.cancel()
    record = Store(small.results).find(run)
    assert record is not None
    assert record.status == Status.INTERRUPTED


@pytest.mark.slow
def test_stack_that_kills_every_worker_fails_with_its_cause(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few workers it is given up, and its record says of what they died."""
    hasten_workers(monkeypatch)
    small.write_suite(budget=LONG)
    (run, *_), _ = planned(small)
    queue = WorkQueue([Job([run])], Strikes(ATTEMPTS))
    local.WorkerPool(queue, settings(small, 1), 1).work()
    assert queue.statuses == {Status.FAILED: 1}
    record = Store(small.results).find(run)
    assert record is not None
    cause = "3 worker processes died on it; the last one was killed by signal 9 (SIGKILL)"
    assert record.detail == cause


def test_search_beside_others_leaves_the_threads_of_this_process(small: SmallSuite) -> None:
    """A second call has as many as the first one."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for _ in range(2):
            with local.beside(_at_once, [], settings(small, 2)):
                assert torch.get_num_threads() == 2
            assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def _at_once(_share: float) -> None:
    """Search nothing."""
