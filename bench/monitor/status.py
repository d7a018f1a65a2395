"""Progress of a results folder: runs by suite, workers, and failures with the way out.

Everything comes from plans, records and log files. `ResultsFolder` may be read again and again
while others work in it; settled records are read once.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from types import UnionType

from gapbench.bench.core.errors import RecordError, StoreError, printable
from gapbench.bench.store import event_log
from gapbench.bench.store.event_log import Event
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.record_io import read_record
from gapbench.bench.store.store import Store
from gapbench.bench.store.suite_plan import PlanRow
from gapbench.bench.store.typed_command import ADVISE, PYTHON, on, typed
from gapbench.bench.tuning.schema import TrialState
from gapbench.bench.tuning.summary import Summary, read_summaries

NO_SUITE = "(no suite)"
"""Stands for the suite of runs that no plan names."""
MISSING, UNREADABLE, LOST, STOPPED = "missing", "unreadable", "lost", "stopped"
_NAMED_AGAIN = {Status.FAILED, Status.OUT_OF_MEMORY}  # tried again twice, then only if named
_HOPELESS = {Status.DIVERGED, Status.PRUNED, Status.SKIPPED}  # would end the same way
_Fields = dict[str, type | UnionType]
_PLACE: _Fields = {"worker": str, "task": str, "backbone": str, "method": str, "runs": int}
_READ: dict[str, _Fields] = {
    "start": {"command": str},
    "end": {"exit_code": int},
    "stack_started": _PLACE,
    "stack_finished": {
        **_PLACE,
        "statuses": dict,
        "seconds": int | float,
        "tokens": int,
        "peak_memory_bytes": int | None,
    },
    "worker_died": {"worker": str},
}
"""The fields that are read of each kind of event."""


@dataclass
class SuiteStatus:
    """The runs of a suite, by status."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    tokens: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items()))


@dataclass(frozen=True)
class Failure:
    """A failure of one run, or of several in the same way.

    Attributes:
        status: status of the runs, or unreadable, lost (their process died) or stopped (a command).
        retry: the command that tries again, "" if that would end the same way.
    """

    status: str
    cause: str
    retry: str
    paths: tuple[Path, ...]

    def __str__(self) -> str:
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"{self.status}: {self.paths[0]}{more}: {self.cause}"


@dataclass
class Worker:
    """One process of a command, according to the log file.

    Attributes:
        now: what it does: the name of its current stack, or "idle", "ended" or "died".
    """

    log: str
    name: str
    now: str = "idle"
    stacks: int = 0
    runs: int = 0
    seconds: float = 0.0
    tokens: int = 0
    peak_memory_bytes: int | None = None
    at: Event | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """Trained tokens divided by all seconds of its stacks, scoring included."""
        return self.tokens / self.seconds if self.seconds else None


@dataclass(frozen=True, repr=False)
class FolderStatus:
    """A results folder at one moment.

    Attributes:
        suites: runs by status, by the name of the suite.
        studies: the searches of `tune`.
        workers: processes that work or have worked here.
        failures: each with its cause and the command that tries again.
        alive: number of commands at work.
    """

    suites: Mapping[str, SuiteStatus]
    studies: Sequence[Summary]
    workers: Sequence[Worker]
    failures: Sequence[Failure]
    alive: int

    def __repr__(self) -> str:
        suites = [f"{name}: {share}" for name, share in self.suites.items()]
        return "\n".join(map(printable, [*suites, *map(str, self.failures)]))

    def _repr_html_(self) -> str:
        import pandas as pd  # imported here: it loads slowly, and the command does without

        counts = {name: share.statuses for name, share in self.suites.items()}
        table = pd.DataFrame.from_dict(counts, orient="index").fillna(0).astype(int)
        told = "".join(f"<li>{escape(printable(str(each)))}</li>" for each in self.failures)
        return f"{table.to_html()}<ul>{told}</ul>" if told else table.to_html()

    @property
    def done(self) -> bool:
        """Whether no command works and no work is left."""
        waiting = {MISSING, Status.INTERRUPTED.value}
        planned = [share for name, share in self.suites.items() if name != NO_SUITE]
        open_runs = any(waiting & share.statuses.keys() for share in planned)
        open_trials = any(TrialState.RUNNING in s.tally.states for s in self.studies)
        return not (self.alive or open_runs or open_trials)


@dataclass(frozen=True)
class _Entry:
    """The needed part of a record; there may be tens of thousands."""

    path: Path
    run_hash: str
    status: str
    cause: str = ""
    seconds: float = 0.0
    tokens: int = 0


