"""Beyond the test split: the chosen adapters on other tasks, and what training changed there."""

from typing import Any, Literal

import pandas as pd

from gapbench.bench.metrics.base import metric_in_words
from gapbench.reports.document.columns import Field, ends, facets, plain, read, table, value
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import (
    Column,
    Folded,
    Part,
    Row,
    Section,
    Subheading,
    Table,
    Text,
    Value,
)
from gapbench.reports.figures.matrix import SIGNS
from gapbench.reports.tables.leaderboard import BOARD, rows
from gapbench.reports.tables.terminal import number, place, unscored
from gapbench.reports.tables.words import interval, signed

ORDER = 32

_HOW = (
    "The adapter that validation chose was scored here too, once, at the end: no row of these "
    "tests chose anything. Differences to the reference are on common seeds and items; their "
    "intervals hold together over all methods and second tests of a task."
)
_CHANGE = (
    "The change is the score minus that of the bare backbone, without any adapter, on the same "
    "items; its interval is for this row alone. Where the head is new, the bare backbone has no "
    "answer and there is no change."
)
_ECE = (
    "The calibration error (ECE) is that of the model as it is: a temperature is fitted on rows of "
    "the trained task, and used on its own test split alone."
)
_ALIKE = "A difference of zero without an interval: both rows answer every item alike."


def section(evidence: Evidence) -> Section | None:
    """Return the section; None where nothing was scored beyond the test split."""
    if evidence.second_tests.empty:
        return None
    found = evidence.second_tests
    alike = (found["vs_reference"] == 0) & found["vs_reference_low"].isna()
    said = (
        _HOW,
        _CHANGE if found["change"].notna().any() else "",
        _ECE if found["ece"].notna().any() else "",
        _ALIKE if alike.any() else "",
    )
    parts: list[Part] = [Text(" ".join(filter(None, said)), quiet=True)]
    for _, part in evidence.second_tests.groupby([*BOARD, "test"], sort=False):
        parts += _of_test(evidence, part)
    return Section("second-tests", "Beyond the test split", tuple(parts))


def _of_test(evidence: Evidence, part: pd.DataFrame) -> list[Part]:
    """Return what is said of one second test of a task and backbone."""
    first = next(rows(part))
    metric = metric_in_words(first.metric)
    best: Literal["high", "low"] = "high" if first.higher_is_better else "low"
    better = "higher" if first.higher_is_better else "lower"
    title = f"{place(first.task, first.backbone, first.start)}: {first.test}"
    fields: list[Field] = [
        plain(metric, f"mean over seeds; {better} is better", "score", best=best),
        ends(
            "95 %",
            "interval of the score, for this row alone",
            "score_ci_low",
            "score_ci_high",
            best,
        ),
        difference(
            f"minus that of {first.reference or 'the reference'}, on common seeds", best=best
        ),
        ends("simultaneous 95 %", "interval of it", "vs_reference_low", "vs_reference_high", best),
    ]
    if part["own_test"].notna().any():
        hint = f"{metric} on the test split of {first.task} itself"
        fields.append(plain("own test", hint, "own_test", best=best))
    if part["change"].notna().any():
        fields += [
            plain("bare", "score of the backbone without any adapter", "bare", best=best),
            Field(
                Column("change", "score minus that of the bare backbone", best=best),
                lambda row: value(row.change, signed(row.change)),
            ),
            Field(
                Column("95 % of change", "for this row alone", best=best),
                lambda row: value(
                    row.change_ci_low, interval(row.change_ci_low, row.change_ci_high)
                ),
            ),
        ]
    if part["ece"].notna().any():
        hint = "mean calibration error here, without a temperature; lower is better"
        fields.append(plain("ECE", hint, "ece"))
    fields.append(plain("seeds", "seeds with a score", "n_seeds", 0, best="high"))
    return [
        Subheading(
            f"{title}, {metric}, {better} is better{_over(part)}",
            {"task": first.task, "backbone": first.backbone},
        ),
        _table(evidence, part, f"Second test: {title}", tuple(fields)),
        *_of_groups(evidence, part, title, best),
        *(Text(each, quiet=True) for each in unscored(part)),
    ]


def _of_groups(
    evidence: Evidence, part: pd.DataFrame, title: str, best: Literal["high", "low"]
) -> list[Part]:
    """Return scores and calibration errors of groups of parts, folded; nothing without groups."""
    metric = metric_in_words(part["metric"].iloc[0])
    sides: list[tuple[str, str, Literal["high", "low"]]] = [
        ("groups", metric, best),
        ("group_eces", "calibration error", "low"),
    ]
    tables = [
        _groups(evidence, part, column, f"{name} of groups of {title}", side)
        for column, name, side in sides
        if part[column].map(bool).any()
    ]
    return [Folded(f"{title}: by group, without intervals", tuple(tables))] if tables else []


def _groups(
    evidence: Evidence, part: pd.DataFrame, column: str, title: str, best: Literal["high", "low"]
) -> Table:
    """Return a table with a column for each group."""

    def field(name: str) -> Field:
        def read(row: Any) -> Value:
            found = getattr(row, column).get(name)
            return value(found, number(found))

        return Field(Column(name, "mean over seeds", best=best), read)

    known = part[part[column].map(bool)]
    names = list(dict.fromkeys(name for each in known[column] for name in each))
    return _table(evidence, known, title[0].upper() + title[1:], tuple(map(field, names)))


def _over(part: pd.DataFrame) -> str:
    """Return how many items scores are over, where that is known."""
    count = part["n_items"].max()
    return f"; {count:,} items" if count else ""


def _table(evidence: Evidence, part: pd.DataFrame, title: str, fields: tuple[Field, ...]) -> Table:
    ordered = part.sort_values(
        "score", ascending=not bool(part["higher_is_better"].iloc[0]), kind="stable"
    )
    found = (
        Row(row.name, read(row, fields), evidence.colours[row.method], facets(row))
        for row in rows(ordered)
    )
    return table(title, "method", fields, found)


def difference(hint: str, *, best: Literal["high", "low"] = "high") -> Field:
    """Show a difference to the reference; a sign marks what is shown to be better or worse."""

    def shown(row: Any) -> Value:
        sign = SIGNS.get(row.vs_reference_claim, "")
        return value(row.vs_reference, f"{signed(row.vs_reference)} {sign}".rstrip())

    meaning = "a triangle up is shown to be better, one down shown to be worse"
    return Field(Column("Δ score", f"{hint}; {meaning}", best=best), shown)
