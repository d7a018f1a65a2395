"""Two methods task by task: how they differ, how surely, and what could have been seen.

The tests of all tasks are one family, which Holm's correction holds to one error rate.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gapbench.bench.core.errors import ConfigError, StoreError
from gapbench.bench.store.store import Store
from gapbench.reports.results.items import samples
from gapbench.reports.results.load import Results, load
from gapbench.reports.results.selection import Selection
from gapbench.reports.stats.comparison import Comparison
from gapbench.reports.stats.estimates import Sample
from gapbench.reports.stats.pairwise import task_by_task
from gapbench.reports.tables.leaderboard import BLOCK, PAPER, rows, summarise
from gapbench.reports.tables.ranking import scored
from gapbench.reports.tables.terminal import label, place


@dataclass(frozen=True)
class Difference:
    """Two methods on one task.

    Attributes:
        suite: in which both are planned, "" if in none.
        task: its name.
        backbone: likewise.
        start: name of the adapter that runs start from, "" if none.
        metric: of the scores.
        higher_is_better: its direction.
        first: mean score over the common seeds; None where there are none.
        second: likewise.
        n_items: test items that are part of the comparison, 0 where only seeds are.
        comparison: first minus second, corrected for the tests on all tasks.
    """

    suite: str
    task: str
    backbone: str
    start: str
    metric: str
    higher_is_better: bool
    first: float | None
    second: float | None
    n_items: int
    comparison: Comparison

    @property
    def place(self) -> str:
        """Task, backbone and start in words."""
        return place(self.task, self.backbone, self.start)

    @property
    def better(self) -> str:
        """Which one is significantly better, "first" or "second"; "" if neither."""
        mean = self.comparison.difference.mean
        if not self.comparison.apart or mean is None:
            return ""
        return "first" if (mean > 0) == self.higher_is_better else "second"


@dataclass(frozen=True)
class Compared:
    """Two methods on all tasks that both have.

    Attributes:
        first: name of a method and, where it has one, its variant.
        second: likewise.
        differences: one a task, at least one.
    """

    first: str
    second: str
    differences: tuple[Difference, ...]


def compare(folder: Path, first: str, second: str, selection: Selection) -> Compared:
    """Compare two methods of a results folder.

    Args:
        folder: the results folder.
        first: a method, or "method / variant".
        second: another one.
        selection: tasks and backbones to compare them on.

    Raises:
        ConfigError: if both are the same, or a name fits several variants.
        StoreError: if the folder does not have them, or they have no task or no seed in common.
        RecordError: if a plan in the folder cannot be read.
    """
    first, second = _name(first), _name(second)
    methods = tuple(name.partition(" / ")[0] for name in (first, second))
    wanted = Selection(selection.task, selection.backbone, tuple(dict.fromkeys(methods)))
    results = wanted.of(load(Store(folder)))
    summary = summarise(results)
    first, ours = _cells(summary, first)
    second, theirs = _cells(summary, second)
    if first == second:
        raise ConfigError(f"{first!r} is to be compared with itself; name two methods or variants")
    pairs = list(_pairs(ours, theirs))
    if not pairs:
        raise StoreError(
            f"{first!r} and {second!r} have no task in common in results folder {folder}: "
            f"{first!r} has {_places(ours)}; {second!r} has {_places(theirs)}; run both on one"
        )
    differences = _differences(results, pairs)
    if not any(each.comparison.difference.n for each in differences):
        raise StoreError(
            f"{first!r} and {second!r} have no seed in common in results folder {folder} on which "
            "both have a score; run them on the same seeds, or see gapbench status for what failed"
        )
    return Compared(first, second, differences)


def _name(given: str) -> str:
    """Return a name as tables show it, without a mark of the protocol."""
    method, _, variant = given.removesuffix(PAPER).partition("/")
    return label(method.strip(), variant.strip())


def _cells(summary: pd.DataFrame, name: str) -> tuple[str, list[Any]]:
    """Return the rows of a method, whose only variant goes without saying, and its whole name.

    Raises:
        ConfigError: if it has no such variant, or several and none of them is the default.
    """
    method = name.partition(" / ")[0]
    known: dict[str, list[Any]] = {}
    for row in rows(summary[summary["method"] == method]):
        known.setdefault(_name(label(row.method, row.variant)), []).append(row)
    if name == method and len(known) == 1:
        name = next(iter(known))
    if name not in known:
        raise ConfigError(f"there is no {name!r} here; name one of {', '.join(map(repr, known))}")
    return name, known[name]


def _pairs(ours: list[Any], theirs: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the rows that may be compared; those that several suites share, once."""
    seen = set()
    for one, other in product(ours, theirs):
        runs = one.config_hash, other.config_hash
        if runs not in seen and all(getattr(one, key) == getattr(other, key) for key in BLOCK):
            seen.add(runs)
            yield one, other


def _differences(results: Results, pairs: Sequence[tuple[Any, Any]]) -> tuple[Difference, ...]:
    """Compare the rows of each task, and correct for the number of tasks."""
    found = [samples(results, {0: scored(one), 1: scored(other)}) for one, other in pairs]
    both = [(each[0], each[1]) for each in found]
    return tuple(
        _difference(one, pair, comparison)
        for (one, _), pair, comparison in zip(pairs, both, task_by_task(both), strict=True)
    )


def _difference(row: Any, both: tuple[Sample, Sample], comparison: Comparison) -> Difference:
    common = sorted(both[0].scores.keys() & both[1].scores.keys())
    first, second = (
        float(np.mean([sample.scores[seed] for seed in common])) if common else None
        for sample in both
    )
    return Difference(
        suite=row.suite,
        task=row.task,
        backbone=row.backbone,
        start=row.start,
        metric=row.metric,
        higher_is_better=bool(row.higher_is_better),
        first=first,
        second=second,
        n_items=both[0].n_items if comparison.items else 0,
        comparison=comparison,
    )


def _places(cells: list[Any]) -> str:
    return ", ".join(dict.fromkeys(place(row.task, row.backbone, row.start) for row in cells))
