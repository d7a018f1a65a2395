"""Checkpoints of stacks in training, from which a killed or interrupted stack resumes.

A suite may ask to keep the state that each run ended in (``keep: checkpoint``): a checkpoint of one
run in the same format, beside its record and never deleted.

There is one file per stack, with the tensors of a `Snapshot` in safetensors and the rest as JSON in
its header. It is written atomically, by rename. A process that holds the claims of all its runs may
write it; one that holds some of them may resume these. The file is deleted when its last run is
settled. A checkpoint that cannot be read, or comes from other code, only adds a line to the log.
"""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from gapbench.bench.config.run import Run
from gapbench.bench.core import signals
from gapbench.bench.core.errors import RecordError
from gapbench.bench.core.files import part, refuse_outside, replacing
from gapbench.bench.core.safe_parsing import parse_json
from gapbench.bench.core.schema import FrozenModel, content_hash
from gapbench.bench.store import provenance
from gapbench.bench.store.record_io import checkpoint_path, read_status
from gapbench.bench.store.store import Store
from gapbench.bench.training.snapshot import Snapshot
from gapbench.bench.training.trainer import StepCallback, Trainer

UNREADABLE = (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError)
"""Errors from reading a file that is not a whole checkpoint."""

_KEY = "gapbench"  # key of the JSON in a file's header

_log = logging.getLogger(__name__)


