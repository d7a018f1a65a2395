"""What checkpoints of a stack cost: seconds and bytes of one, and of looking whether one is due.

python -m tests.benchmarks.checkpoint_cost --runs 8 --method lora
"""

import argparse
import math
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch

from gapbench.bench.adaptation.build import load_backbone
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.stack_executor import Executor
from gapbench.bench.experiment import suite as suites
from gapbench.bench.store.store import store_at
from gapbench.bench.training.checkpoint import Checkpoints
from gapbench.bench.training.trainer import Trainer


def main() -> None:
    """Train on a built-in task, save after each evaluation, and print what that took."""
    options = _parser().parse_args()
    torch.set_num_threads(options.threads)
    suite, path = suites.load("quickstart")
    suite = suites.restrict(
        suite, methods=(options.method,), task_names=(options.task,), seeds=options.runs
    )
    sources, device = Sources(), torch.device("cpu")
    runs = [planned.run for planned in suites.expand(suite, sources, path)][: options.runs]
    with tempfile.TemporaryDirectory() as folder:
        store = store_at(Path(folder))
        checkpoints = Checkpoints(store, device)
        idle = checkpoints.saver(runs, math.inf)
        looks: list[float] = []
        saves: list[float] = []
        began: list[float] = []

        def measure(trainer: Trainer) -> None:
            started = time.perf_counter()
            idle(trainer)
            looks.append(time.perf_counter() - started)
            began.append(started)
            if len(began) % 50 == 0:
                snapshot = trainer.snapshot()
                started = time.perf_counter()
                checkpoints.write(runs, snapshot)
                saves.append(time.perf_counter() - started)

        backbone = load_backbone(runs[0].cell, sources)
        executor = Executor(store, sources, device)
        executor.prepare(runs, backbone, lambda _: None, measure).train()
        (file,) = (Path(folder) / "checkpoints").iterdir()
        size = file.stat().st_size
        ((_, saved),) = checkpoints.divide(runs)
        resumed = executor.prepare(runs, backbone, lambda _: None)
        started = time.perf_counter()
        assert saved is not None
        resumed.trainer.restore(saved.snapshot(runs))
        restored = time.perf_counter() - started
    steps = [after - before for before, after in pairwise(began)]
    print(f"{len(runs)} runs of {options.method} on {options.task}, {len(began)} steps")
    print(f"a step:        {1e3 * statistics.median(steps):10.3f} ms")
    print(f"to look:       {1e3 * statistics.median(looks):10.5f} ms a step")
    print(f"a checkpoint:  {1e3 * statistics.median(saves):10.3f} ms, {size / 1e6:.2f} MB")
    print(f"to restore:    {1e3 * restored:10.3f} ms")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--method", default="lora")
    parser.add_argument("--task", default="syn_sentiment")
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
