"""How far probabilities may be believed, before and after temperature scaling."""

from reports.cells import best_possible, heading, plain, table_of, title
from reports.document import Part, Section, Text
from reports.evidence import Evidence
from reports.figures.curves import reliability_diagrams
from reports.sections.pictures import picture

FIELDS = (
    plain("ECE", "expected calibration error, 15 bins of equal width", "ece"),
    plain(
        "ECE, scaled",
        "after scaling by the temperature fitted on validation",
        "ece_calibrated",
    ),
    plain("temperature", "above 1: the model was overconfident", "temperature", 2),
    plain("Brier", "squared error of the probabilities", "brier"),
    plain("NLL", "negative log-likelihood, nats", "nll"),
)
_BAYES = {"ECE": "ece", "Brier": "brier", "NLL": "nll"}


def section(evidence: Evidence) -> Section:
    """Return the section; it says so where no run has class probabilities."""
    parts: list[Part] = []
    for place, block in enumerate(evidence.blocks):
        calibrated = block[block["ece"].notna()]
        if calibrated.empty:
            continue
        footer = best_possible(evidence, block, FIELDS, _BAYES)
        name = f"Calibration: {title(block)}"
        parts += [heading(block), table_of(calibrated, name, FIELDS, evidence, footer)]
        drawn = reliability_diagrams(evidence.results, block, dict(evidence.colours))
        if drawn is not None:
            parts.append(picture(f"reliability-{place}", drawn))
    nothing = Text("No run has class probabilities to judge.")
    return Section("calibration", "Calibration", tuple(parts or [nothing]))
