"""The event log of one command: a file of JSON lines in the results folder.

    start            command, versions, code_hash, host, pid
    stack_started    worker, task, backbone, method, runs
    stack_finished   the same, and statuses, seconds, tokens, tokens_per_second, peak_memory_bytes;
                     causes of failures; stopped, if an error ended it
    worker_died      worker, cause
    end              exit_code, seconds, stacks, statuses, tokens; stopped, if an error ended it

There are two lines per stack and none per step. Lines are in the order of events; `at` is the clock
of the computer, for people. Files are numbered, and only the last hundred are kept. Environment
variables are never written, and passwords of URLs are left out.
"""

import json
import os
import platform
import re
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from filelock import Timeout

from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import BenchError
from gapbench.bench.core.files import lock
from gapbench.bench.core.safe_parsing import parse_json
from gapbench.bench.store import provenance
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import Store
from gapbench.bench.store.typed_command import typed

KEPT = 100  # log files

# As `bench.cli.main` ends with; the first that fits counts.
_CODES = {BrokenPipeError: 0, BenchError: 2, OSError: 2, KeyboardInterrupt: 130}
_NAME = re.compile(r"[0-9]+-[a-z]+\.jsonl")  # of the log file of a command
# Not through a link that somebody has planted.
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)

Event = dict[str, Any]


class EventLogger(ABC):
    """Receives the events of a command."""

    @abstractmethod
    def write(self, event: Event) -> None:
        """Keep one event."""

    def tell(self, event: str, **fields: Any) -> None:
        """Keep an event of now."""
        now = provenance.now().isoformat(timespec="seconds")
        self.write({"event": event, "at": now, **fields})

    @contextmanager
    def stack(self, runs: Sequence[Run]) -> Iterator[list[Record]]:
        """Log the start of a stack and, at its end, the records that were added to the list."""
        cell = runs[0].cell
        about = {
            "worker": f"{platform.node()}:{os.getpid()}",
            "task": cell.task.name,
            "backbone": cell.backbone.name,
            "method": cell.method,
            "runs": len(runs),
        }
        self.tell("stack_started", **about)
        began, made, stopped = time.monotonic(), list[Record](), None
        try:
            yield made
        except BaseException as error:
            stopped = _line(error)
            raise
        finally:
            seconds = round(time.monotonic() - began, 3)
            more = {"stopped": stopped} if stopped else {}
            self.tell("stack_finished", **about, seconds=seconds, **_figures(made), **more)

    def died(self, pid: int | None, cause: str) -> None:
        """Log that a worker process of this computer died."""
        self.tell("worker_died", worker=f"{platform.node()}:{pid}", cause=cause)


@dataclass(frozen=True)
class EventLog(EventLogger):
    """The log file of one command, written by every process that works for it.

    Processes of one computer append to one file, and the system keeps lines whole. A network file
    system does not, so a process on another computer writes its own file beside it.
    """

    path: Path
    host: str

    def write(self, event: Event) -> None:
        """Append one event; if the disk is full, work continues without it."""
        here = platform.node()
        path = self.path if here == self.host else self.path.with_suffix(f".{here}.jsonl")
        line = json.dumps(event, allow_nan=False).encode() + b"\n"
        # A log is not worth a run.
        with suppress(OSError), os.fdopen(os.open(path, _APPENDING, 0o666), "ab", 0) as file:
            file.write(line)


@dataclass(frozen=True)
class InMemoryLog(EventLogger):
    """Events in memory, for a process without the results folder."""

    told: list[Event] = field(default_factory=list)

    def write(self, event: Event) -> None:
        """Add one event."""
        self.told.append(event)


def _figures(records: Sequence[Record]) -> Event:
    """Return the totals over the records of a stack."""
    costs = [record.cost for record in records if record.cost is not None]
    tokens = sum(cost.train_tokens for cost in costs)
    seconds = sum(c.train_tokens / c.tokens_per_second for c in costs if c.tokens_per_second)
    peaks = [cost.peak_memory_bytes for cost in costs if cost.peak_memory_bytes is not None]
    causes = [r.cause for r in records if r.status not in {Status.OK, Status.SKIPPED}]
    return {
        "statuses": dict(Counter(record.status.value for record in records)),
        "tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
        "peak_memory_bytes": max(peaks, default=None),
        **({"causes": list(dict.fromkeys(causes))} if causes else {}),
    }


def recorded(
    store: Store, command: str, words: Sequence[str] | str, work: Callable[[EventLog], int]
) -> int:
    """Do the work of a command with a log file, and return its exit code.

    Args:
        store: a results folder that is open for writing.
        command: its name.
        words: the command line after the program's name, or a call of Python as text.
        work: what to do.
    """
    log = EventLog(_new_file(store, command).resolve(), platform.node())
    # A command is alive as long as its lock is held, whatever its last line says.
    with lock(alive_path(store, log.path)):
        began = time.monotonic()
        about = {"host": log.host, "pid": os.getpid(), "code_hash": provenance.code_hash()}
        log.tell("start", command=typed(words), versions=provenance.versions(), **about)
        code, stopped = 1, dict[str, str]()
        try:
            code = work(log)
        except BaseException as error:
            code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), 1)
            stopped = {"stopped": _line(error)}
            raise
        finally:
            total = _totals(events(log.path))
            seconds = round(time.monotonic() - began, 3)
            log.tell("end", exit_code=code, seconds=seconds, **total, **stopped)
            alive_path(store, log.path).unlink(missing_ok=True)
    return code


def alive_path(store: Store, log: Path) -> Path:
    """Return the lock file held by the command that writes a log file."""
    return store.lock_path(f"log-{log.stem}")


def is_alive(store: Store, log: Path) -> bool:
    """Whether the command that writes a log file still runs, on this computer or another."""
    path = alive_path(store, log)
    if not path.exists():
        return False
    try:
        with lock(path).acquire(timeout=0):
            return False
    except (Timeout, OSError):
        return True


def log_files(store: Store) -> list[Path]:
    """Return the log files of all commands, oldest first."""
    return sorted(path for path in store.logs.glob("*.jsonl") if _NAME.fullmatch(path.name))


def events(log: Path) -> Iterator[Event]:
    """Yield the events of a command; truncated lines are skipped."""
    for path in (log, *sorted(log.parent.glob(f"{log.stem}.*.jsonl"))):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                event = parse_json(line)
            except ValueError:
                continue
            if isinstance(event, Mapping) and "event" in event:
                yield dict(event)


def _totals(told: Iterator[Event]) -> Event:
    statuses: Counter[str] = Counter()
    stacks = tokens = 0
    for event in told:
        if event["event"] == "stack_finished":
            statuses.update(event["statuses"])
            stacks, tokens = stacks + 1, tokens + event["tokens"]
    return {"statuses": dict(statuses), "stacks": stacks, "tokens": tokens}


def _new_file(store: Store, command: str) -> Path:
    """Make the next log file; remove the oldest ones, but none of a running command."""
    old = log_files(store)
    for path in old[: max(0, len(old) - KEPT + 1)]:
        if not is_alive(store, path):
            for part in (path, *path.parent.glob(f"{path.stem}.*.jsonl")):
                part.unlink(missing_ok=True)
            alive_path(store, path).unlink(missing_ok=True)
    first = int(old[-1].name.partition("-")[0]) + 1 if old else 1
    for number in count(first):
        path = store.logs / f"{number:06}-{command}.jsonl"
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue  # another command was faster
        except OSError:
            pass  # the disk is full: the first record will say so
        return path
    raise AssertionError


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
