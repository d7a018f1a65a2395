"""A Ray cluster: one task per stack; its records come back to this process, which writes them.

This process holds the claims of all active runs. The folder therefore need not be shared, and a
stack that is tried again, for example by Ray after a lost node, never writes a run twice. Computers
may join and leave: the number of tasks follows the size of the cluster.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import BenchError, ConfigError
from gapbench.bench.core.process import choose_device, prepare
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.engines.base import Search, Settings, executor_of, prepared, small
from gapbench.bench.execution.stack_executor import Executor
from gapbench.bench.execution.work_queue import ATTEMPTS, Job, WorkQueue
from gapbench.bench.store.event_log import Event, InMemoryLog
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import Predictions, Store, store_at
from gapbench.bench.training.checkpoint import Checkpoints

HERE = False
WHEN = " at once"

_log = logging.getLogger(__name__)
_POLL_S = 1.0
_CLIENT_PORT = 10001  # of an address ray://HOST
_ANSWER_S = 5.0  # limit for a connection to the cluster at an address
_JOIN_S = 120.0  # limit for joining it, which takes seconds
_SMALL_SHARE = 0.25  # share of a GPU for a stack on a small backbone


@dataclass(frozen=True)
class TaskResult:
    """The results that a task returns."""

    records: list[tuple[Record, Predictions, bytes | None]]
    statuses: dict[str, Status]
    seconds: float
    told: list[Event]


class RemoteStore(Store):
    """Replaces the results folder inside a task: keeps what is written, to be sent back.

    The process that sent the task holds the claims and knows what is settled.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.results)
        self.carried: list[tuple[Record, Predictions, bytes | None]] = []

    def settled(self, run: Run) -> bool:  # noqa: ARG002
        """Return False: only unsettled runs are sent."""
        return False

    @contextmanager
    def claim(self, runs: Sequence[Run]) -> Iterator[list[Run]]:
        """Yield all of ``runs``."""
        yield list(runs)

    def shares_claims(self, runs: Sequence[Run]) -> bool:
        """Whether the sender's folder is visible here, judged by the claims that it holds."""
        return all((self.root / "claims" / f"{run.hash}.lock").exists() for run in runs)

    def write(
        self,
        record: Record,
        predictions: Predictions = MappingProxyType({}),
        ended: bytes | None = None,
    ) -> None:
        """Keep a record with what is stored beside it."""
        self.carried.append((record, predictions, ended))


def do(runs: Sequence[Run], settings: Settings, threads: int, seconds: float | None) -> TaskResult:
    """Run a stack in a worker process of the cluster, which keeps the backbone for the next."""
    prepare(threads)
    began = time.monotonic()
    carrier, in_memory_log = RemoteStore(settings), InMemoryLog()
    executor = replace(executor_of(settings, carrier), event_log=in_memory_log)
    if not carrier.shares_claims(runs):
        executor = replace(executor, checkpoint_s=None)
    statuses = executor.run(runs, lambda _share: None, seconds)
    return TaskResult(carrier.carried, statuses, time.monotonic() - began, in_memory_log.told)


def work(queue: WorkQueue, settings: Settings) -> None:
    """Process a queue with the tasks of a cluster.

    It is the cluster at ``RAY_ADDRESS``, otherwise the one on this computer, otherwise a new one.

    Raises:
        ConfigError: if the cluster cannot be reached, or has no GPU although cuda is asked for.
    """
    with _cluster():
        _check_device(settings)
        tasks = _Tasks(queue, settings)
        try:
            while tasks.send() or tasks.under_way:
                tasks.collect()
        finally:
            tasks.cancel()


def suitable_workers(jobs: Sequence[Job], sources: Sources, device: torch.device) -> int:  # noqa: ARG001
    """Return 1: a cluster takes as many as it has room for, which only it knows."""
    return 1


@contextmanager
def beside(search: Search, jobs: Sequence[Job], settings: Settings) -> Iterator[Callable[[], bool]]:
    """Search in tasks of the cluster, whose computers share the results folder.

    A task whose worker process or node dies is started again elsewhere.
    """
    with _cluster():
        _check_device(settings)
        asked = demand(max(jobs, key=lambda job: job.memory_bytes), settings)
        count = settings.workers or min(len(jobs), max(1, capacity(asked)))
        task: Any = ray.remote(max_retries=ATTEMPTS - 1)(prepared).options(**asked)
        threads = int(asked["num_cpus"])
        copies = [task.remote(threads, search, number / count) for number in range(count)]
        try:
            yield partial(_any_runs, copies)
        finally:
            for copy in copies:
                ray.cancel(copy, force=True)


def _any_runs(copies: list[Any]) -> bool:
    """Whether any copy runs or waits; one that lost its workers too often has ended."""
    ended, others = ray.wait(copies, num_returns=len(copies), timeout=0)
    for copy in ended:
        try:
            ray.get(copy)
        except RayTaskError as error:
            if isinstance(error.cause, BenchError):
                raise error.cause from None
            raise
        except RayError as error:
            _log.warning("a searching task has ended: %s", error)
    return bool(others)


def _check_device(settings: Settings) -> None:
    if settings.device == "cuda" and not ray.cluster_resources().get("GPU"):
        raise ConfigError(
            "--device cuda: no computer of the Ray cluster has a GPU; use --device cpu or auto"
        )


