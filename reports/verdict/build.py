"""Verdicts of a results folder: on every task, and on all tasks of a suite together."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from gapbench.reports.results.load import LoadedResults
from gapbench.reports.stats.estimates import averaged
from gapbench.reports.stats.pairwise import averaged_family
from gapbench.reports.tables.leaderboard import BOARD, rows
from gapbench.reports.tables.outcomes import OUTCOMES, Outcome, range_of
from gapbench.reports.tables.row_status import RANKED
from gapbench.reports.tables.standing import Standing
from gapbench.reports.tables.suite_summary import SuiteSummary, suite_summaries
from gapbench.reports.verdict.assemble import assemble
from gapbench.reports.verdict.costs import COSTS, costs_of
from gapbench.reports.verdict.design import MATTERS, MATTERS_OF_WAY, least_that_matters
from gapbench.reports.verdict.levels import level, mean_level
from gapbench.reports.verdict.model import Entry, Level, Verdict
from gapbench.reports.verdict.recommend import NO_MEAN

_MOST_TASKS = 2
"""Tasks that a reason names; of more it gives their number."""


def verdicts(
    results: LoadedResults,
    summary: pd.DataFrame,
    matters: float | None = None,
    together: Sequence[SuiteSummary] | None = None,
) -> list[Verdict]:
    """Return what a results folder says: of suites of several tasks, then of other single tasks.

    Args:
        results: the folder.
        summary: the table of `reports.tables.summary.summarise`, which also holds the reference.
        matters: least difference in score that matters; None for a default by metric.
        together: what `suite_summaries` returns, if it is known.
    """
    boards = [board for _, board in summary.groupby(BOARD, sort=False)]
    tasks = {tuple(board[BOARD].iloc[0]): _task(results, board, matters) for board in boards}
    found = []
    for suite in suite_summaries(results, summary) if together is None else together:
        own = [key for key, each in tasks.items() if _belongs(each, suite)]
        parts = tuple(tasks.pop(key) for key in own)
        found.append(_overall(suite, parts, matters))
    return [*found, *tasks.values()]


def _belongs(task: Verdict, suite: SuiteSummary) -> bool:
    return (task.suite, task.start, task.protocol) == (
        suite.suite,
        suite.start,
        suite.protocol,
    ) and (suite.backbone in ("", task.backbone))


def _task(results: LoadedResults, board: pd.DataFrame, matters: float | None) -> Verdict:
    """Return the verdict on the rows of one board, and on the reference of those of a part."""
    shown = {row.name: row for row in rows(board)}
    first = next(iter(shown.values()))
    found: Standing = first.standing
    shown |= {name: row for name, row in found.rows.items() if name == found.reference}
    entries = [
        Entry(
            name=name,
            method=row.method,
            variant=row.variant,
            config_hash=row.config_hash,
            settings=_settings(results, row.config_hash),
            status=found.status[name],
            why=found.why[name],
            commands=_commands(results, row),
            levels={outcome: level(found, outcome, name) for outcome in OUTCOMES},
            n_failed=row.n_failed + row.n_unscored,
        )
        for name, row in shown.items()
    ]
    return assemble(
        entries=entries,
        families=found.families,
        untrained=found.untrained,
        ranked=[name for name in found.ranked if name in shown],
        upward=found.upward,
        beaten_by=found.beaten_by(),
        alpha=found.alpha_of("score"),
        counts=found.counts,
        costs={name: costs_of(row) for name, row in found.rows.items()},
        places={name: ((row.machine, row.stacks),) for name, row in found.rows.items()},
        matters=least_that_matters(found, matters),
        possible=found.possible,
        given={
            "suite": first.suite,
            "task": first.task,
            "backbone": first.backbone,
            "start": first.start,
            "setting": first.setting,
            "protocol": first.protocol,
            "differs": first.differs,
            "metric": first.metric,
            "reference": found.reference,
        },
    )


def _overall(suite: SuiteSummary, tasks: tuple[Verdict, ...], matters: float | None) -> Verdict:
    """Return the verdict on all tasks of a suite; a part that hides the reference has its row."""
    if suite.reference not in suite.names and all(
        suite.reference in task.estimates for task in suite.tasks
    ):
        suite = replace(suite, names=(*suite.names, suite.reference))
    standings = [task.standing for task in suite.tasks]
    ranked = list(suite.ranked) if suite.averageable else []
    names = [*suite.means, *(name for name in suite.names if name not in suite.means)]
    if suite.reference not in names and all(suite.reference in each.rows for each in standings):
        names.append(suite.reference)
    counts = {
        outcome: {
            name: tuple(np.min([each.counts[outcome][name] for each in standings], axis=0).tolist())
            for name in standings[0].counts[outcome]
            if all(name in each.counts[outcome] for each in standings)
        }
        for outcome in OUTCOMES
    }
    entries = [
        replace(_row_over_tasks(suite, name, counts), commands=_over_tasks(tasks, name))
        for name in names
    ]
    gains = [task.untrained for task in suite.tasks]
    bare = [name for name in gains[0] if all(name in each for each in gains)]
    cells = {tuple(each.rows[name].config_hash for each in standings) for name in bare}
    untrained = {
        name: averaged_family(
            [each[name] for each in gains],
            suite.factors,
            suite.alpha_of("score") / len(cells),
            name,
            share=1.0,
        )
        for name in (bare if suite.averageable else ())
    }
    share = suite.scale == "share"
    found = assemble(
        entries=entries,
        families=suite.families,
        untrained=untrained,
        ranked=ranked,
        upward=True,
        beaten_by=suite.beaten_by,
        alpha=suite.alpha_of("score"),
        counts=counts,
        costs={
            name: tuple(
                float(np.sum([cost[place] for cost in _over(standings, name)]))
                for place in range(len(COSTS))
            )
            for name in names
        },
        places={
            name: tuple((each.rows[name].machine, each.rows[name].stacks) for each in standings)
            for name in names
        },
        matters=matters if matters is not None else MATTERS_OF_WAY if share else MATTERS,
        possible=suite.possible,
        given={
            "suite": suite.suite,
            "task": "",
            "backbone": suite.backbone,
            "start": suite.start,
            "setting": "",
            "protocol": suite.protocol,
            "metric": _mean_of(suite),
            "reference": suite.reference,
            "left_out": suite.left_out,
            "tasks": tasks,
            "n_tasks": len(suite.tasks),
        },
    )
    if suite.averageable:
        return found
    return replace(found, recommended="", why=NO_MEAN, ties=())


def _mean_of(suite: SuiteSummary) -> str:
    if suite.glue:
        return "mean of GLUE"
    if suite.scale == "score":
        return f"mean {suite.tasks[0].metric}"
    return "mean share of the way from untrained to best" if suite.scale else ""


def _over(standings: list[Standing], name: str) -> list[tuple[float, ...]]:
    return [costs_of(each.rows[name]) for each in standings]


def _row_over_tasks(suite: SuiteSummary, name: str, counts: Mapping[Outcome, Any]) -> Entry:
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


def _over_tasks(tasks: Sequence[Verdict], name: str) -> tuple[str, ...]:
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


def _commands(results: LoadedResults, row: Any) -> tuple[str, ...]:
    """Return the commands that complete a row."""
    found = (results.commands.get(run_hash, "") for run_hash in row.pending.values())
    return tuple(dict.fromkeys(filter(None, found)))


def _settings(results: LoadedResults, config_hash: str) -> dict[str, Any]:
    record = results.cells.get(config_hash)
    if record is None:
        return {}
    own = {**record.cell.config, "learning_rate": record.cell.training.learning_rate}
    # What is asked for first stands first: marks and cards show but some of them.
    return dict(sorted(own.items(), key=lambda each: each[0] not in ("rank", "learning_rate")))
