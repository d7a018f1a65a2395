"""The answer: what to use, how sure that is, and what to keep in mind."""

from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Bullets, Part, Section, Subheading, Text
from gapbench.reports.prose.card import card
from gapbench.reports.sections.limits import found_limits

ORDER = 10

_CAUTIONS = 3


def section(evidence: Evidence) -> Section:
    """Return a card for every suite of several tasks, or for every task."""
    parts: list[Part] = [card(verdict) for verdict in evidence.verdicts]
    if not parts:
        return Section("answer", "Answer", (Text("There is no readable run."),))
    if limits := found_limits(evidence)[:_CAUTIONS]:
        parts += [Subheading("Keep in mind"), Bullets(tuple(limits))]
    return Section("answer", "Answer", tuple(parts))
