"""Two rows compared on everything that both have, as the verdicts of their folder compare them.

A folder is compared as a whole, whichever two rows are asked for, so that asking often does not
make claims by chance.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from gapbench.bench.core.errors import ConfigError, StoreError
from gapbench.bench.metrics.base import Metric
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.results.selection import Selection
from gapbench.reports.stats.estimates import estimate
from gapbench.reports.tables.leaderboard import BOARD, PAPER
from gapbench.reports.tables.outcomes import OUTCOMES, Outcome
from gapbench.reports.tables.second_tests import Tested, tested
from gapbench.reports.tables.settings import told_apart
from gapbench.reports.tables.standing import REFERENCE
from gapbench.reports.tables.summary import summarise
from gapbench.reports.tables.terminal import label, place
from gapbench.reports.verdict.build import verdicts
from gapbench.reports.verdict.contrasts import contrast
from gapbench.reports.verdict.levels import mean_level
from gapbench.reports.verdict.model import Contrast, Entry, Verdict, uncompared


@dataclass(frozen=True)
class AlsoTested:
    """Two rows on a second test of their task.

    Attributes:
        test: its name.
        metric: of its scores.
        contrast: first minus second, in score.
    """

    test: str
    metric: Metric
    contrast: Contrast


@dataclass(frozen=True)
class Difference:
    """Two rows on one task, or on all tasks of a suite.

    Attributes:
        verdict: on that task, with all its rows.
        contrasts: first minus second, by outcome.
        second_tests: likewise on each second test of the task; none over several tasks.
    """

    verdict: Verdict
    contrasts: Mapping[Outcome, Contrast]
    second_tests: tuple[AlsoTested, ...] = ()

    @property
    def place(self) -> str:
        """Task, backbone and start in words."""
        count = self.verdict.n_tasks
        task = self.verdict.task or ("both tasks" if count == 2 else f"all {count} tasks")
        if not self.verdict.backbone:
            return task
        return place(task, self.verdict.backbone, self.verdict.start)


@dataclass(frozen=True)
class Compared:
    """Two rows on all that both have.

    Attributes:
        first: name of a method and, where it has one, its variant.
        second: likewise.
        differences: means over the tasks of suites first, then task by task; at least one.
    """

    first: str
    second: str
    differences: tuple[Difference, ...]


def compare(
    results: LoadedResults,
    first: str,
    second: str,
    selection: Selection,
    reference: str = REFERENCE,
    matters: float | None = None,
) -> Compared:
    """Compare two rows of a results folder.

    Args:
        results: the whole folder.
        first: a method, or "method / variant".
        second: another one.
        selection: tasks and backbones to show.
        reference: name of the row that others are compared with first; "" for the suite's.
        matters: least difference in score that matters; None for a default by metric.

    Raises:
        ConfigError: if both are the same, or a name fits several variants.
        StoreError: if the folder does not have them, or they have no task or no seed in common.
    """
    selection.of(results)  # that its names are known
    summary = summarise(results, reference)
    found = verdicts(results, summary, matters)
    shown = [one for each in found for one in each.everything if _wanted(one, selection)]
    ours, theirs = (_resolved(results, shown, name) for name in (first, second))
    if ours == theirs:
        raise ConfigError(f"{ours!r} is to be compared with itself; name two methods or variants")
    differences = tuple(
        Difference(
            each,
            {outcome: each.contrast(ours, theirs, outcome) for outcome in OUTCOMES},
            tuple(_also_tested(results, summary, each, (ours, theirs))),
        )
        for each in shown
        if {ours, theirs} <= {entry.name for entry in each.entries}
    )
    if not differences:
        raise StoreError(_nothing_shared(results, shown, ours, theirs))
    if not any(each.contrasts["score"].n_seeds for each in differences):
        raise StoreError(
            f"{ours!r} and {theirs!r} have no seed in common in results folder "
            f"{results.store.root} on which both have a score; run them on the same seeds, or see "
            "gapbench status for what failed"
        )
    return Compared(ours, theirs, differences)


def _also_tested(
    results: LoadedResults, summary: pd.DataFrame, verdict: Verdict, pair: tuple[str, str]
) -> Iterator[AlsoTested]:
    """Yield how two rows differ on each second test of a task; none over several tasks."""
    if verdict.task:
        own = [summary[name] == getattr(verdict, name) for name in BOARD]
        for test in tested(results, summary[np.logical_and.reduce(own)]):
            yield AlsoTested(test.name, test.metric, _between(test, verdict, pair))


def _between(test: Tested, verdict: Verdict, pair: tuple[str, str]) -> Contrast:
    """Return how two rows differ on a second test."""

    def items(name: str) -> int:
        return test.scores[name].n_items

    if not test.family.places.keys() >= set(pair):
        first, second = (_on(test, verdict[name]) for name in pair)
        return uncompared(first, second, "score")
    up = test.metric.higher_is_better
    return contrast(test.family, pair, "score", upward=up, items=items)


def _on(test: Tested, row: Entry) -> Entry:
    """Return a row with what it reaches on a second test."""
    own = test.scores.get(row.name)
    if own is None:
        return replace(row, levels={})
    level = mean_level(estimate(own), len(own.scores), own.n_items, own.possible, row.why)
    return replace(row, levels={"score": level})


def _wanted(verdict: Verdict, selection: Selection) -> bool:
    """Whether a verdict belongs to what is asked for; means over tasks only if no task is named."""
    if verdict.task:
        asked = not selection.task or verdict.task in selection.task
    else:
        asked = not selection.task
    return asked and (not selection.backbone or verdict.backbone in selection.backbone)


def _resolved(results: LoadedResults, shown: Sequence[Verdict], given: str) -> str:
    """Return the whole name of a row, whose only variant goes without saying.

    Raises:
        StoreError: if there is no such method.
        ConfigError: if it has no such variant, or several and none of them is the default.
    """
    method, _, variant = given.removesuffix(PAPER).partition("/")
    name = label(method.strip(), variant.strip())
    entries = [entry for each in shown for entry in each.entries]
    known = {entry.name: entry.method for entry in entries}
    own = [each for each, of in known.items() if of == method.strip()]
    if not own:
        methods = ", ".join(sorted(set(known.values()))) or "none"
        raise StoreError(
            f"results folder {results.store.root} has no method {method.strip()!r}; it has "
            f"{methods}"
        )
    fitting = [each for each in own if name in (each, each.removesuffix(PAPER))]
    if given == name and name in own:  # and not its namesake under the paper protocol
        return name
    if len(fitting) == 1:
        return fitting[0]
    if name == method.strip() and len(own) == 1:
        return own[0]
    listed = ", ".join(map(repr, own))
    raise ConfigError(f"there is no {name!r} here; rows of {method.strip()!r} are {listed}")


def _nothing_shared(
    results: LoadedResults, shown: Sequence[Verdict], first: str, second: str
) -> str:
    """Say why two rows meet nowhere, and by what settings they differ on a task that both have."""
    places: dict[str, list[Verdict]] = {first: [], second: []}
    for each in shown:
        for name, own in places.items():
            if each.task and name in {entry.name for entry in each.entries}:
                own.append(each)
    for ours in places[first]:
        for theirs in places[second]:
            here = ours.task, ours.backbone, ours.start
            if here == (theirs.task, theirs.backbone, theirs.start):
                terms = [results.terms.get(one.setting, {}) for one in (ours, theirs)]
                differ = told_apart(terms[0], terms[1:])
                other = told_apart(terms[1], terms[:1])
                said = "; ".join(f"{n} is {differ[n]} and {other[n]}" for n in differ)
                return (
                    f"{first!r} and {second!r} were run under different settings on {place(*here)} "
                    f"in results folder {results.store.root}: {said or 'they are of two suites'}; "
                    "run both under one"
                )
    where = {
        name: ", ".join(dict.fromkeys(place(v.task, v.backbone, v.start) for v in own)) or "none"
        for name, own in places.items()
    }
    return (
        f"{first!r} and {second!r} have no task in common in results folder {results.store.root}: "
        f"{first!r} has {where[first]}; {second!r} has {where[second]}; run both on one"
    )
