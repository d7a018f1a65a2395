"""What runs took, machine by machine: times of different machines do not compare."""

from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Part, Section, Subheading, Text
from gapbench.reports.figures.board import boards
from gapbench.reports.figures.throughput import machines, throughput

ORDER = 40

_HOW = (
    "Times of different machines cannot be compared, so each machine on which the reference ran "
    "has its own figures."
)


def section(evidence: Evidence) -> Section | None:
    """Return the section; None where nothing was measured."""
    found = boards(evidence)
    parts: list[Part] = []
    for number, machine in enumerate(machines(found)):
        here = [board for board in found if (board.table["machine"] == machine).any()]
        if figure := throughput(here, machine, number):
            parts += [Subheading(machine), figure]
    if not parts:
        return None
    return Section("throughput", "Speed and memory", (Text(_HOW, quiet=True), *parts))
