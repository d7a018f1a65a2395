"""Several processes on one results folder: no run is lost, none is done twice, none is blocked."""

import json
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from gapbench.bench.api.choices import INTERRUPTED
from gapbench.bench.config.run import Cell, Run
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store, store_at
from tests.support.small_suite import CELL, PROCESSES, blank, make, run_command

RUN = Run(CELL, 0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty results folder."""
    return store_at(tmp_path / "results")


def _work(root: Path, seeds: list[int], barrier: Barrier) -> None:
    """Try to do every run, one claim at a time, and leave a line for each that was done."""
    store = Store(root)
    barrier.wait()
    for seed in seeds:
        with store.claim([Run(CELL, seed)]) as mine:
            for run in mine:
                with (root / f"done-{seed}").open("a") as file:
                    file.write(f"{os.getpid()}\n")
                time.sleep(0.005)  # long enough for the others to try
                store.write(blank(run))


def test_processes_that_work_together_do_every_run_once(store: Store) -> None:
    """Four processes that want the same runs in different orders divide them without a double."""
    count = 20
    barrier = PROCESSES.Barrier(4)
    orders = [[(start + step) % count for step in range(count)] for start in (0, 0, 5, 10)]
    workers = [PROCESSES.Process(target=_work, args=(store.root, o, barrier)) for o in orders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    lines = [(store.root / f"done-{seed}").read_text().split() for seed in range(count)]
    assert [len(pids) for pids in lines] == [1] * count
    assert len({pid for pids in lines for pid in pids}) > 1
    assert all(store.settled(Run(CELL, seed)) for seed in range(count))


def _plan(root: Path, seed: int, barrier: Barrier) -> None:
    barrier.wait()
    for method in ("head", "lora", "full"):
        Store(root).write_plan(
            "small",
            [(Run(Cell.model_validate(CELL.model_dump() | {"method": method}), seed), "default")],
        )


def test_processes_that_plan_together_lose_no_row(store: Store) -> None:
    """Plans written at the same time are all in the merged one."""
    barrier = PROCESSES.Barrier(4)
    workers = [PROCESSES.Process(target=_plan, args=(store.root, k, barrier)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(store.plans()) == 12


def _hold(root: Path, ready: Barrier) -> None:
    with Store(root).claim([RUN]):
        ready.wait()
        signal.pause()


def test_claim_of_a_killed_process_is_free(store: Store) -> None:
    """A process that dies in the middle of its work blocks nobody."""
    ready = PROCESSES.Barrier(2)
    holder = PROCESSES.Process(target=_hold, args=(store.root, ready))
    holder.start()
    ready.wait()
    with store.claim([RUN]) as mine:
        assert mine == []
    holder.kill()
    holder.join()
    with store.claim([RUN]) as mine:
        assert mine == [RUN]


def test_two_commands_on_one_folder_train_every_run_once(
    tmp_path: Path, make_backbone: Callable[[str], Path]
) -> None:
    """Two `gapbench run` started together share the work: what they did adds up to the suite."""
    small = make(tmp_path / "small", make_backbone("bert"), seeds=5)
    outs = [tmp_path / name for name in ("first", "second")]
    arguments = ("run", *small.running, "--stack", "1", "--json")
    commands = [PROCESSES.Process(target=run_command, args=(out, *arguments)) for out in outs]
    for command in commands:
        command.start()
    for command in commands:
        command.join()
    # Whoever ends while the other still has runs in hand says so; the last one sees all of them.
    assert 0 in {command.exitcode for command in commands} <= {0, INTERRUPTED}
    done = [json.loads(out.read_text())["now"].get("ok", 0) for out in outs]
    assert sum(done) == 15
    assert len(small.records()) == 15
    assert all(isinstance(r, Record) and r.status == "ok" for r in Store(small.results).records())
