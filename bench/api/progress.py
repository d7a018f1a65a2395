"""Progress on stderr: lines, progress bars and times in words."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm.auto import tqdm

from gapbench.bench.metrics.base import metric_in_words
from gapbench.bench.store.record import Record


def number_of(count: int, noun: str) -> str:
    """Return a number of things in words: "1 run", "2 runs"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def say(line: str, *, progress: bool = True) -> None:
    """Print a line to stderr if progress is wanted."""
    if progress:
        print(line, file=sys.stderr)


def ended_rows(records: Sequence[Record], names: Mapping[str, str]) -> list[str]:
    """Return a line about the runs of each cell: scores by seed, gap, time; or the failure.

    Args:
        records: of runs that have ended.
        names: of their rows in tables, by run hash.
    """
    cells: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        cells.setdefault(f"{record.cell_hash} {record.status}", []).append(record)
    return [_ended_row(runs, names[runs[0].run_hash]) for runs in cells.values()]


def _ended_row(runs: Sequence[Record], row: str) -> str:
    first = runs[0]
    seeds = f"seed{'s' * (len(runs) > 1)} {' '.join(str(run.seed) for run in runs)}"
    name = f"{first.cell.task.name} {row}, {seeds}:"
    if first.cost is None or not first.splits:
        return f"{name} {first.status}: {first.cause}"
    split = "test" if "test" in first.splits else "validation"  # a search keeps test sealed
    scores = " ".join(_number(run.score(split)) for run in runs)
    gaps = [run.generalization_gap for run in runs if run.generalization_gap is not None]
    gap = f", gap {_number(sum(gaps) / len(gaps))}" if gaps else ""
    costs = [run.cost.train_seconds + run.cost.evaluation_seconds for run in runs if run.cost]
    each = f", {span(sum(costs) / len(costs))} a run"
    return f"{name} {metric_in_words(first.cell.task.metrics[0])} {scores}{gap}{each}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def span(seconds: float) -> str:
    """Return a time in the two largest of its units."""
    parts: list[str] = []
    rest = max(1, round(seconds))
    for name, each in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        amount, rest = divmod(rest, each)
        if amount or parts:
            parts.append(f"{amount} {name}")
    return " ".join(parts[:2])


def progress_bar(total: int, unit: str, *, progress: bool = True) -> Any:
    """Return a progress bar with an estimate of the time left."""
    shape = f"{{l_bar}}{{bar}}| {{n:.1f}}/{{total}}{unit}, {{elapsed}} gone, {{remaining}} left"
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    pause = 0.5 if watched else 30.0  # seconds between lines; a log needs few
    # smoothing=0: the estimate is the average so far, since single stacks differ much in length.
    return tqdm(
        total=total,
        bar_format=shape + "{postfix}",
        file=sys.stderr,
        mininterval=pause,
        smoothing=0,
        disable=not progress,
    )


def tracked(items: list[Any]) -> Any:
    """Iterate over metrics, and show progress if they take more than a second."""
    return tqdm(items, desc="metrics", file=sys.stderr, delay=1.0, leave=False)
