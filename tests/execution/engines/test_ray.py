"""A Ray cluster of several nodes on this computer: workers die, nodes leave and join."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

import gapbench
from gapbench.bench.api.advising import start
from gapbench.bench.execution.engines.base import Settings
from gapbench.bench.execution.scheduler import execute
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import Store
from tests.support.small_suite import SmallSuite, call, make, numbers, planned, searched

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

METHODS = [{"method": "lora", "config": {"rank": 2}}, "head", "majority"]
SHORT = {"steps": 30, "batch_size": 4, "evaluations": 3}
LONG = SHORT | {"steps": 150}


@pytest.fixture(scope="module")
def head_alone() -> Iterator[Any]:
    """A cluster whose head does no work."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        ray.init(address=made.address, log_to_driver=False)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def cluster(head_alone: Any) -> Any:
    """The cluster with two nodes of a core each, whatever the test before left."""
    while len(head_alone.worker_nodes) < 2:
        head_alone.add_node(num_cpus=1)
    return head_alone


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of 12 runs."""
    return make(tmp_path / "small", make_backbone("bert"), methods=METHODS, budget=SHORT, seeds=4)


class Accidents:
    """Lets a worker process die, then a node leave and another one join, while a suite runs."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._done = 0.0
        self.happened: list[str] = []

    def kill(self) -> None:
        """Kill a worker that is at a stack, once a run is done."""
        while not (self._done >= 1 and (workers := busy_workers())):
            time.sleep(0.02)
        workers[0].kill()
        self.happened.append("worker killed")

    def note(self, done: float, _statuses: Counter[Status]) -> None:
        """Note the progress, and replace a node some runs after that; in the main thread alone."""
        self._done = done
        if self.happened == ["worker killed"] and done >= 3:
            self._cluster.remove_node(next(iter(self._cluster.worker_nodes)))
            self._cluster.add_node(num_cpus=1)
            self.happened.append("node replaced")


def busy_workers() -> list[psutil.Process]:
    """Return the processes that are at a stack now."""
    busy = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.name().startswith(("ray::do", "ray::prepared")):
                busy.append(process)
    return busy


@contextmanager
def one_killed_worker(folder: Path, records: str) -> Iterator[None]:
    """Kill a worker that is at a stack in the block, once a record in the folder fits a pattern."""
    killed: list[psutil.Process] = []

    def kill() -> None:
        while not (list(folder.glob(records)) and (workers := busy_workers())):
            time.sleep(0.02)
        workers[0].kill()
        killed.append(workers[0])

    striker = Thread(target=kill, daemon=True)
    striker.start()
    yield
    striker.join(timeout=30)
    assert len(killed) == 1


def test_suite_survives_a_killed_worker_and_a_lost_node(
    cluster: Any, small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is lost is done again elsewhere; every record is written once and is the same."""
    small.write_suite(budget=LONG)  # long enough to be met in training
    runs, sources = planned(small)
    reference = small.folder / "local"
    execute(runs, Settings(reference, sources, "cpu", 1, 1), lambda *_: None)
    written: Counter[str] = Counter()
    write = Store.write

    def counted(store: Store, record: Record, *others: Any) -> None:
        written[record.run_hash] += 1
        write(store, record, *others)

    monkeypatch.setattr(Store, "write", counted)
    accidents = Accidents(cluster)
    settings = Settings(small.results, sources, "cpu", 1, None, "ray")
    striker = Thread(target=accidents.kill, daemon=True)
    striker.start()
    outcome = execute(runs, settings, accidents.note)
    striker.join(timeout=30)
    assert accidents.happened == ["worker killed", "node replaced"]
    assert outcome.statuses == {Status.OK: 12}
    assert written == {run.hash: 1 for run in runs}
    assert numbers(Store(small.results)) == numbers(Store(reference))
    assert not [path for path in (small.results / "claims").iterdir() if path.suffix == ".lock"]


@pytest.mark.usefixtures("cluster")
def test_search_survives_a_killed_worker_and_finds_what_a_local_one_finds(
    small: SmallSuite, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tasks search side by side in one folder; a trial depends on its study alone."""
    flags = ("--methods", "head,lora", "--trials", "9", "--stack", "1", "--seeds", "1", "--json")
    with one_killed_worker(small.results, "tuning/*/runs/*/*/*/*/*.json"):
        answer = call(capsys, "tune", *small.running, *flags, "--engine", "ray", "--workers", "2")
    assert answer.code == 0, answer.err
    assert (small.results / "studies.log").is_file()
    other = small.folder / "other"
    assert call(capsys, "tune", *small.planning, "--results", other, *flags).code == 0
    found, alone = searched(small.results), searched(other)
    assert [len(trials) for trials in found] == [9, 9]
    assert found == alone


@pytest.mark.usefixtures("cluster")
def test_advice_survives_a_killed_worker_and_is_that_of_one_process(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks and final runs leave the same records, so that the race ends in the same way."""
    monkeypatch.setattr(start, "SEEDS", 1)  # two may share a stack here and not there

    def advise(results: Path, **engine: Any) -> None:
        gapbench.advise(
            small.path,
            data=small.data,
            results=results,
            methods=["lora", "head"],
            arms=2,
            folds=2,
            repeats=1,
            progress=False,
            **engine,
        )

    with one_killed_worker(small.results, "race/runs/*/*/*/*/*.json"):
        advise(small.results, engine="ray", workers=2)
    alone = small.folder / "alone"
    advise(alone)
    for part in ("race", "."):
        found = numbers(Store(small.results / part))
        assert found
        assert found == numbers(Store(alone / part))
