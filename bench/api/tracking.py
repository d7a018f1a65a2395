"""Sending finished runs to a tracker, as they end or from a results folder."""

import logging
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path

from gapbench.bench import tracking
from gapbench.bench.api.choices import one_of
from gapbench.bench.api.progress import progress_bar
from gapbench.bench.core.errors import StoreError, TrackerError
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import STUDIES, Store
from gapbench.bench.store.suite_plan import PlanRow
from gapbench.bench.tracking.base import tracked

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tracked:
    """Result of sending a results folder to a tracker.

    Attributes:
        to: name of the tracker.
        sent: number of runs sent now.
        before: number of runs that the tracker had already.
    """

    to: str
    sent: int
    before: int

    def __repr__(self) -> str:
        return f"{self.sent} runs sent to {self.to}; it had {self.before} already"


class Tracker:
    """A tracker for the runs of one results folder.

    Attributes:
        name: one of `bench.tracking.names`.
    """

    def __init__(self, name: str, results: Path) -> None:
        """Load the tracker's package.

        Raises:
            ConfigError: if there is no such tracker, or its package is not installed.
        """
        self.name = one_of("tracker", name, tracking.names())
        self._store = Store(results)
        self._send = tracking.find(name)
        self._failed = False

    def send(self, store: Store, record: Record, study: str = "") -> bool | None:
        """Send a run if it is finished; return whether it was new to the tracker.

        Args:
            store: folder of the record: the results folder, or that of a study's trials.
            record: its record.
            study: name of the study, if it is a trial.

        Returns:
            None if there is nothing to send, as of a run that was skipped or may be tried again.

        Raises:
            TrackerError: if the tracker fails.
        """
        try:
            rows = [] if study else self._rows.get(record.run_hash, [])
            run = tracked(store, record, rows, study)
            with redirect_stdout(StringIO()):  # trackers chat, and ours is for results
                return None if run is None else self._send(run, self._store.root)
        # Anything may go wrong in a library that reaches a server, and nothing may end the runs.
        except Exception as error:
            raise TrackerError(
                f"tracker {self.name}: run {record.run_hash}: {type(error).__name__}: {error}"
            ) from error

    def try_to_send(self, store: Store, records: Iterable[Record], study: str = "") -> None:
        """Send runs; a failure costs a warning, and ends the sending of this call."""
        try:
            for record in records:
                if not self._failed:
                    self.send(store, record, study)
        except TrackerError as error:
            self._failed = True
            _log.warning(
                "%s; work goes on without it; send the rest with: gapbench track %s --to %s",
                *(error, shlex.quote(str(self._store.root)), self.name),
            )

    def try_to_send_trials(self, studies: Iterable[str]) -> None:
        """Send the trials of studies by name, as `try_to_send` does."""
        for study in studies:
            store = Store(self._store.root / STUDIES / study)
            self.try_to_send(store, _readable(store), study)

    @cached_property
    def _rows(self) -> dict[str, list[PlanRow]]:
        """The rows of plans by run hash, read when the first run has ended."""
        rows: dict[str, list[PlanRow]] = {}
        for row in self._store.plans():
            rows.setdefault(row.run_hash, []).append(row)
        return rows


def track(results: Path, to: str, *, progress: bool) -> Tracked:
    """Send the finished runs of a results folder; see `bench.api.stored.track`."""
    tracker, root = Tracker(to, results), Store(results)
    studies = [(Store(path), path.name) for path in sorted(results.glob(f"{STUDIES}/*/"))]
    folders = [(root, ""), *studies]
    count = sum(len(store.record_paths()) for store, _ in folders)
    if not count:
        raise StoreError(f"results folder {results} holds no record; run a suite first")
    answers = Counter[bool | None]()
    with progress_bar(count, " runs", progress=progress) as bar:
        for store, study in folders:
            for record in _readable(store):
                answers[tracker.send(store, record, study)] += 1
                bar.update()
    return Tracked(to, answers[True], answers[False])


def _readable(store: Store) -> Iterator[Record]:
    return (record for record in store.records() if isinstance(record, Record))
