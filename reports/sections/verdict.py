"""The answer, task by task, in sentences."""

from reports.cells import heading
from reports.document import Bullets, Part, Section, Text
from reports.evidence import Evidence
from reports.verdict import verdict


def section(evidence: Evidence) -> Section:
    """Return the verdict on every task."""
    parts: list[Part] = []
    for block in evidence.blocks:
        parts += [heading(block), Bullets(tuple(verdict(block)))]
    return Section("verdict", "Verdict", tuple(parts or [Text("There is no readable run.")]))
