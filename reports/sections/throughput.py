"""What runs took, machine by machine: times of different machines do not compare."""

from reports.document import Part, Section, Text
from reports.evidence import Evidence
from reports.figures.costs import throughput
from reports.sections.pictures import picture

_APART = "Each machine has a figure of its own: times of different machines do not compare."


def section(evidence: Evidence) -> Section:
    """Return the section; it says so where nothing was measured."""
    known = evidence.summary[evidence.summary["machine"] != ""]
    machines = [table for _, table in known.groupby("machine", sort=True)]
    parts: list[Part] = [Text(_APART, quiet=True)] if len(machines) > 1 else []
    drawn = [throughput(table, dict(evidence.colours)) for table in machines]
    pictures = [
        picture(f"throughput-{place}", figure)
        for place, figure in enumerate(drawn)
        if figure is not None
    ]
    parts += pictures or [Text("No run has measured costs.")]
    return Section("throughput", "Throughput and cost", tuple(parts))