class ResultsFolder:
    """A results folder that is watched."""

    def __init__(self, results: Path) -> None:
        self._store = Store(results)
        self._settled: dict[Path, _Entry] = {}

    def look(self) -> FolderStatus:
        """Return the current state.

        Raises:
            StoreError: if nothing has ever run here.
            RecordError: if a plan or a study cannot be read.
        """
        entries = [self._entry(path) for path in self._store.record_paths()]
        plans = self._store.plans()
        by_hash = {entry.run_hash: entry for entry in entries}
        suites: dict[str, SuiteStatus] = defaultdict(SuiteStatus)
        planned = {row.run_hash for row in plans}
        told = [(row.suite, by_hash.get(row.run_hash)) for row in plans]
        strays = [each for each in entries if each.run_hash not in planned]
        told += [(NO_SUITE, each) for each in strays if each.status != UNREADABLE]
        for suite, entry in told:
            share = suites[suite]
            share.statuses[entry.status if entry else MISSING] += 1
            share.seconds += entry.seconds if entry else 0.0
            share.tokens += entry.tokens if entry else 0
        logs = event_log.log_files(self._store)
        alive = [log for log in logs if event_log.is_alive(self._store, log)]
        workers = [w for log in alive or logs[-1:] for w in _workers(log, ended=log not in alive)]
        failures = [*self._of_records(entries, plans), *self._of_logs(logs, alive, plans, by_hash)]
        studies = read_summaries(self._store.root)
        if not (suites or studies or failures):
            raise StoreError(
                f"results folder {self._store.root} holds no plan and no record; run a suite "
                "first, or give another folder"
            )
        return FolderStatus(dict(suites), studies, workers, failures, len(alive))

    def _entry(self, path: Path) -> _Entry:
        if path in self._settled:
            return self._settled[path]
        try:
            record = read_record(path)
        except RecordError as error:
            return _Entry(path, str(path), UNREADABLE, str(error).removeprefix(f"{path}: "))
        entry = _brief(path, record)
        if record.status.settled:
            self._settled[path] = entry
        return entry

    def _of_records(self, entries: list[_Entry], plans: list[PlanRow]) -> Iterator[Failure]:
        commands = {
            self._store.root / row.path: on(
                self._store.root, row.command or typed(["run", row.suite])
            )
            for row in plans
        }
        alike: dict[tuple[str, str, str], list[Path]] = defaultdict(list)
        for entry in entries:
            if entry.status != Status.OK:
                retry = _retry(commands.get(entry.path, ""), entry.status)
                alike[entry.status, entry.cause, retry].append(entry.path)
        for key, paths in alike.items():
            yield Failure(*key, tuple(paths))

    def _of_logs(
        self,
        logs: list[Path],
        alive: list[Path],
        plans: list[PlanRow],
        by_hash: Mapping[str, _Entry],
    ) -> Iterator[Failure]:
        """Yield failures without a record: dead processes, and the error that stopped a command."""
        holes = [row for row in plans if row.run_hash not in by_hash]
        missing = {(row.task, row.backbone, row.method) for row in holes}
        for log in reversed([log for log in logs if log not in alive] if missing else []):
            command, ended = "", None
            told = list(_told(log))
            for event in told:
                command = event["command"] if event["event"] == "start" else command
                ended = event if event["event"] == "end" else ended
            for worker in _replayed(log, told).values() if ended is None else ():
                at = worker.at
                if at and (place := (at["task"], at["backbone"], at["method"])) in missing:
                    missing.remove(place)
                    cause = f"{at['runs']} runs of {_named(at)} were under way when it died"
                    yield Failure(LOST, cause, on(self._store.root, command), (log,))
            if log == logs[-1] and ended and ended.get("stopped") and ended["exit_code"] != 130:
                yield Failure(STOPPED, str(ended["stopped"]), on(self._store.root, command), (log,))


def _brief(path: Path, record: Record) -> _Entry:
    cost = record.cost
    return _Entry(
        path,
        record.run_hash,
        record.status.value,
        "" if record.status == Status.OK else record.cause,
        cost.train_seconds + cost.evaluation_seconds if cost else 0.0,
        cost.train_tokens if cost else 0,
    )


def _retry(command: str, status: str) -> str:
    if status in _HOPELESS or not command:
        return ""
    advising = command.startswith((f"gapbench {ADVISE} ", f"{PYTHON}{ADVISE}("))
    if status not in _NAMED_AGAIN or advising:
        return command
    if command.startswith(PYTHON):
        return f"{command.removesuffix(')')}, retry={str(status)!r})"
    return f"{command} --retry {status}"


def _told(log: Path) -> Iterator[Event]:
    """Yield the events of a log; others may have written it, so malformed lines are skipped."""
    for event in event_log.events(log):
        fields = _READ.get(str(event["event"]), {})
        counts = event["statuses"].values() if isinstance(event.get("statuses"), dict) else ()
        typed = all(isinstance(event.get(name), kind) for name, kind in fields.items())
        if fields and typed and all(isinstance(count, int) for count in counts):
            yield event


def _workers(log: Path, *, ended: bool) -> list[Worker]:
    workers = list(_replayed(log, _told(log)).values())
    for worker in workers:
        if ended and worker.now != "died":
            worker.now, worker.at = "ended" if worker.at is None else "died", None
    return workers


def _replayed(log: Path, told: Iterator[Event] | Sequence[Event]) -> dict[str, Worker]:
    """Return the workers of a command by name, after all events of its log."""
    workers: dict[str, Worker] = {}
    for event in told:
        if "worker" not in event:
            continue
        name = event["worker"]
        worker = workers.setdefault(name, Worker(log.stem, name))
        worker.at, worker.now = None, "idle"
        if event["event"] == "stack_started":
            worker.at, worker.now = event, f"{event['runs']} runs of {_named(event)}"
        elif event["event"] == "worker_died":
            worker.now = "died"
        else:
            worker.stacks += 1
            worker.runs += sum(event["statuses"].values())
            worker.seconds += event["seconds"]
            worker.tokens += event["tokens"]
            peaks = [event["peak_memory_bytes"], worker.peak_memory_bytes]
            worker.peak_memory_bytes = max((p for p in peaks if p is not None), default=None)
    return workers


def _named(event: Event) -> str:
    return f"{event['method']} on {event['task']} with {event['backbone']}"
