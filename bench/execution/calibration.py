"""Costs of runs before the first has ended: measured on this machine by `bench.profiling.forecast`.

What a few seconds of measuring do not reach is judged from what they did.
"""

import time
from collections.abc import Callable, Sequence

import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import BenchError
from gapbench.bench.execution.cost_model import CostKey, Costs, cost_key
from gapbench.bench.profiling.forecast import run_seconds
from gapbench.bench.profiling.self_check import checked_backbone
from gapbench.bench.tasks import dataset

LONGEST_S = 60.0  # after which no other kind of run is measured


def calibrate(
    costs: Costs,
    runs: Sequence[Run],
    device: torch.device,
    show: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Add the seconds of every kind of run to costs that lack them, the most work first.

    Kinds whose backbone is still in the hub are left out, and so is what would be measured after
    `LONGEST_S`.

    Args:
        costs: to be completed.
        runs: whose kinds are wanted.
        device: where they will train.
        show: called with the number of kinds measured so far and of all.
    """
    kinds: dict[CostKey, list[Run]] = {}
    for run in runs:
        if cost_key(run.cell) not in costs.seconds and costs.at_hand(run.cell):
            kinds.setdefault(cost_key(run.cell), []).append(run)
    began = time.monotonic()
    order = sorted(
        kinds.items(), key=lambda item: -sum(costs.relative_cost(r.cell) for r in item[1])
    )
    for done, (key, group) in enumerate(order):
        if time.monotonic() - began > LONGEST_S:
            return
        show(done, len(order))
        own = [run for run in group if run.cell.hash == group[0].cell.hash]
        costs.seconds[key] = _seconds(costs, own, device)
    show(len(order), len(order))


def _seconds(costs: Costs, runs: Sequence[Run], device: torch.device) -> float:
    """Return what each of some runs of one cell takes; 0 where it will be skipped or fails."""
    cell = runs[0].cell
    try:
        backbone = checked_backbone(cell, costs.sources, device)
        if isinstance(backbone, str):
            return 0.0
        method, config = registry.of_cell(cell)
        if method.unsupported_reason(cell.task, backbone, config):
            return 0.0
        task_data = dataset.prepare(cell, costs.sources, backbone.reader)
        return run_seconds(runs, backbone, task_data, device)
    except (BenchError, RuntimeError):  # what is wrong with it is for `check` and `run` to say
        return 0.0
