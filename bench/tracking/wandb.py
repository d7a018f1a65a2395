"""Weights & Biases: runs go where `wandb login` and the variables WANDB_* say, offline too."""

import shutil
from pathlib import Path

import wandb

from gapbench.bench.tracking._wandb_calls import fill
from gapbench.bench.tracking._wandb_offline import is_whole, wait_until_whole
from gapbench.bench.tracking.base import PROJECT, TrackedRun

_MOST = 128  # characters of a name
_MOST_OF_TAG = 64

# A tracked run is about a record. What wandb would collect of this process is about something
# else, and its command line may hold the password of a study's storage.
_QUIET = {
    "silent": True,
    "console": "off",
    "disable_git": True,
    "disable_code": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "login_timeout": 30,  # seconds; nobody may be there to answer
}


def send(run: TrackedRun, results: Path) -> bool:  # noqa: ARG001 - the interface of a tracker
    """Send a run, under its hash as the run id; see `base.Send`."""
    settings = wandb.setup().settings
    for earlier in Path(settings.wandb_dir).glob(f"offline-run-*-{run.id}"):
        if is_whole(earlier, run):
            return False
        shutil.rmtree(earlier)  # its sender was killed
    opened = wandb.init(
        project=settings.project or PROJECT,
        id=run.id,
        name=run.name[:_MOST],
        group=run.group[:_MOST],
        tags=[tag[:_MOST_OF_TAG] for tag in run.tags],
        config=dict(run.settings),
        resume="allow",
        reinit="create_new",
        settings=wandb.Settings(**_QUIET, x_start_time=run.started.timestamp()),
    )
    try:
        new = not (opened.resumed and set(run.scores) <= set(opened.summary.keys()))
        if new:
            fill(opened, run)
    finally:
        opened.finish(exit_code=0 if run.ok else 1)
    if new and opened.offline:
        wait_until_whole(Path(opened.settings.sync_dir), run)
    return new
