"""What judges say of answers: mean ratings, shares of pairs won, and how far judges agree."""

from typing import Any

import pandas as pd

from gapbench.reports.document.columns import Field, ends, facets, plain, read, table
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Part, Row, Section, Subheading, Table, Text
from gapbench.reports.sections.second_tests import difference
from gapbench.reports.tables.leaderboard import BOARD, rows
from gapbench.reports.tables.terminal import JUDGED, number, place

ORDER = 34

_HOW = (
    "Judges saw answers without the names of methods. An item counts if the same judges judged it "
    "in all rows and seeds. Differences to the reference are on common seeds and items; their "
    "intervals hold together over all methods and judged tests of a task. They are about these "
    "judges: what others would say is not part of the intervals."
)
_PAIRS = (
    "In pairs, each answer stood beside the reference's to the same prompt, from the same seed, in "
    "an order drawn at random. A tie counts half."
)


def section(evidence: Evidence) -> Section | None:
    """Return the section; None where nothing was judged."""
    found = evidence.judgements
    if found.judges.empty:
        return None
    paired = (found.judges["metric"] == "win_rate").any()
    parts: list[Part] = [Text(f"{_HOW} {_PAIRS}" if paired else _HOW, quiet=True)]
    keys = [*BOARD, "test", "metric"]
    scores = dict(iter(found.scores.groupby(keys, sort=False)))
    for key, judges in found.judges.groupby(keys, sort=False):
        parts += _of_test(evidence, scores.get(key), judges)
    return Section("judgements", "What judges say", tuple(parts))


def _of_test(evidence: Evidence, scores: pd.DataFrame | None, judges: pd.DataFrame) -> list[Part]:
    """Return what is said of one test of a board: of methods, then of judges."""
    first = next(rows(judges))
    where = place(first.task, first.backbone, first.start)
    test = "" if first.test == "test" else f": {first.test}"
    title = f"{where}{test}, {JUDGED[first.metric]}"
    about = {"task": first.task, "backbone": first.backbone}
    parts: list[Part] = [Subheading(f"{title}, higher is better", about)]
    if scores is None:
        why = "No item was judged by the same judges in all rows and seeds, so nothing compares."
        parts.append(Text(why))
    else:
        parts.append(_scores(evidence, scores, f"Judged: {title}"))
    parts.append(_judges(judges, f"Judges: {title}"))
    if first.n_judges > 1:
        parts.append(Text(_agreement(first), quiet=True))
    return parts


def _agreement(judge: Any) -> str:
    """Say how far all judges agree, from the line of any of them."""
    if pd.isna(judge.alpha):
        return "How far judges agree is not known: no two judged the same, or all said the same."
    return (
        f"Krippendorff's alpha of the {judge.n_judges} judges is {number(judge.alpha)}; 1 is "
        "agreement, 0 that of chance."
    )


def _scores(evidence: Evidence, part: pd.DataFrame, title: str) -> Table:
    first = next(rows(part))
    even = first.metric == "win_rate"
    versus = "minus one half" if even else f"minus that of {first.reference or 'the reference'}"
    fields: tuple[Field, ...] = (
        plain(
            "won" if even else "rating", "mean over seeds, items and judges", "score", best="high"
        ),
        ends("95 %", "interval, for this row alone", "score_ci_low", "score_ci_high", "high"),
        difference(f"{versus}, on common seeds"),
        ends(
            "simultaneous 95 %",
            "interval of it",
            "vs_reference_low",
            "vs_reference_high",
            "high",
        ),
        plain("items", "items that count", "n_items", 0, best="high"),
        plain("seeds", "seeds with judged answers", "n_seeds", 0, best="high"),
    )
    ordered = part.sort_values("score", ascending=False, kind="stable")
    found = (
        Row(row.name, read(row, fields), evidence.colours[row.method], facets(row))
        for row in rows(ordered)
    )
    return table(title, "method", fields, found)


def _judges(part: pd.DataFrame, title: str) -> Table:
    pairs = next(rows(part)).metric == "win_rate"
    own: tuple[Field, ...] = (plain("mean", "mean of the judge's ratings", "mean", best="high"),)
    if pairs:
        own = (
            plain("ties", "share of its pairs", "tie_share"),
            plain("first won", "share of its other pairs; without bias, one half", "first_share"),
            ends("95 %", "interval of it", "first_ci_low", "first_ci_high"),
        )
    fields = (
        plain("judgements", "answers or pairs judged", "n_judgements", 0, best="high"),
        *own,
    )
    return table(title, "judge", fields, (Row(row.judge, read(row, fields)) for row in rows(part)))
