"""Seconds and peak memory of `gapbench report` by part, and the sizes of what it writes.

A line has seconds by the clock, seconds of this process on all cores, and peak memory: the resident
set, libraries included. The folder is made first where there is none, which takes some minutes for
10,000 runs.

    python -m tests.benchmarks.report_scale --runs 10000 --folder /tmp/large
"""

import argparse
import pkgutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from gapbench.reports import sections
from gapbench.reports.render import build

PARTS = (
    ("gapbench.reports.render.report", "load"),
    ("gapbench.reports.render.report", "summarise"),
    ("gapbench.reports.document.context", "suite_summaries"),
    ("gapbench.reports.document.context", "verdicts"),
    ("gapbench.reports.render.report", "pairs"),
    ("gapbench.reports.render.report", "read_summaries"),
    ("gapbench.reports.render.report", "tuned"),
    ("gapbench.reports.render.build", "averages"),
    ("gapbench.reports.render.html", "write"),
    ("gapbench.reports.render.pdf", "write"),
    ("gapbench.reports.render.figure_files", "write"),
)
"""What is timed beside the sections: functions by the names under which they are called."""

_CLEAR_PEAK = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class Meter:
    """Prints a line for each call of the functions that it is put around.

    Attributes:
        peak: largest resident set so far, in bytes.
    """

    def __init__(self) -> None:
        self.peak = 0

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, measured."""

        def measured(*arguments: Any, **options: Any) -> Any:
            self.lap()
            started, worked = time.perf_counter(), time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                seconds, work = time.perf_counter() - started, time.process_time() - worked
                memory = self.lap() / 2**20
                print(f"{name:<24} {seconds:8.2f} s {work:8.2f} s {memory:8.0f} MiB", flush=True)

        return measured

    def lap(self) -> int:
        """Return the largest resident set since the last lap, in bytes."""
        lines = _STATUS.read_text(encoding="utf-8").splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
        _CLEAR_PEAK.write_text("5", encoding="utf-8")
        self.peak = max(self.peak, peak)
        return peak


def main() -> None:
    """Print the table."""
    options = _parser().parse_args()
    if not options.folder.exists():
        generator = "tests.benchmarks.report_records"
        wanted = ["--runs", str(options.runs), "--out", str(options.folder)]
        subprocess.run([sys.executable, "-m", generator, *wanted], check=True)
    meter = Meter()
    for module_name, name in PARTS:
        module = import_module(module_name)
        shown = name if name != "write" else module_name.rpartition(".")[2]
        setattr(module, name, meter.around(shown, getattr(module, name)))
    for each in pkgutil.iter_modules(sections.__path__):
        if each.name.startswith("_"):
            continue
        module = import_module(f"{sections.__name__}.{each.name}")
        module.section = meter.around(f"section {each.name}", module.section)
    out = options.folder / "report"
    meter.around("all", build.build)(options.folder, out)
    print(f"peak of all {meter.peak / 2**20:.0f} MiB")
    for path in sorted(path for path in out.iterdir() if path.is_file()):
        print(f"{path.name:<24} {path.stat().st_size / 2**20:8.2f} MiB")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, required=True)
    return parser


if __name__ == "__main__":
    main()
