"""What papers print, beside what was measured under the same names."""

from itertools import groupby

from gapbench.bench.metrics.base import metric_in_words
from gapbench.reports.document.columns import Field, plain, read, table, value, worded
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Column, Folded, Part, Row, Section, Subheading, Text
from gapbench.reports.tables.published import DIGITS

ORDER = 60

_FIELDS = (
    worded("metric", "", lambda pair: metric_in_words(pair.metric)),
    plain("measured", "mean over seeds, or median where the paper gives that", "measured", DIGITS),
    plain("seeds", "seeds with a score", "seeds", 0),
    Field(
        Column("published", "a question mark: from memory, verified by nobody"),
        lambda pair: value(pair.figure.value, pair.figure.text),
    ),
    worded(
        "where",
        "",
        lambda pair: ", ".join(filter(None, (pair.figure.source, pair.figure.aggregate))),
    ),
    worded("how sure", "", lambda pair: pair.figure.sureness),
    worded("note", "", lambda pair: pair.figure.note),
)
_HOW = (
    "What papers print for the same method, task, backbone and metric: context, and no pass mark, "
    "as settings, data and protocol may differ. Measured is the mean over seeds, or their median "
    "where the paper gives that. Only figures marked as read were read in the paper or its "
    "authors' code; a question mark stands behind those from memory, which nobody has verified."
)


def section(evidence: Evidence) -> Section | None:
    """Return the section; None where nothing is published."""
    if not evidence.published:
        return None
    parts: list[Part] = [Text(_HOW, quiet=True)]
    for where, pairs in groupby(evidence.published, key=lambda pair: pair.place):
        lines = [Row(pair.name, read(pair, _FIELDS)) for pair in pairs]
        parts += [Subheading(where), table(f"Published: {where}", "method", _FIELDS, lines)]
    folded = Folded(f"{len(evidence.published)} published scores", tuple(parts[1:]))
    return Section("published", "Published scores beside measured ones", (parts[0], folded))
