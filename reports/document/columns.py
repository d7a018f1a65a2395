"""From rows of data to rows of a table: what each column reads, and how it is shown and sorted.

A field may be dotted, and so reach into what a row holds.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import pandas as pd

from gapbench.bench.metrics.base import metric_in_words
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Column, Row, Subheading, Table, Value
from gapbench.reports.tables.leaderboard import first_of, rows
from gapbench.reports.tables.terminal import number, place, short
from gapbench.reports.tables.words import interval

NOTHING = Value("")
"""What a table shows where there is nothing."""


@dataclass(frozen=True)
class Field:
    """A column and what a row of data shows there."""

    column: Column
    read: Callable[[Any], Value]


def plain(
    heading: str, hint: str, field: str, digits: int = 3, best: Literal["high", "low"] = "low"
) -> Field:
    """Show a number with fixed decimals."""
    read = attrgetter(field)
    return Field(
        Column(heading, hint, best=best), lambda row: value(read(row), number(read(row), digits))
    )


def shortened(heading: str, hint: str, field: str) -> Field:
    """Show a number in three digits."""
    read = attrgetter(field)

    def shown(row: Any) -> Value:
        raw = read(row)
        return value(raw, "" if pd.isna(raw) else short(raw))

    return Field(Column(heading, hint), shown)


def ends(
    heading: str, hint: str, low: str, high: str, best: Literal["high", "low"] = "low"
) -> Field:
    """Show the ends of an interval, sorted by the lower one."""
    first, last = attrgetter(low), attrgetter(high)
    return Field(
        Column(heading, hint, best=best),
        lambda row: value(first(row), interval(first(row), last(row))),
    )


def counted(heading: str, hint: str, count: Callable[[Any], int]) -> Field:
    """Show a count."""
    return Field(Column(heading, hint), lambda row: value(count(row), str(count(row))))


def worded(heading: str, hint: str, words: Callable[[Any], str], *, kind: str = "text") -> Field:
    """Show text; as code where a reader may want to type it."""
    return Field(Column(heading, hint, kind), lambda row: Value(words(row)))


def value(raw: Any, text: str) -> Value:
    """Return what a table shows of a number; one that is missing sorts last."""
    return Value(text, None if raw is None or pd.isna(raw) else float(raw))


def table(
    title: str,
    first: str,
    fields: tuple[Field, ...],
    found: Iterable[Row],
    footer: Row | None = None,
) -> Table:
    """Return a table of rows that were read with the same fields."""
    return Table(title, first, tuple(field.column for field in fields), tuple(found), footer)


def table_of(
    board: pd.DataFrame,
    title: str,
    fields: tuple[Field, ...],
    evidence: Evidence,
    footer: Row | None = None,
) -> Table:
    """Return a table with a row for each row of a `summarise` table.

    Args:
        board: rows of that table.
        title: of the table.
        fields: read from each row.
        evidence: where its methods' colours are.
        footer: what stands below.
    """
    found = (
        Row(
            row.name,
            read(row, fields),
            evidence.colours[row.method],
            facets(row),
        )
        for row in rows(board)
    )
    return table(title, "method", fields, found, footer)


def read(row: Any, fields: tuple[Field, ...]) -> tuple[Value, ...]:
    """Return what a row of data shows in each column."""
    return tuple(field.read(row) for field in fields)


def facets(row: Any) -> dict[str, str]:
    """Return what a reader may filter a row by, which names its task, method and so on."""
    variant = row.variant if row.variant.strip() else "default"
    return {
        "task": row.task,
        "backbone": row.backbone,
        "method": row.method,
        "variant": f"default {variant}" if variant.startswith("[") else variant,
    }


def best_possible(
    evidence: Evidence, board: pd.DataFrame, fields: tuple[Field, ...], known: Mapping[str, str]
) -> Row | None:
    """Return a footer with what the Bayes-optimal predictor reaches; None where it is unknown.

    Args:
        evidence: where the runs of the board are.
        board: rows of `summarise` that share their test examples.
        fields: of the table.
        known: measure of that predictor by the heading that it stands under.
    """
    hashes = [run for ok in board["ok_runs"] for run in ok.values()]
    runs = evidence.results.runs
    runs = runs[runs["run_hash"].isin(hashes) & runs["bayes_score"].notna()]
    if runs.empty:
        return None
    best = {heading: runs[f"bayes_{measure}"].iloc[0] for heading, measure in known.items()}
    headings = [field.column.heading for field in fields]
    return Row(
        "best possible",
        tuple(value(best.get(heading), number(best.get(heading))) for heading in headings),
    )


def title(board: pd.DataFrame) -> str:
    """Return where the rows of a board meet: task, backbone, suite."""
    first = first_of(board)
    where = place(first.task, first.backbone, getattr(first, "start", ""))
    return f"{where} (suite {first.suite})" if first.suite else f"{where} (in no suite)"


def heading(board: pd.DataFrame, *, measured: bool = False) -> Subheading:
    """Return the heading of what is said of a board.

    Args:
        board: rows of `summarise` that share task and setting.
        measured: whether to name the metric too.
    """
    first = first_of(board)
    text = ": ".join(filter(None, (title(board), metric(board) if measured else "")))
    return Subheading(text, {"task": first.task, "backbone": first.backbone})


def metric(board: pd.DataFrame) -> str:
    """Return the metric of a board and its direction; "" if no run of it is known."""
    metrics = board.loc[board["metric"] != "", "metric"]
    upward = bool(board["higher_is_better"].fillna(value=True).all())
    direction = "higher is better" if upward else "lower is better"
    return f"{metric_in_words(metrics.iloc[0])}, {direction}" if len(metrics) else ""
