"""Show the progress of every suite, failures with their causes, and how to retry them."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gapbench.bench.api.choices import OK
from gapbench.bench.cli import arguments
from gapbench.bench.cli.argument_types import seconds
from gapbench.bench.cli.printing import print_notes, print_rows
from gapbench.bench.core.errors import printable

if TYPE_CHECKING:
    from gapbench.bench.monitor.status import FolderStatus, ResultsFolder, Worker

EXAMPLE = "gapbench status results --watch 10"
ORDER = 70

_MIB = 2**20
_WORKER_HEADINGS = {
    "worker": "worker",
    "now": "now",
    "stacks": "stacks",
    "runs_done": "runs",
    "seconds": "seconds",
    "tokens_per_second": "tokens/s",
    "peak_memory_mib": "MiB",
}
"""Columns of the printed table of workers, short enough for a terminal."""
_TOP_AND_CLEAR = "\x1b[H\x1b[2J"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    arguments.results(parser, positional=True)
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--watch",
        nargs="?",
        type=seconds,
        const=5.0,
        default=None,
        metavar="SECONDS",
        help="refresh at this interval (default: 5) until all runs are done; in a pipe, "
        "print changes",
    )
    form.add_argument(
        "--prometheus", action="store_true", help="print metrics for Prometheus to collect"
    )
    arguments.json(form)


def main(options: argparse.Namespace) -> int:
    """Print counts by suite and status, workers, and every failure with cause and remedy."""
    from gapbench.bench.monitor import prometheus
    from gapbench.bench.monitor.status import ResultsFolder

    folder = ResultsFolder(options.results)
    status = folder.look()
    if options.prometheus:
        print(prometheus.exposition(status), end="")
    elif options.json:
        print(json.dumps(_rows(status)))
    elif options.watch is None:
        _print_tables(status)
    else:
        status = _watched(folder, status, options.watch)
    print_notes(_failures(status))
    return OK


def _watched(folder: "ResultsFolder", status: "FolderStatus", pause_s: float) -> "FolderStatus":
    """Show the status until all runs are done or the user interrupts; return the last status."""
    shown: dict[str, str] = {}
    try:
        while True:
            if sys.stdout.isatty():
                print(_TOP_AND_CLEAR, end="")
                _print_tables(status)
            else:
                now = _lines(status)
                print("".join(f"{now[key]}\n" for key in now if now[key] != shown.get(key)), end="")
                shown = now
            sys.stdout.flush()
            if status.done:
                break
            time.sleep(pause_s)
            status = folder.look()
    except KeyboardInterrupt:
        pass  # the usual way to leave
    return status


def _lines(status: "FolderStatus") -> dict[str, str]:
    """Return a line for each suite, study and worker, by a unique key."""
    lines = {f"suite {name}": f"{name}: {share}" for name, share in status.suites.items()}
    for row in _studies(status):
        left = f"{row['trials']} trials, {row['left']} {row['unit']} left, best {row['best']}"
        lines[f"study {row['study']}"] = f"{row['study']}: {left}"
    for worker in status.workers:
        about = f"{worker.name}: {worker.now}, {worker.runs} runs done"
        lines[f"worker {worker.log} {worker.name}"] = about
    return {key: printable(line) for key, line in lines.items()}


def _print_tables(status: "FolderStatus") -> None:
    workers = [
        {heading: row[name] for name, heading in _WORKER_HEADINGS.items()}
        for row in _workers(status)
    ]
    for rows in (_suites(status), _studies(status), workers):
        print_rows(rows)


def _failures(status: "FolderStatus") -> Iterator[str]:
    for failure in status.failures:
        yield printable(str(failure))
        if failure.retry:
            yield f"  try again: {printable(failure.retry)}"


def _rows(status: "FolderStatus") -> list[dict[str, Any]]:
    failures = [
        {
            "failure": failure.status,
            "cause": failure.cause,
            "retry": failure.retry or None,
            "paths": [str(path) for path in failure.paths],
        }
        for failure in status.failures
    ]
    return [*_suites(status), *_studies(status), *_workers(status), *failures]


def _suites(status: "FolderStatus") -> list[dict[str, Any]]:
    return [{"suite": name, **share.statuses} for name, share in status.suites.items()]


def _studies(status: "FolderStatus") -> list[dict[str, Any]]:
    from gapbench.bench.tuning.study_row import study_row

    return [study_row(summary.study) for summary in status.studies]


def _workers(status: "FolderStatus") -> list[dict[str, Any]]:
    return [_worker(worker) for worker in status.workers]


def _worker(worker: "Worker") -> dict[str, Any]:
    rate, peak = worker.tokens_per_second, worker.peak_memory_bytes
    return {
        "worker": worker.name,
        "log": worker.log,
        "now": worker.now,
        "stacks": worker.stacks,
        "runs_done": worker.runs,
        "seconds": round(worker.seconds, 1),
        "tokens_per_second": None if rate is None else round(rate),
        "peak_memory_mib": None if peak is None else round(peak / _MIB),
    }
