"""All tasks at one glance."""

from collections.abc import Mapping

from gapbench.reports.document.columns import value
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Column, Folded, Part, Row, Section, Table, Value
from gapbench.reports.figures.board import boards
from gapbench.reports.figures.matrix import SIGNS, matrix
from gapbench.reports.prose.card import about
from gapbench.reports.prose.phrases import on_one_scale
from gapbench.reports.tables.outcomes import Outcome
from gapbench.reports.tables.row_status import RANKED
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import interval, signed, times
from gapbench.reports.verdict.model import Entry, Verdict
from gapbench.reports.verdict.recommend import NO_MEAN

ORDER = 20


def section(evidence: Evidence) -> Section | None:
    """Return the section; None with a single task."""
    found = boards(evidence)
    figures = [matrix(found, outcome) for outcome in ("score", "gap", "ece")]
    first, *others = figures
    tables = [_table(verdict, evidence.colours) for verdict in evidence.verdicts if verdict.tasks]
    parts: list[Part] = [first] if first else []
    parts += [table for table in tables if table.rows]
    if folded := tuple(figure for figure in others if figure):
        parts.append(Folded("Generalization gap and calibration error on all tasks", folded))
    return Section("all-tasks", "All tasks", tuple(parts)) if parts else None


def _table(verdict: Verdict, colours: Mapping[str, str]) -> Table:
    """Return means over tasks, beside those of the reference."""
    reference, share = verdict.reference, on_one_scale(verdict)
    way = "share of the way from the untrained row to the best one"
    unit = f", in the {way}" if share else ""
    columns = [
        Column("beaten by", "methods that are shown to be better in score", best="low"),
        Column(
            "mean share" if share else "mean score",
            f"mean over tasks of the {way if share else 'mean test score'}",
            best="high",
        ),
        Column("95 %", "interval of the mean, for this method alone", best="high"),
        Column("Δ score", f"mean over tasks of the difference to {reference}{unit}", best="high"),
        Column("gap", "mean over tasks of the generalization gap"),
        Column("Δ gap", f"difference to {reference}{unit}; below zero, this method overfits less"),
        Column("ECE", "mean over tasks of the expected calibration error"),
        Column("Δ ECE", f"difference to {reference}; below zero is better"),
        Column("training", f"training FLOPs in multiples of those of {reference}"),
    ]
    lines = [
        Row(
            each.name,
            tuple(_values(each, averaged=verdict.why != NO_MEAN)),
            colours.get(each.method),
            {"method": each.method, "backbone": verdict.backbone}
            if verdict.backbone
            else {"method": each.method},
        )
        for each in verdict.entries
    ]
    average = "GLUE average: means" if verdict.metric == "mean of GLUE" else "Means"
    return Table(f"{average} over {about(verdict)}", "method", tuple(columns), tuple(lines))


def _values(entry: Entry, *, averaged: bool) -> list[Value]:
    levels: list[Value] = []
    names: tuple[Outcome, ...] = ("score", "gap", "ece")
    for name in names:
        level = entry.levels.get(name)
        levels.append(value(level.mean if level else None, number(level.mean if level else None)))
        if name == "score":
            ends = (level.low, level.high) if level else (None, None)
            levels.append(value(ends[0], interval(*ends)))
        levels.append(difference(entry, name))
    return [
        beaten(entry) if averaged else Value(""),
        *levels,
        value(entry.training, times(entry.training)),
    ]


def beaten(entry: Entry) -> Value:
    """Return by how many methods a row is beaten; nothing where it is not ranked."""
    if entry.status not in RANKED:
        return Value("")
    return value(len(entry.beaten_by), str(len(entry.beaten_by) or "nobody"))


def difference(entry: Entry, outcome: Outcome) -> Value:
    """Return what a table shows of a difference to the reference; a sign marks what is shown."""
    found = entry.to_reference.get(outcome)
    if found is None or found.difference is None:
        return Value("")
    sign = SIGNS.get(found.claim, "")
    return value(found.difference, f"{signed(found.difference)} {sign}".rstrip())
