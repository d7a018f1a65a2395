"""Measure what runs take on this machine before any has ended, with a progress bar."""

from collections.abc import Sequence
from typing import Any

from gapbench.bench.api.progress import progress_bar
from gapbench.bench.config.run import Run
from gapbench.bench.core.process import choose_device
from gapbench.bench.execution.calibration import calibrate
from gapbench.bench.execution.cost_model import Costs


def measure(
    costs: Costs, runs: Sequence[Run], device: str = "auto", *, progress: bool = True, **limits: Any
) -> None:
    """Add what no record tells of the costs of runs; ``limits`` are those of `calibrate`."""
    if all(costs.seconds(run.cell) is not None for run in runs):
        return
    with progress_bar(1, " measurements", progress=progress) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        calibrate(costs, runs, choose_device(device), show, **limits)