class SavedCheckpoint(FrozenModel):
    """The header of a checkpoint.

    Attributes:
        step: step at which it was taken.
        runs: hash of each run of the stack, in order, and the path of its record.
        origin: code, versions and type of device at writing.
        state: the parts of the snapshot that are not tensors.
    """

    path: Path
    step: int
    runs: dict[str, str]
    origin: dict[str, Any]
    state: dict[str, Any]

    @classmethod
    def at(cls, path: Path) -> "SavedCheckpoint":
        """Read the header of a checkpoint; may raise any of `UNREADABLE`."""
        with safe_open(path, framework="pt") as file:
            header = parse_json(file.metadata()[_KEY])
        return cls(path=path, step=header["state"]["step"], **header)

    def snapshot(self, runs: Sequence[Run]) -> Snapshot:
        """Read the state of some of its runs; may raise any of `UNREADABLE`."""
        with safe_open(self.path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        order = list(self.runs)
        return Snapshot.unpack(self.state, tensors).of([order.index(run.hash) for run in runs])


class Checkpoints:
    """The checkpoints of one results folder for one type of device."""

    def __init__(self, store: Store, device: torch.device) -> None:
        self._store = store
        here = provenance.describe(device, provenance.now())
        self._origin = here.model_dump(include={"versions", "code_hash", "device_type"})

    def divide(self, runs: Sequence[Run]) -> list[tuple[list[Run], SavedCheckpoint | None]]:
        """Group runs by the checkpoint that they can resume from, the most advanced if several.

        Args:
            runs: runs whose claims the caller holds.
        """
        usable = [saved for saved in self._all(runs) if self._fits(saved, runs)]
        left, parts = list(runs), list[tuple[list[Run], SavedCheckpoint | None]]()
        for saved in sorted(usable, key=lambda saved: saved.step, reverse=True):
            own = [run for run in left if run.hash in saved.runs]
            if own:
                left = [run for run in left if run.hash not in saved.runs]
                parts.append((own, saved))
        return [*parts, (left, None)] if left else parts

    def saver(self, runs: Sequence[Run], every_s: float) -> StepCallback:
        """Return a step callback that saves a stack when due, and when the process must end.

        Under a deadline the last step is saved too, so that scoring can be resumed.
        """
        due = time.monotonic() + every_s

        def save(trainer: Trainer) -> None:
            nonlocal due
            ending = signals.asked()
            last = signals.has_deadline() and trainer.at_end
            if not ending and not last and time.monotonic() < due:
                return
            snapshot = trainer.snapshot()
            kept = self.write(runs, snapshot)
            due = time.monotonic() + every_s
            if ending:
                what = "is" if kept else "could not be"
                raise signals.Stopped(
                    f"{signals.reason()}; the training {what} saved at step {snapshot.step}"
                )

        return save

    def write(self, runs: Sequence[Run], snapshot: Snapshot) -> bool:
        """Save a stack with held claims in place of its earlier checkpoint.

        Returns:
            Whether that succeeded. A full disk costs the checkpoint, not the runs.

        Raises:
            StoreError: if a link leads out of the results folder.
        """
        path = self._path(runs)
        refuse_outside(self._store.root, path.parent)
        try:
            tensors, header = self._content(runs, snapshot)
            with replacing(path, locked=True) as own:
                save_file(tensors, own, header)
                # The library makes it readable by its owner only.
                own.chmod(path.parent.stat().st_mode & 0o666)
        except (OSError, SafetensorError) as error:
            _log.warning("%s: cannot be written: %s; training continues without it", path, error)
            return False
        return True

    def ended(self, run: Run, snapshot: Snapshot) -> bytes:
        """Return the content of the file in which the end of a run is kept."""
        return save(*self._content([run], snapshot))

    def kept(self, run: Run) -> SavedCheckpoint | None:
        """Return the state that a run ended in, None if it was not kept or cannot be read.

        Other code may read it too: what its scores are now shows whether it still fits.
        """
        path = checkpoint_path(self._store.record_path(run))
        if not path.exists():
            return None
        try:
            saved = SavedCheckpoint.at(path)
        except UNREADABLE as error:
            _log.warning("%s: not a whole checkpoint (%s); it is not used", path, error)
            return None
        if run.hash not in saved.runs:
            _log.warning("%s: of another run; it is not used", path)
            return None
        return saved

    def _content(
        self, runs: Sequence[Run], snapshot: Snapshot
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return tensors by name, and the header of their file."""
        state, tensors = snapshot.pack()
        header = {
            "runs": {run.hash: self._store.place(run) for run in runs},
            "origin": self._origin,
            "state": state,
        }
        dense = {name: values.contiguous() for name, values in tensors.items()}
        return dense, {_KEY: json.dumps(header)}

    def clear(self, runs: Sequence[Run] = ()) -> None:
        """Delete checkpoints with all runs settled, and all those of a settled stack."""
        if runs and all(self._store.settled(run) for run in runs):
            part(self._path(runs)).unlink(missing_ok=True)
        for saved in self._all(runs):
            if all(map(self._done, saved.runs.values())):
                saved.path.unlink(missing_ok=True)

    def _done(self, record: str) -> bool:
        try:
            status = read_status(self._store.root / record)
        except RecordError:  # from a newer version, which handles its own checkpoints
            return False
        return status is not None and status.settled

    def _all(self, runs: Sequence[Run]) -> list[SavedCheckpoint]:
        """Return all checkpoints; delete that of ``runs`` if it cannot be read."""
        found, own = [], self._path(runs)
        for path in self._store.checkpoints.glob("*.safetensors"):
            try:
                found.append(SavedCheckpoint.at(path))
            except UNREADABLE as error:
                if path == own:
                    _log.warning(
                        "%s: not a whole checkpoint (%s); starting from scratch", path, error
                    )
                    path.unlink(missing_ok=True)
        return found

    def _fits(self, saved: SavedCheckpoint, runs: Sequence[Run]) -> bool:
        """Whether a checkpoint holds some of ``runs`` and matches the code and device here."""
        if not any(run.hash in saved.runs for run in runs):
            return False
        other = ", ".join(
            f"{name} is {saved.origin.get(name)!r}, here {here!r}"
            for name, here in self._origin.items()
            if saved.origin.get(name) != here
        )
        if other:
            _log.warning("%s: made elsewhere: %s; starting from scratch", saved.path, other)
        return not other

    def _path(self, runs: Sequence[Run]) -> Path:
        name = content_hash(sorted(run.hash for run in runs))[:16]
        return self._store.checkpoints / f"{name}.safetensors"
