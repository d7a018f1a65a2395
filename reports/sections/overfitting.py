"""How far scores on seen examples lie above those on unseen ones, and how that came about."""

from reports.cells import heading
from reports.document import Part, Section, Text
from reports.evidence import Evidence
from reports.figures.curves import gap_curves
from reports.sections.pictures import picture

_GAP = (
    "The generalization gap is the train score minus the test score (turned round where lower is "
    "better), both in evaluation mode: above zero, the method does better on what it has seen. "
    "Curves use a fixed sample of each split."
)


def section(evidence: Evidence) -> Section:
    """Return the section; it says so where no run has stored scores along training."""
    parts: list[Part] = []
    for place, block in enumerate(evidence.blocks):
        drawn = gap_curves(evidence.results, block, dict(evidence.colours))
        if drawn is not None:
            parts += [heading(block), picture(f"gap-{place}", drawn)]
    nothing = Text("No run has stored scores along training.")
    return Section("overfitting", "Overfitting", (Text(_GAP, quiet=True), *(parts or [nothing])))
