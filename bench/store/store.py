"""The results folder: write once, atomically, and read back. The only code that knows its layout.

    <root>/runs/<task>/<backbone>/<method>/<cell hash>/seed-<n>.json      one record
    <root>/runs/<task>/<backbone>/<method>/<cell hash>/seed-<n>.parquet   its test predictions
    <root>/runs/<task>/<backbone>/<method>/<cell hash>/seed-<n>.<split>.parquet  those of a split
    <root>/runs/<task>/<backbone>/<method>/<cell hash>/seed-<n>.safetensors  the state it ended in
    <root>/plans/<suite>.json                                             what a suite wants
    <root>/claims/<run hash>.lock                                         who works on what
    <root>/checkpoints/<hash of the runs>.safetensors                     a stack in training
    <root>/logs/<number>-<command>.jsonl                                  what a command did
    <root>/tuning/<study>/                                                a study, with its own runs
    <root>/judgements/<hash>.jsonl                                        what judges say of answers
    <root>/race/                                                          blocks of `advise`

A record is the commit point of a run: predictions are written before it, and both appear by rename,
so a reader never sees half a file. A claim is an operating-system lock, which the kernel releases
when its process dies in any way. Only the holder of a run's claim may write its record. Nothing is
ordered or expires by a clock. `docs/reliability.md` says what file systems must provide. The
content of the files is defined in `bench.store.record_io`, `bench.store.suite_plan`,
`bench.training.checkpoint` and `bench.store.event_log`.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import RecordError, SettledError, StoreError
from gapbench.bench.core.files import (
    explained,
    json_text,
    lock,
    new_file,
    path_part,
    refuse_outside,
    replacing,
)
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.record_io import (
    TEST,
    checkpoint_path,
    predictions_path,
    read_predictions,
    read_record,
    read_status,
)
from gapbench.bench.store.suite_plan import REFERENCE, PlanRow, lay_over, read_plan

Predictions = Mapping[str, pa.Table]
"""Predictions of one run by split: example_id and the columns of `TaskKind.predictions`."""

STUDIES = "tuning"
"""Folder of the studies, one folder each."""
RACE = "race"
"""Folder of the race of `advise`, a results folder of its own."""

JUDGEMENTS = "judgements"
"""Folder of what judges say of answers, see `bench.store.judgements`."""

_FOLDERS = ("runs", "plans", "claims", "checkpoints", "logs")


class Store:
    """One results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open_for_writing(self) -> None:
        """Create the folder where needed and make sure that it can be written.

        Raises:
            StoreError: if it cannot.
        """
        for name in _FOLDERS:
            refuse_outside(self.root, self.root / name)
        try:
            for name in _FOLDERS:
                (self.root / name).mkdir(parents=True, exist_ok=True)
            probe = self.root / "claims" / f".probe-{os.getpid()}"
            with lock(probe):
                probe.unlink()
        except OSError as error:
            raise StoreError(
                f"results folder {self.root} cannot be written: {error.strerror}; give another one "
                "with --results DIR"
            ) from None

    @property
    def checkpoints(self) -> Path:
        """The folder of stacks in training."""
        return self.root / "checkpoints"

    @property
    def logs(self) -> Path:
        """The folder of the log files, see `bench.store.event_log`."""
        return self.root / "logs"

    def lock_path(self, name: str) -> Path:
        """Return the path of a named lock."""
        return self.root / "claims" / f"{path_part(name)}.lock"

    def record_path(self, run: Run) -> Path:
        """Return the path of the record of ``run``, whether or not it exists."""
        cell = run.cell
        parts = (cell.task.name, cell.backbone.name, cell.method, cell.hash)
        return self.root.joinpath("runs", *map(path_part, parts), _file_name(run))

    def place(self, run: Run) -> str:
        """Return `record_path` relative to the results folder, the same on every computer."""
        return self.record_path(run).relative_to(self.root).as_posix()

    def find(self, run: Run) -> Record | None:
        """Return the readable record of ``run``, None if there is none."""
        try:
            return read_record(self.record_path(run))
        except RecordError:
            return None

    def status(self, run: Run) -> Status | None:
        """Return how a stored run ended, None if there is no complete record of this version.

        A record with truncated predictions is incomplete. The call is cheap, since planning asks
        for every run: a file is parsed only if it does not match the form that `write` leaves.

        Raises:
            RecordError: if a newer version wrote its record, which must not be replaced.
        """
        return read_status(self.record_path(run))

    def settled(self, run: Run) -> bool:
        """Whether ``run`` needs no further attempt.

        Raises:
            RecordError: as `status` does.
        """
        status = self.status(run)
        return status is not None and status.settled

    def unsettled(self, runs: Sequence[Run]) -> list[Run]:
        """Return those of ``runs`` that are not settled; each folder is listed once.

        Raises:
            RecordError: as `settled` does.
        """
        settled = {run.hash for run in self.recorded(runs) if self.settled(run)}
        return [run for run in runs if run.hash not in settled]

    def recorded(self, runs: Sequence[Run]) -> list[Run]:
        """Return those of ``runs`` that have a record, readable or not."""
        present: dict[str, set[str]] = {}
        for run in runs:
            if run.cell.hash not in present:
                folder = self.record_path(run).parent
                present[run.cell.hash] = (
                    {path.name for path in folder.iterdir()} if folder.exists() else set()
                )
        return [run for run in runs if _file_name(run) in present[run.cell.hash]]

    def samples(self, count: int) -> Iterator[Record | RecordError]:
        """Yield at most ``count`` records of each task, backbone and method, as `records` does."""
        for folder in sorted((self.root / "runs").glob("*/*/*")):
            yield from _readable(islice(folder.glob("*/seed-*.json"), count))

    def record_paths(self) -> list[Path]:
        """Return the files of all records, readable or not."""
        return sorted((self.root / "runs").glob("*/*/*/*/seed-*.json"))

    def records(self) -> Iterator[Record | RecordError]:
        """Yield every record, or the error that says why it cannot be read."""
        return _readable(self.record_paths())

    def predictions(self, run: Run, split: str = TEST) -> pa.Table | None:
        """Return a run's predictions of a split, None if they are not stored.

        Raises:
            RecordError: if the file is damaged.
        """
        return read_predictions(predictions_path(self.record_path(run), split))

    def write(
        self,
        record: Record,
        predictions: Predictions = MappingProxyType({}),
        ended: bytes | None = None,
    ) -> None:
        """Store the predictions of a run, the state it ended in if it is given, then its record.

        The caller holds the run's claim, so nobody else uses the temporary names, and files left by
        a killed process are overwritten. A settled record is never replaced.

        Raises:
            SettledError: if a settled record exists.
            StoreError: if the files cannot be written; nothing is left of them then.
        """
        path = self.record_path(record.run)
        if not record.status.settled:
            record = record.after(self.find(record.run))
        content = json_text(record.model_dump(mode="json"))
        refuse_outside(self.root, path.parent)
        with explained(path), ExitStack() as replaced:  # the file begun last is renamed first
            path.parent.mkdir(parents=True, exist_ok=True)
            own = replaced.enter_context(replacing(path, locked=True))
            for split, table in predictions.items():
                beside = replacing(predictions_path(path, split), locked=True)
                with new_file(replaced.enter_context(beside)) as file:
                    # Reports read every run: this is read three times as fast as with zstd and a
                    # dictionary of numbers that hardly repeat, and about as large (texts: a third
                    # larger).
                    pq.write_table(table, file, compression="lz4", use_dictionary=False)
            if ended is not None:
                beside = replacing(checkpoint_path(path), locked=True)
                with new_file(replaced.enter_context(beside)) as file:
                    file.write(ended)
            with new_file(own) as file:
                file.write(content.encode())
            # Only now: over a network, it may take until a file is made in a folder for those that
            # others have put there to show.
            if self.settled(record.run):
                raise SettledError(
                    f"{path} holds a finished run already; records are never rewritten"
                )
            # A kill before the last of the files is renamed must not leave a damaged run's old
            # record beside new predictions: the two would pass for a finished run.
            path.unlink(missing_ok=True)
            checkpoint_path(path).unlink(missing_ok=True)  # its end is not that of this run

    @contextmanager
    def claim(self, runs: Sequence[Run]) -> Iterator[list[Run]]:
        """Hold the claims of those ``runs`` that are neither finished nor claimed elsewhere.

        Raises:
            StoreError: if the file system refuses a lock.
        """
        locks: list[tuple[Run, FileLock]] = []
        try:
            for run in runs:
                claimed = lock(self.lock_path(run.hash))
                try:
                    with explained(Path(claimed.lock_file)):
                        claimed.acquire(timeout=0)
                except Timeout:
                    continue
                locks.append((run, claimed))
            yield [run for run, _ in locks if not self.settled(run)]
        finally:
            for run, claimed in locks:
                # A finished run is never claimed again, so its lock file can be deleted.
                with suppress(RecordError):  # one of a newer version keeps no other claim
                    if self.settled(run):
                        Path(claimed.lock_file).unlink(missing_ok=True)
                claimed.release()

    def write_plan(
        self,
        suite: str,
        wanted: Sequence[tuple[Run, str]],
        command: str = "",
        reference: str = REFERENCE,
    ) -> None:
        """Store the runs of a suite, as (run, variant), so that a report can show missing ones.

        The plan is merged into the suite's stored plan: running a part of a suite forgets nothing,
        and a changed setting replaces the row with the same labels.

        Args:
            suite: its name.
            wanted: its runs and their variants.
            command: the command line that asked for them.
            reference: what the suite compares its methods with first.

        Raises:
            StoreError: if it cannot be written.
        """
        rows = [
            PlanRow.of(suite, run, variant, self.place(run), command, reference)
            for run, variant in wanted
        ]
        path = self.root / "plans" / f"{path_part(suite)}.json"
        with explained(path), lock(self.lock_path(f"plan-{suite}")):
            lay_over(suite, path, rows)

    def plans(self) -> list[PlanRow]:
        """Return the plans of all suites."""
        paths = sorted((self.root / "plans").glob("*.json"))
        return [row for path in paths for row in read_plan(path)]


def store_at(root: Path) -> Store:
    """Open the results folder at ``root`` for writing."""
    store = Store(root)
    store.open_for_writing()
    return store


def _readable(paths: Iterable[Path]) -> Iterator[Record | RecordError]:
    for path in paths:
        try:
            yield read_record(path)
        except RecordError as error:
            yield error


def _file_name(run: Run) -> str:
    return f"seed-{run.seed}.json"
