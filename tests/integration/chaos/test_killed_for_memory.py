"""A worker that the system kills for memory is told from others; its stack is halved."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gapbench.bench.execution.engines import local
from gapbench.bench.execution.engines.base import Settings
from gapbench.bench.execution.work_queue import Job, WorkQueue
from gapbench.bench.store.event_log import EventLog, events
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import store_at
from tests.execution.engines.test_local import at_work
from tests.support.small_suite import SmallSuite, hasten_workers, make, planned

LIMITS = {
    Path("/sys/fs/cgroup/memory"): ("memory.limit_in_bytes",),
    Path("/sys/fs/cgroup"): ("memory.max", "memory.swap.max"),
}
LITTLE = 2**16  # bytes; what it has already is not counted


@pytest.fixture
def cramped() -> Iterator[Path]:
    """A control group in which a process that asks for more memory is killed."""
    for root, files in LIMITS.items():
        group = root / f"gapbench-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name in files:
                if (group / name).exists() or name == files[0]:
                    (group / name).write_text("0" if "swap" in name else str(LITTLE))
            yield group
        except OSError as error:
            pytest.skip(f"no control group of memory: {error}")
        finally:
            group.rmdir()
        return
    pytest.skip("no control group can be made")


class Cramping:
    """Leaves a worker process no memory whenever one has begun something, so many times."""

    def __init__(self, group: Path, times: int) -> None:
        self.group = group
        self.left = times
        self.struck: set[int] = set()

    def __call__(self, _done: float, _statuses: Counter[Status]) -> None:
        """Strike, if there is anything to strike at."""
        for child in psutil.Process().children(recursive=True):
            if self.left and child.pid not in self.struck and at_work(child):
                self.left -= 1
                self.struck.add(child.pid)
                (self.group / "cgroup.procs").write_text(str(child.pid))
                return


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "times", "statuses"),
    [(2, 1, {Status.OK: 2}), (1, local.ATTEMPTS, {Status.OUT_OF_MEMORY: 1})],
    ids=["halved", "given up"],
)
def test_worker_killed_for_memory(
    tmp_path: Path,
    make_backbone: Callable[[str], Path],
    cramped: Path,
    monkeypatch: pytest.MonkeyPatch,
    seeds: int,
    times: int,
    statuses: dict[Status, int],
) -> None:
    """Its stack is halved and goes on; a single run that is killed again and again says why."""
    hasten_workers(monkeypatch)
    small: SmallSuite = make(
        tmp_path / "small",
        make_backbone("bert"),
        methods=["lora"],
        seeds=seeds,
        budget={"steps": 300, "batch_size": 16, "evaluations": 10},
    )
    runs, sources = planned(small)
    store = store_at(small.results)
    log = EventLog(store.logs / "000001-run.jsonl", os.uname().nodename)
    cramping = Cramping(cramped, times)
    queue = WorkQueue([Job(runs)], cramping)
    local.WorkerPool(queue, Settings(small.results, sources, "cpu", 2, 1, event_log=log), 1).work()
    assert cramping.left == 0
    assert queue.statuses == statuses
    died = [event["cause"] for event in events(log.path) if event["event"] == "worker_died"]
    assert died == ["was killed by the system, which ran out of memory"] * times
    details = [record.detail for record in store.records() if isinstance(record, Record)]
    given_up = f"{times} worker processes died on it; the last one {died[0]}"
    assert details == ([None, None] if seeds == 2 else [given_up])
