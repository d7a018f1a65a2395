"""What methods report of themselves: chosen layers, kept ranks, and the like."""

from typing import Any

from reports.cells import facets, heading, read, table, title, worded
from reports.document import Part, Row, Section, Text
from reports.evidence import Evidence
from reports.leaderboard import rows
from reports.notes import findings

_FIELDS = (
    worded("what", "", lambda finding: finding.what),
    worded("over seeds", "", lambda finding: finding.text),
)
_HOW = (
    "Over the finished seeds: a choice with the number of seeds that made it, a number as mean "
    "(smallest to largest)."
)


def section(evidence: Evidence) -> Section:
    """Return the section; it says so where no method reports anything."""
    parts: list[Part] = []
    for block in evidence.blocks:
        lines = [line for row in rows(block) for line in _lines(evidence, row)]
        if lines:
            name = f"What methods report of themselves: {title(block)}"
            parts += [heading(block), table(name, "method", _FIELDS, lines)]
    parts = [Text(_HOW, quiet=True), *parts] if parts else [Text("No method of these runs does.")]
    return Section("findings", "What methods report of themselves", tuple(parts))


def _lines(evidence: Evidence, row: Any) -> list[Row]:
    """Return what one row of a `summarise` table reports."""
    colour = evidence.colours[row.method]
    return [
        Row(finding.name, read(finding, _FIELDS), colour, facets(row))
        for finding in findings(evidence.results, row)
    ]
