"""The verdict on all tasks of a suite together."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gapbench.bench.metrics.base import metric_in_words
from gapbench.reports.stats.estimates import averaged
from gapbench.reports.stats.pairwise import Family, averaged_family
from gapbench.reports.tables.outcomes import OUTCOMES, Outcome, range_of
from gapbench.reports.tables.row_status import RANKED
from gapbench.reports.tables.standing import Standing
from gapbench.reports.tables.suite_summary import SuiteSummary
from gapbench.reports.verdict.assemble import assemble
from gapbench.reports.verdict.compared_rows import ComparedRows
from gapbench.reports.verdict.costs import COSTS, costs_of
from gapbench.reports.verdict.design import MATTERS, MATTERS_OF_WAY
from gapbench.reports.verdict.levels import mean_level
from gapbench.reports.verdict.model import Entry, Level, Verdict
from gapbench.reports.verdict.recommend import NO_MEAN

_MOST_TASKS = 2
"""Tasks that a reason names; of more it gives their number."""

Counts = Mapping[Outcome, Mapping[str, tuple[int, int]]]
"""Seeds and items of each row, by outcome and name."""


def suite_verdict(
    suite: SuiteSummary, tasks: tuple[Verdict, ...], matters: float | None
) -> Verdict:
    """Return what is said of all tasks of a suite; a part that hides the reference has its row.

    Args:
        suite: its tasks, and the rows that have a score on each.
        tasks: the verdicts on the single tasks, those that are left out of the mean too.
        matters: least difference in the mean that matters; None for a default by its scale.
    """
    suite = _with_reference(suite)
    found = assemble(
        _compared_rows(suite, tasks),
        matters if matters is not None else MATTERS_OF_WAY if suite.scale == "share" else MATTERS,
        suite=suite.suite,
        task="",
        backbone=suite.backbone,
        start=suite.start,
        setting="",
        protocol=suite.protocol,
        differs="",
        metric=_mean_of(suite),
        left_out=suite.left_out,
        tasks=tasks,
        n_tasks=len(suite.tasks),
    )
    if suite.averageable:
        return found
    return replace(found, recommended="", why=NO_MEAN, ties=())


def _with_reference(suite: SuiteSummary) -> SuiteSummary:
    """Return the suite with the row of the reference, if it has an estimate on every task."""
    if suite.reference in suite.names:
        return suite
    if any(suite.reference not in task.estimates for task in suite.tasks):
        return suite
    return replace(suite, names=(*suite.names, suite.reference))


def _compared_rows(suite: SuiteSummary, tasks: tuple[Verdict, ...]) -> ComparedRows:
    standings = [task.standing for task in suite.tasks]
    names = _names(suite, standings)
    counts = _fewest(standings)
    return ComparedRows(
        reference=suite.reference,
        entries=[
            replace(
                _row_over_tasks(suite, name, counts),
                settings=_settings(tasks, name),
                commands=_commands(tasks, name),
            )
            for name in names
        ],
        ranked=list(suite.ranked) if suite.averageable else [],
        upward=True,
        possible=suite.possible,
        alpha=suite.alpha_of("score"),
        families=suite.families,
        untrained=_untrained(suite, standings),
        beaten_by=suite.beaten_by,
        counts=counts,
        costs={name: _costs(standings, name) for name in names},
        places={
            name: tuple((each.rows[name].machine, each.rows[name].stacks) for each in standings)
            for name in names
        },
    )


def _names(suite: SuiteSummary, standings: Sequence[Standing]) -> list[str]:
    """Return the rows of the verdict: best first, then those without a mean."""
    names = [*suite.means, *(name for name in suite.names if name not in suite.means)]
    if suite.reference not in names and all(suite.reference in each.rows for each in standings):
        names.append(suite.reference)
    return names


def _fewest(standings: Sequence[Standing]) -> Counts:
    """Return the fewest seeds and items of any task, of rows that all tasks count."""
    return {
        outcome: {
            name: tuple(np.min([each.counts[outcome][name] for each in standings], axis=0).tolist())
            for name in standings[0].counts[outcome]
            if all(name in each.counts[outcome] for each in standings)
        }
        for outcome in OUTCOMES
    }


def _untrained(suite: SuiteSummary, standings: Sequence[Standing]) -> dict[str, Family[str]]:
    """Return the means over tasks of what untrained rows on every task differ by."""
    if not suite.averageable:
        return {}
    gains = [task.untrained for task in suite.tasks]
    bare = [name for name in gains[0] if all(name in each for each in gains)]
    cells = {tuple(each.rows[name].config_hash for each in standings) for name in bare}
    return {
        name: averaged_family(
            [each[name] for each in gains],
            suite.factors,
            suite.alpha_of("score") / len(cells),
            name,
            share=1.0,
        )
        for name in bare
    }


def _costs(standings: Sequence[Standing], name: str) -> tuple[float, ...]:
    """Return the costs of a row, summed over tasks."""
    found = [costs_of(each.rows[name]) for each in standings]
    return tuple(float(np.sum([cost[place] for cost in found])) for place in range(len(COSTS)))


def _mean_of(suite: SuiteSummary) -> str:
    if suite.glue:
        return "mean of GLUE"
    if suite.scale == "score":
        return f"mean {metric_in_words(suite.tasks[0].metric)}"
    return "mean share of the way from untrained to best" if suite.scale else ""


def _row_over_tasks(suite: SuiteSummary, name: str, counts: Counts) -> Entry:
    standings = [task.standing for task in suite.tasks]
    first = standings[0].rows[name]
    statuses = [each.status[name] for each in standings]
    bad = [place for place, each in enumerate(statuses) if each not in RANKED]
    why = _on_tasks([(suite.tasks[place].name, standings[place].why[name]) for place in bad])
    levels: dict[Outcome, Level] = {}
    if name in suite.means:
        n_seeds, n_items = counts["score"][name]
        levels["score"] = mean_level(suite.means[name], n_seeds, n_items, suite.possible, why)
    for outcome in OUTCOMES[1:]:
        if name in counts[outcome] and (outcome != "gap" or suite.scale == "score"):
            estimates = [each.estimates[outcome][name] for each in standings]
            n_seeds, n_items = counts[outcome][name]
            mean = averaged(estimates)
            possible = range_of(outcome, suite.possible)
            levels[outcome] = mean_level(mean, n_seeds, n_items, possible, why)
    return Entry(
        name=name,
        method=first.method,
        variant=first.variant,
        config_hash="",
        settings={},
        status=statuses[bad[0]] if bad else statuses[0],
        why=why,
        levels=levels,
        n_failed=sum(each.rows[name].n_failed + each.rows[name].n_unscored for each in standings),
    )


def _settings(tasks: Sequence[Verdict], name: str) -> dict[str, Any]:
    """Return the settings that a row has on all tasks."""
    own = [each.settings for task in tasks for each in task.entries if each.name == name]
    return {
        setting: value
        for setting, value in (own[0] if own else {}).items()
        if all(setting in other and other[setting] == value for other in own)
    }


def _commands(tasks: Sequence[Verdict], name: str) -> tuple[str, ...]:
    """Return the commands that complete a row, of all tasks."""
    rows = (each for task in tasks for each in task.entries if each.name == name)
    return tuple(dict.fromkeys(command for row in rows for command in row.commands))


def _on_tasks(reasons: Sequence[tuple[str, str]]) -> str:
    """Return the first reason and the tasks that it holds on, such as "9 of 10 seeds on qqp"."""
    why = next((reason for _, reason in reasons), "")
    alike = [task for task, reason in reasons if reason == why]
    what, more = re.split(r"(?=[,;] |$)", why, maxsplit=1)
    where = " and ".join(alike) if len(alike) <= _MOST_TASKS else f"{len(alike)} tasks"
    return f"{what} on {where}{more}" if why else ""
