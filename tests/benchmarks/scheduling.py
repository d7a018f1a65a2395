"""What scheduling costs: planning a large grid, and passing many tiny runs through the driver.

    python -m tests.benchmarks.scheduling plan --runs 100000
    python -m tests.benchmarks.scheduling growth --runs 100000
    python -m tests.benchmarks.scheduling local --runs 10000
    python -m tests.benchmarks.scheduling ray --runs 2000
    python -m tests.benchmarks.scheduling nodes --runs 64

`plan` expands a grid, asks the store for every run and orders its stacks; with `--cells` the grid
has so many cells. `growth` passes a tenth of the runs, and then all, through `execute` with an
executor that does nothing. `nodes` trains LoRA on a Ray cluster of one node of a core, then of two.
The others run the method `majority` on a built-in task, every run a stack of its own. Overhead is
the time between the first and the last end that no worker spent on a stack, for each stack. Memory
is the resident set of the driver, libraries included.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from gapbench.bench.config.run import Run
from gapbench.bench.core.schema import validate
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution import engines
from gapbench.bench.execution.cost_model import Costs
from gapbench.bench.execution.engines.base import Settings
from gapbench.bench.execution.scheduler import execute, stacks
from gapbench.bench.execution.stack_executor import Executor
from gapbench.bench.execution.work_queue import Job, WorkQueue
from gapbench.bench.experiment import suite as suites
from gapbench.bench.experiment.schema import Suite
from gapbench.bench.profiling.stack_size import MOST
from gapbench.bench.store.record import Status
from gapbench.bench.store.store import Store

TASKS = ("syn_acceptability", "syn_entailment", "syn_sentiment", "syn_similarity")
_STATUS = Path("/proc/self/status")


def resident_bytes(name: str = "VmRSS") -> int:
    """Return the resident set of this process, or by ``VmHWM`` its peak."""
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


@dataclass
class Timed(WorkQueue):
    """An queue that notes when each stack ends, and what the driver holds then."""

    ends: list[tuple[float, float, int]] = field(default_factory=list)

    def end(self, job: Job, statuses: Mapping[str, Status], seconds: float | None = None) -> None:
        """Note the end of a stack."""
        self.ends.append((time.monotonic(), seconds or 0.0, resident_bytes()))
        super().end(job, statuses, seconds)


def grid(method: str, runs: int, cells: int, tasks: tuple[str, ...], steps: int = 1) -> list[Run]:
    """Return a grid of so many runs in about so many cells."""
    variants = max(1, cells // len(tasks))
    rates = [1e-4 * (number + 1) / variants for number in range(variants)]
    content = {
        "name": "scheduling",
        "tasks": list(tasks),
        "backbones": ["tiny-encoder"],
        "methods": [
            {"method": method, "variant": f"v{n}", "training": {"learning_rate": rate}}
            for n, rate in enumerate(rates)
        ],
        "seeds": max(1, runs // (variants * len(tasks))),
        "budget": {"steps": steps, "batch_size": 8, "evaluations": 1, "train_size": 16},
    }
    planned = suites.expand(validate(Suite, content, "scheduling"), Sources())
    return [entry.run for entry in planned]


def plan(runs: int, cells: int) -> None:
    """Print what it takes to plan a grid."""
    marks = [("libraries", 0.0, resident_bytes())]
    began = time.perf_counter()

    def mark(name: str) -> None:
        marks.append((name, time.perf_counter() - began, resident_bytes("VmHWM")))

    wanted = grid("lora", runs, cells, TASKS)
    mark(f"{len(wanted)} runs")
    with tempfile.TemporaryDirectory() as folder:
        todo = Store(Path(folder)).unsettled(wanted)
    mark("unsettled")
    made = stacks(todo, MOST["cpu"])
    mark("stacks")
    Costs(Sources()).longest_first(made)
    mark("ordered")
    for name, seconds, memory in marks:
        print(f"{name:<14} {seconds:8.2f} s {memory / 2**20:8.0f} MiB")


def growth(runs: int, cells: int) -> None:
    """Print how the time of `execute` grows with the number of runs."""

    def nothing(_executor: Executor, stack: Sequence[Run], _progress: object) -> dict[str, Status]:
        return {run.hash: Status.OK for run in stack}

    seconds = []
    for count in (runs // 10, runs):
        wanted = grid("lora", count, cells * count // runs, TASKS)
        with patch.object(Executor, "run", nothing), tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            execute(wanted, Settings(Path(folder), Sources(), "cpu", 8, 1), lambda *_: None)
            seconds.append(time.perf_counter() - began)
        print(f"{len(wanted)} runs in {seconds[-1]:.2f} s")
    print(f"{seconds[1] / seconds[0]:.1f} times the time for 10 times the runs")


def pass_through(engine: str, runs: int, workers: int) -> None:
    """Print what it takes to pass runs through an engine, for each of them."""
    wanted = grid("majority", runs, 1, TASKS[2:3])
    sources = Sources()
    jobs = Costs(sources).longest_first([[run] for run in wanted])
    queue = Timed(jobs, lambda *_: None)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        settings = Settings(Path(folder), sources, "cpu", 1, workers, engine)
        engines.find(engine)(queue, settings)
    ends, warm = queue.ends, len(queue.ends) // 10
    elapsed = ends[-1][0] - ends[warm][0]
    busy = sum(seconds for _, seconds, _ in ends[warm + 1 :])
    count = len(ends) - warm - 1
    memory = [each / 2**20 for _, _, each in ends]
    print(f"{engine}, {workers} workers: {dict(queue.statuses)}")
    print(f"first end after        {ends[0][0] - began:8.2f} s")
    print(f"a run                  {1000 * busy / count:8.2f} ms in its worker")
    print(f"overhead of a run      {1000 * (elapsed * workers - busy) / count:8.2f} ms")
    print(f"driver's memory        {memory[warm]:8.0f} MiB after a tenth of the runs")
    print(f"                       {memory[-1]:8.0f} MiB at the end, {max(memory):.0f} at most")


def nodes(runs: int) -> None:
    """Print how long one node and two nodes of a Ray cluster take for the same runs."""
    import ray
    from ray.cluster_utils import Cluster

    wanted, sources = grid("lora", runs, 4, TASKS, steps=150), Sources()
    seconds = []
    for count in (1, 2):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(count):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            settings = Settings(Path(folder), sources, "cpu", 4, None, "ray")
            outcome = execute(wanted, settings, lambda *_: None)
            seconds.append(time.perf_counter() - began)
        ray.shutdown()
        cluster.shutdown()
        print(f"{count} nodes: {seconds[-1]:.1f} s, {dict(outcome.statuses)}")
    print(f"two nodes are {seconds[0] / seconds[1]:.2f} times as fast")


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["plan", "growth", "nodes", "local", "ray"])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if options.what == "plan":
        plan(options.runs, options.cells)
    elif options.what == "growth":
        growth(options.runs, options.cells)
    elif options.what == "nodes":
        nodes(options.runs)
    else:
        pass_through(options.what, options.runs, options.workers)


if __name__ == "__main__":
    main()
