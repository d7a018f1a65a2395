"""What Weights & Biases and trackio share: trackio offers the same calls."""

from typing import Any

from gapbench.bench.tracking.base import TrackedRun


def fill(opened: Any, run: TrackedRun) -> None:
    """Log the curve and the final scores of a run that `init` has opened.

    The final scores are logged with the last point, so that they are the run's summary too.
    """
    for step, values in run.points:
        opened.log(dict(values), step=step)
