"""trackio: runs go into its local database, or to the Space or server that TRACKIO_* name."""

import os
from pathlib import Path

import trackio
from trackio.sqlite_storage import SQLiteStorage

from gapbench.bench.tracking._wandb_calls import fill
from gapbench.bench.tracking.base import PROJECT, TrackedRun


def send(run: TrackedRun, results: Path) -> bool:  # noqa: ARG001 - the interface of a tracker
    """Send a run, whose name holds its hash; see `base.Send`."""
    about = {"project": PROJECT, "name": run.name, "embed": False}
    about |= {"auto_log_cpu": False, "auto_log_gpu": False}  # the run's computer and time are past
    _delete_part(run)
    try:
        opened, new = trackio.init(**about, resume="must"), False
    except ValueError:  # there is none of this name
        opened, new = trackio.init(**about, group=run.group, config=dict(run.settings)), True
    try:
        if new:
            fill(opened, run)
    finally:
        trackio.finish()  # that of the run itself would be repeated, and announced, at exit
    return new


def _delete_part(run: TrackedRun) -> None:
    """Delete a run that lacks its final scores, because its sender was killed.

    Only the local database can be asked for them, not a Space or a server.
    """
    if os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL"):
        return
    logged = {name for row in SQLiteStorage.get_logs(PROJECT, run.name) for name in row}
    if not set(run.scores) <= logged:
        SQLiteStorage.delete_run(PROJECT, run.name)
