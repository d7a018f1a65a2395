"""Costs of runs before any has ended: time and memory, measured on this machine by a few steps.

Runs that are not measured within a few seconds are estimated from those that are.
"""

import time
from collections.abc import Callable, Sequence

import torch

from gapbench.bench.config.run import Cell, Run
from gapbench.bench.core.errors import BenchError, one_line
from gapbench.bench.execution.cost_model import CostKey, Costs, cost_key
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.profiling.footprint import footprint
from gapbench.bench.profiling.forecast import run_seconds
from gapbench.bench.profiling.self_check import supported_backbone
from gapbench.bench.tasks import dataset
from gapbench.bench.training.second_tests import ready_tests

LONGEST_S = 60.0  # after this time no other kind of run is measured


def calibrate(
    costs: Costs,
    runs: Sequence[Run],
    device: torch.device,
    show: Callable[[int, int], None] = lambda *_: None,
    *,
    memory: bool = True,
) -> None:
    """Add missing seconds and memory of every kind of run, those with the most work first.

    Kinds with a backbone still on the hub are left out, as are kinds not reached in `LONGEST_S`.

    Args:
        costs: costs to complete.
        runs: runs of the kinds to measure.
        device: device that they will train on.
        show: called with the number of kinds measured so far and the total.
        memory: whether memory is wanted, which takes as long as the rest.
    """
    kinds: dict[CostKey, list[Run]] = {}
    for run in runs:
        if costs.seconds(run.cell) is None and costs.at_hand(run.cell):
            kinds.setdefault(cost_key(run.cell), []).append(run)
    began = time.monotonic()
    order = sorted(kinds.values(), key=lambda own: -sum(costs.relative_cost(r.cell) for r in own))
    for done, group in enumerate(order):
        if time.monotonic() - began > LONGEST_S:
            return
        show(done, len(order))
        try:
            _measure(costs, group, device, memory=memory)
        except Exception as error:  # a method may raise anything
            costs.unmeasured[cost_key(group[0].cell)] = _cause(error)
    show(len(order), len(order))


def _measure(costs: Costs, runs: Sequence[Run], device: torch.device, *, memory: bool) -> None:
    """Add the seconds and the memory of a run of a kind, and the cells that will be skipped."""
    cells = {run.cell.hash: run.cell for run in runs}
    able: tuple[Cell, Backbone] | None = None
    broken: Exception | None = None
    for cell in cells.values():
        try:
            found = supported_backbone(cell, costs.sources, device)
        except Exception as error:  # another cell of the kind may do
            broken = broken or error
            continue
        if isinstance(found, str):
            costs.skipped[cell.hash] = found
        else:
            able = able or (cell, found)
    if able is None:
        if broken is not None:
            raise broken
        costs.tell(runs[0].cell, 0.0)
        return
    cell, backbone = able
    own = [run for run in runs if run.cell.hash == cell.hash]
    task_data = dataset.prepare(cell, costs.sources, backbone.reader, own[0].seed)
    tests = ready_tests(cell, costs.sources, backbone.reader)
    costs.tell(cell, run_seconds(own, backbone, task_data, device, tests))
    if memory:
        costs.footprints[cost_key(cell)] = footprint(own[0], backbone, task_data, device)


def _cause(error: Exception) -> str:
    """Return what was wrong; of an error that no message was written for, its name too."""
    told = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
    return one_line(told)
