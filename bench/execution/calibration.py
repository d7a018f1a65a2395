"""Costs of runs before any has ended: time and memory, measured on this machine by a few steps.

Runs that are not measured within a few seconds are estimated from those that are.
"""

import math
import time
from collections.abc import Callable, Sequence

import torch

from gapbench.bench.config.run import Cell, Run
from gapbench.bench.core.errors import BenchError, one_line
from gapbench.bench.data.encoded import TaskData
from gapbench.bench.execution.cost_model import CostKey, Costs, cost_key
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.profiling.footprint import footprint
from gapbench.bench.profiling.forecast import run_seconds
from gapbench.bench.profiling.self_check import supported_backbone
from gapbench.bench.tasks import dataset
from gapbench.bench.training.second_tests import ready_tests

LONGEST_S = 60.0  # after this time nothing else is measured
_SHARE = 0.1  # of a time budget


def calibrate(
    costs: Costs,
    runs: Sequence[Run],
    device: torch.device,
    show: Callable[[int, int], None] = lambda *_: None,
    *,
    memory: bool = True,
    budget_s: float | None = None,
) -> None:
    """Add missing seconds of every kind of run, then missing memory; kinds of most work first.

    Kinds with a backbone still on the hub are left out, as is what `LONGEST_S` does not hold.

    Args:
        costs: costs to complete.
        runs: runs of the kinds to measure.
        device: device that they will train on.
        show: called with the number of measurements made so far and the total.
        memory: whether memory is wanted, which takes longer than seconds.
        budget_s: time for measuring and for the runs; a tenth of it is used at most, and kinds of
            least work, which will run first, come first.
    """
    kinds: dict[CostKey, list[Run]] = {}
    for run in runs:
        if costs.seconds(run.cell) is None and costs.at_hand(run.cell):
            kinds.setdefault(cost_key(run.cell), []).append(run)
    work = {key: sum(costs.relative_cost(run.cell) for run in own) for key, own in kinds.items()}
    order = sorted(kinds, key=work.__getitem__, reverse=budget_s is None)
    steps = [(key, _add_seconds) for key in order]
    steps += [(key, _add_memory) for key in order if memory]
    until = time.monotonic() + min(LONGEST_S, math.inf if budget_s is None else _SHARE * budget_s)
    for done, (key, measure) in enumerate(steps):
        if time.monotonic() > until:
            return
        show(done, len(steps))
        try:
            measure(costs, kinds[key], device)
        except Exception as error:  # a method may raise anything
            costs.unmeasured[key] = _cause(error)
    show(len(steps), len(steps))


def _add_seconds(costs: Costs, runs: Sequence[Run], device: torch.device) -> None:
    """Add the seconds of a run of a kind, none if all are skipped."""
    found = _able(costs, runs, device)
    if found is None:
        costs.tell(runs[0].cell, 0.0)
        return
    own, backbone, task_data = found
    tests = ready_tests(own[0].cell, costs.sources, backbone.reader)
    costs.tell(own[0].cell, run_seconds(own, backbone, task_data, device, tests))


def _add_memory(costs: Costs, runs: Sequence[Run], device: torch.device) -> None:
    """Add the memory of stacks of a kind, unless all are skipped."""
    found = _able(costs, runs, device)
    if found is not None:
        own, backbone, task_data = found
        costs.footprints[cost_key(own[0].cell)] = footprint(own[0], backbone, task_data, device)


def _able(
    costs: Costs, runs: Sequence[Run], device: torch.device
) -> tuple[list[Run], Backbone, TaskData] | None:
    """Return the runs of the first cell of a kind that can be done; note those that cannot.

    Raises:
        BenchError: if the others cannot even be looked at.
    """
    able: tuple[Cell, Backbone] | None = None
    broken: Exception | None = None
    for cell in {run.cell.hash: run.cell for run in runs}.values():
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
        return None
    cell, backbone = able
    own = [run for run in runs if run.cell.hash == cell.hash]
    return own, backbone, dataset.prepare(cell, costs.sources, backbone.reader, own[0].seed)


def _cause(error: Exception) -> str:
    """Return what was wrong; of an error that no message was written for, its name too."""
    told = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
    return one_line(told)
