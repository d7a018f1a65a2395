"""What runs took, machine by machine: times of different machines do not compare."""

from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Folded, Part, Section, Subheading, Text
from gapbench.reports.figures.block import blocks
from gapbench.reports.figures.subset import detailed, undrawn
from gapbench.reports.figures.throughput import machines, relative, throughput

ORDER = 40

_HOW = "Times of different machines do not compare, so that each machine has figures of its own."


def section(evidence: Evidence) -> Section | None:
    """Return the section; None where nothing was measured."""
    found = blocks(evidence)
    parts: list[Part] = []
    for number, machine in enumerate(machines(found)):
        here = [block for block in found if (block.table["machine"] == machine).any()]
        drawn = [throughput(block, machine, number) for block in here[: detailed(len(here))]]
        single = [figure for figure in drawn if figure]
        overall = relative(here, machine, number)
        if overall or single:
            parts += [Subheading(machine), *([overall] if overall else single)]
        if overall and single:
            parts.append(Folded(f"Task by task: {machine}", (*undrawn(len(here)), *single)))
    if not parts:
        return None
    return Section("throughput", "Speed and memory", (Text(_HOW, quiet=True), *parts))
