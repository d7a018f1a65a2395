"""trackio: runs go into its local database, or to the Space or server that TRACKIO_* name."""

from pathlib import Path

import trackio

from gapbench.bench.tracking._wandb_calls import fill
from gapbench.bench.tracking.base import PROJECT, TrackedRun


def send(run: TrackedRun, results: Path) -> bool:  # noqa: ARG001 - the interface of a tracker
    """Send a run, whose name holds its hash; see `base.Send`."""
    about = {"project": PROJECT, "name": run.name, "embed": False}
    about |= {"auto_log_cpu": False, "auto_log_gpu": False}  # the run's computer and time are past
    try:
        trackio.init(**about, resume="must")
        new = False
    except ValueError:  # there is none of this name
        fill(trackio.init(**about, group=run.group, config=dict(run.settings)), run)
        new = True
    trackio.finish()  # that of the run itself would be repeated, and announced, at exit
    return new
