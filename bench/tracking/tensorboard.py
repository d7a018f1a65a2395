"""TensorBoard: event files in the folder `tensorboard` of the results folder."""

import shutil
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from gapbench.bench.tracking.base import TrackedRun


def send(run: TrackedRun, results: Path) -> bool:
    """Write a run into a folder that is named as its record; see `base.Send`.

    The folder appears whole or not at all.
    """
    folder = results / "tensorboard" / run.place
    if folder.exists():
        return False
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a sender that was killed
    try:
        _write(part, run)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return True


def _write(folder: Path, run: TrackedRun) -> None:
    settings, began = run.flat_settings, run.started.timestamp()
    with SummaryWriter(folder) as writer:
        for step, values in run.points:
            for name, value in values.items():
                writer.add_scalar(name, value, step, began)
        rows = [f"| {name} | {text} |" for name, text in settings.items()]
        writer.add_text("settings", "\n".join(["| setting | value |", "| --- | --- |", *rows]))
        # `add_hparams` would write them as a run of their own.
        for summary in hparams(settings, dict(run.scores)):
            writer.file_writer.add_summary(summary)
