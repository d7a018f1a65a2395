"""The verdict on the rows of one task."""

from typing import Any

import pandas as pd

from gapbench.reports.results.load import LoadedResults
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.outcomes import OUTCOMES
from gapbench.reports.tables.standing import Standing
from gapbench.reports.verdict.assemble import assemble
from gapbench.reports.verdict.compared_rows import ComparedRows
from gapbench.reports.verdict.costs import costs_of
from gapbench.reports.verdict.design import least_that_matters
from gapbench.reports.verdict.levels import level
from gapbench.reports.verdict.model import Entry, Verdict


def task_verdict(results: LoadedResults, board: pd.DataFrame, matters: float | None) -> Verdict:
    """Return what is said of the rows of one board, and of the reference of those of a part.

    Args:
        results: the folder.
        board: rows of `reports.tables.summary.summarise` that share task, backbone and budget.
        matters: least difference in score that matters; None for a default by metric.
    """
    shown = {row.name: row for row in rows(board)}
    first = next(iter(shown.values()))
    found: Standing = first.standing
    shown |= {name: row for name, row in found.rows.items() if name == found.reference}
    return assemble(
        _compared_rows(results, shown, found),
        least_that_matters(found, matters),
        suite=first.suite,
        task=first.task,
        backbone=first.backbone,
        start=first.start,
        setting=first.setting,
        protocol=first.protocol,
        differs=first.differs,
        metric=first.metric,
    )


def _compared_rows(results: LoadedResults, shown: dict[str, Any], found: Standing) -> ComparedRows:
    return ComparedRows(
        reference=found.reference,
        entries=[_entry(results, name, row, found) for name, row in shown.items()],
        ranked=[name for name in found.ranked if name in shown],
        upward=found.upward,
        possible=found.possible,
        alpha=found.alpha_of("score"),
        families=found.families,
        untrained=found.untrained,
        beaten_by=found.beaten_by(),
        counts=found.counts,
        costs={name: costs_of(row) for name, row in found.rows.items()},
        places={name: ((row.machine, row.stacks),) for name, row in found.rows.items()},
    )


def _entry(results: LoadedResults, name: str, row: Any, found: Standing) -> Entry:
    return Entry(
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