class _Tasks:
    """The stacks running in the cluster, with the claims on their runs."""

    def __init__(self, queue: WorkQueue, settings: Settings) -> None:
        self._queue = queue
        self._settings = settings
        self._store = store_at(settings.results)
        self._executor = Executor(self._store, settings.sources, choose_device("cpu"))
        self._do: Any = ray.remote(max_retries=ATTEMPTS - 1)(do)
        self._demand: dict[str, float] = {"num_cpus": 1.0}  # demand of the last stack
        self.under_way: dict[Any, tuple[Job, list[Run], ExitStack]] = {}

    def send(self) -> bool:
        """Send stacks while there is capacity; return whether any was sent."""
        sent = False
        room = self._settings.workers or max(1, capacity(self._demand))
        while len(self.under_way) < room and (job := self._queue.next()) is not None:
            claims = ExitStack()
            mine = claims.enter_context(self._store.claim(job.runs))
            if not mine:
                claims.close()
                self._queue.end(job, {})
                continue
            self._demand = demand(job, self._settings)
            threads = int(self._demand["num_cpus"])
            own = mine, self._settings, threads, self._queue.seconds_left()
            task = self._do.options(**self._demand).remote(*own)
            self.under_way[task] = job, mine, claims
            sent = True
        return sent

    def collect(self) -> None:
        """Store the results that arrive within a second."""
        pending = list(self.under_way)
        ready, _ = ray.wait(pending, num_returns=1, timeout=_POLL_S)
        for task in ready:
            job, runs, claims = self.under_way.pop(task)
            with claims:
                self._collect(task, job, runs)
        self._queue.show()

    def _collect(self, task: Any, job: Job, runs: list[Run]) -> None:
        try:
            carried: TaskResult = ray.get(task)
        except RayTaskError as error:
            if isinstance(error.cause, BenchError):
                raise error.cause from None
            raise
        except RayError as error:
            cause = f"{ATTEMPTS} worker processes died on it; Ray says: {error}"
            self._queue.end(job, self._executor.give_up(runs, cause))
            return
        for each in carried.records:
            self._executor.store_record(*each)
        Checkpoints(self._store, choose_device("cpu")).clear(runs)
        if self._settings.event_log is not None:
            for event in carried.told:
                self._settings.event_log.write(event)
        self._queue.end(job, carried.statuses, carried.seconds)

    def cancel(self) -> None:
        """Stop running stacks, record their runs as interrupted, and release the claims."""
        for task in self.under_way:
            ray.cancel(task, force=True)
        for _, runs, claims in self.under_way.values():
            with claims:
                self._executor.give_up(runs, "the command was stopped", Status.INTERRUPTED)


def demand(job: Job, settings: Settings) -> dict[str, float]:
    """Return the demand of a task: cores, share of a GPU, memory in bytes.

    It is capped at the memory of the largest computer, since more would never be found.
    """
    nodes = _nodes()
    little = small([job], settings.sources)
    asked = {"num_cpus": 1.0}
    if settings.device != "cpu" and any("GPU" in node for node in nodes):
        asked["num_gpus"] = _SMALL_SHARE if little else 1.0
    elif not little:
        asked["num_cpus"] = max(1.0, min(node.get("CPU", 1.0) for node in nodes))
    largest = max((node.get("memory", 0.0) for node in nodes), default=0.0)
    return asked | {"memory": min(job.memory_bytes, largest)}


def capacity(asked: dict[str, float]) -> int:
    """Return how many such tasks the cluster can run at once."""
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    needs = {names[name]: amount for name, amount in asked.items() if amount}
    return sum(
        min(int(node.get(name, 0.0) / amount + 1e-9) for name, amount in needs.items())
        for node in _nodes()
    )


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextmanager
def _cluster() -> Iterator[None]:
    """Connect to a cluster inside the block; an existing connection stays open."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault(
        "RAY_USAGE_STATS_ENABLED", "0"
    )  # otherwise Ray reports usage over the network
    try:
        _connect(os.environ.get("RAY_ADDRESS", ""))
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"--engine ray: no cluster can be reached or started: {error}; correct RAY_ADDRESS, or "
            "unset it to start one on this computer"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    """Connect to the cluster at an address, or to one on this computer, started if needed.

    Ray itself tries a dead address for many minutes and ignores signals meanwhile. Therefore the
    address is probed first, and a thread connects. A cluster started here is started outside a
    thread, because Linux would end it with the thread.

    Raises:
        OSError: if nothing listens at the address, or what listens is no cluster.
        ValueError: if its port is impossible.
    """
    parts = urlsplit(f"//{address.rpartition('://')[2]}")
    port = parts.port or (_CLIENT_PORT if address.startswith("ray://") else None)
    if not (parts.hostname and port):  # such as "auto" or "local"
        _init()
        return
    try:
        socket.create_connection((parts.hostname, port), _ANSWER_S).close()
    except OSError as error:
        raise OSError(f"nothing answers at {address}: {error}") from None
    failed: list[Exception] = []

    def connect() -> None:
        try:
            _init()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    ends = time.monotonic() + _JOIN_S
    while thread.is_alive():
        if time.monotonic() > ends:
            raise OSError(f"what listens at {address} has not answered in {_JOIN_S:g} s")
        thread.join(_POLL_S)
    if failed:
        raise failed[0]


def _init() -> None:
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
