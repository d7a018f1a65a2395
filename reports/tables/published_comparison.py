"""Published figures beside what was measured under the same names.

They are context and never a pass mark: settings, data and protocol of a paper may differ.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gapbench.bench.core.errors import printable
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.published import DIGITS, PublishedScore, fitting
from gapbench.reports.tables.terminal import WIDTH, fitted, label, number, place

COLUMNS = ("published", "published_source", "published_certainty")
"""What a leaderboard has more where any of its rows has a published figure."""


@dataclass(frozen=True)
class PublishedPair:
    """A leaderboard row's score and a published figure of the same method, task and backbone.

    Attributes:
        config_hash: of the row.
        place: task and backbone.
        name: method and variant.
        metric: gapbench's name, of the main metric or another one of the task.
        main: whether it is the main one.
        measured: over the row's seeds, as the figure is: median where that is one, else mean.
        seeds: how many had a score.
        figure: the published one.
    """

    config_hash: str
    place: str
    name: str
    metric: str
    main: bool
    measured: float
    seeds: int
    figure: PublishedScore


def pairs(results: LoadedResults, summary: pd.DataFrame) -> list[PublishedPair]:
    """Return what is published beside the rows of a `summarise` table.

    Rows stand in their order; of each the main metric comes first, then the surest figure.
    """
    runs = results.runs.drop_duplicates("run_hash").set_index("run_hash")  # labels may share a run
    return [pair for row in rows(summary) for pair in _pairs(results, runs, row)]


def with_published(leaderboard: pd.DataFrame, found: list[PublishedPair]) -> pd.DataFrame:
    """Return a leaderboard with `COLUMNS`, or as it is where nothing is published.

    A row gets the surest figure of its main metric, in that metric's unit.

    Args:
        leaderboard: its table.
        found: the `pairs` of its rows.
    """
    surest = {(p.config_hash, p.name): p.figure for p in reversed(found) if p.main}
    if not surest:
        return leaderboard
    keys = [(row.config_hash, label(row.method, row.variant)) for row in rows(leaderboard)]
    known = [surest.get(key) for key in keys]
    return leaderboard.assign(
        published=np.array([figure.value if figure else np.nan for figure in known]),
        published_source=[figure.source if figure else "" for figure in known],
        published_certainty=[figure.sureness if figure else "" for figure in known],
    )


def format_pairs(found: list[PublishedPair]) -> str:
    """Return pairs as plain text of at most 80 columns; "" if there are none."""
    if not found:
        return ""
    lines = ["", "Published beside measured: context, not pass marks; settings may differ."]
    where = ""
    for pair in found:
        if pair.place != where:
            where = pair.place
            lines += [
                printable(where),
                _line("method", "metric", "measured", "published", "where, how sure"),
            ]
        figure = pair.figure
        source = f"{figure.source}, {figure.certainty.replace('_', ' ')}"
        lines.append(
            _line(pair.name, pair.metric, number(pair.measured, DIGITS), figure.text, source)
        )
    return "\n".join([*lines, "?: from memory, verified by nobody."]) + "\n"


def _line(name: str, metric: str, measured: str, published: str, where: str) -> str:
    name = fitted(printable(name), 18)
    return fitted(f"  {name:<18} {metric:<12.12} {measured:>8} {published:<12} {where}", WIDTH)


def _pairs(results: LoadedResults, runs: pd.DataFrame, row: Any) -> list[PublishedPair]:
    """Return the pairs of one row of a `summarise` table, given all runs by their hashes."""
    record = results.cells.get(row.config_hash)
    if record is None or not row.ok_runs:
        return []
    drops = results.drops.get(row.config_hash, ())
    if record.cell.task.test_size is not None:  # published scores are of whole test sets
        return []
    figures = fitting(row.method, record.cell.config, row.variant, row.task, row.backbone, drops)
    found = []
    for metric in record.cell.task.metrics if figures else ():
        main = metric == row.metric
        column = runs["test_score" if main else f"test/{metric}"]
        scores = column.loc[list(row.ok_runs.values())].dropna()
        for figure in figures if len(scores) else ():
            if figure.metric != metric:
                continue
            pair = PublishedPair(
                config_hash=row.config_hash,
                place=place(row.task, row.backbone, row.start),
                name=label(row.method, row.variant),
                metric=metric,
                main=main,
                measured=float(scores.median() if figure.aggregate == "median" else scores.mean()),
                seeds=len(scores),
                figure=figure,
            )
            found.append(pair)
    return found
