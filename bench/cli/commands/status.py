"""The command status: how far a results folder is, once, again and again, or for Prometheus."""

import argparse
import json
import sys
import time
from typing import Any

from gapbench.bench.cli.commands.printing import print_rows
from gapbench.bench.cli.main import EXIT_OK
from gapbench.bench.core.errors import StoreError, printable
from gapbench.bench.monitor import prometheus
from gapbench.bench.monitor.status import FolderStatus, ResultsFolder, SuiteStatus, Worker
from gapbench.bench.tuning import selected

_MIB = 2**20
_TOP_AND_CLEAR = "\x1b[H\x1b[2J"


def status_command(options: argparse.Namespace) -> int:
    """Print counts by suite and status, workers, and every failure with cause and way out."""
    folder = ResultsFolder(options.results)
    status = folder.look()
    if status.empty:
        raise StoreError(
            f"results folder {options.results} holds no plan and no record; run a suite first, or "
            "give another folder"
        )
    if options.prometheus:
        print(prometheus.exposition(status), end="")
    elif options.json:
        print(json.dumps(_rows(status)))
    elif options.watch is None:
        _print_tables(status)
    else:
        _watch(folder, status, options.watch)
        return EXIT_OK
    _print_failures(status)
    return EXIT_OK


def _watch(folder: ResultsFolder, status: FolderStatus, pause_s: float) -> None:
    """Show the folder until all is done or the user has seen enough."""
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
        pass  # that is how one leaves it
    _print_failures(status)


def _lines(status: FolderStatus) -> dict[str, str]:
    """Return a line for each suite, study and worker, by a key of its own."""
    lines = {f"suite {name}": f"{name}: {_counted(s)}" for name, s in status.suites.items()}
    for summary in status.studies:
        row = selected.table(summary.study)
        left = f"{row['trials']} trials, {row['left']} {row['unit']} left, best {row['best']}"
        lines[f"study {row['study']}"] = f"{row['study']}: {left}"
    for worker in status.workers:
        about = f"{worker.name}: {worker.now}, {worker.runs} runs done"
        lines[f"worker {worker.log} {worker.name}"] = about
    return {key: printable(line) for key, line in lines.items()}


def _counted(share: SuiteStatus) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(share.statuses.items()))


def _print_tables(status: FolderStatus) -> None:
    for rows in (_suites(status), _studies(status), _workers(status)):
        print_rows(rows, as_json=False)


def _print_failures(status: FolderStatus) -> None:
    for failure in status.failures:
        print(printable(str(failure)), file=sys.stderr)
        if failure.retry:
            print(f"  try again: {printable(failure.retry)}", file=sys.stderr)


def _rows(status: FolderStatus) -> list[dict[str, Any]]:
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


def _suites(status: FolderStatus) -> list[dict[str, Any]]:
    return [{"suite": name, **share.statuses} for name, share in status.suites.items()]


def _studies(status: FolderStatus) -> list[dict[str, Any]]:
    return [selected.table(summary.study) for summary in status.studies]


def _workers(status: FolderStatus) -> list[dict[str, Any]]:
    return [_worker(worker) for worker in status.workers]


def _worker(worker: Worker) -> dict[str, Any]:
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
