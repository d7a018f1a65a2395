"""How far probabilities may be believed, before and after temperature scaling."""

from typing import Any

import pandas as pd

from gapbench.reports.document.columns import (
    Field,
    best_possible,
    heading,
    plain,
    table_of,
    title,
    value,
)
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Column, Part, Section, Text
from gapbench.reports.figures.block import Block, blocks
from gapbench.reports.figures.calibration import errors, reliability_diagrams
from gapbench.reports.figures.heatmaps import ERRORS, overview
from gapbench.reports.figures.subset import detailed, undrawn
from gapbench.reports.results.predicted import Predicted, predicted
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.terminal import label, number

ORDER = 60

FIELDS = (
    plain("ECE", "expected calibration error, 15 bins of equal width", "ece"),
    plain(
        "ECE, calibrated",
        "after scaling by the temperature fitted on validation",
        "ece_calibrated",
    ),
    plain("temperature", "above 1: the model was overconfident", "temperature", 2),
    plain("Brier", "squared error of the probabilities", "brier"),
    plain("NLL", "negative log-likelihood, nats", "nll"),
)
_BAYES = {"ECE": "ece", "Brier": "brier", "NLL": "nll"}
_HOW = (
    "The expected calibration error (ECE) is the mean difference between confidence and accuracy "
    "over 15 bins of confidence, weighted by their counts. Scaling divides logits by a temperature "
    "that was fitted on validation; it changes no predicted class. Where validation is the test "
    "split, as under the papers' protocol, such an error would flatter and is left out."
)
_DISTANCE = (
    "Where the task is built in, the true class probabilities are known; the distance to them is "
    "half the sum of absolute differences (total variation), mean over test examples."
)


def section(evidence: Evidence) -> Section:
    """Return the section; it says so where no run has class probabilities."""
    found = [block for block in blocks(evidence) if block.table["ece"].notna().any()]
    if not found:
        nothing = Text("No run has class probabilities to judge.")
        return Section("calibration", "Calibration", (nothing,))
    parts: list[Part] = [Text(f"{_HOW} {_DISTANCE}", quiet=True)]
    parts += undrawn(len(found))
    if figure := overview(ERRORS, found):
        parts.append(figure)
    for place, block in enumerate(found):
        parts += _block(evidence, block, drawn=place < detailed(len(found)))
    return Section("calibration", "Calibration", tuple(parts))


def _block(evidence: Evidence, block: Block, *, drawn: bool) -> list[Part]:
    """Return what is said of one task and backbone; with figures, predictions are read for them."""
    known = block.only(block.table[block.table["ece"].notna()])
    judged = _judged(known) if drawn else {}
    distances = {name: found.distance(calibrated=False) for name, found in judged.items()}
    fields = (*FIELDS, _distance(distances)) if any(distances.values()) else FIELDS
    footer = best_possible(evidence, block.table, fields, _BAYES)
    name = f"Calibration: {title(block.table)}"
    figures = [errors(known, judged), reliability_diagrams(known, judged)] if drawn else []
    return [
        heading(block.table),
        Text(" ".join(filter(None, (_errors(known), _closest(known, distances))))),
        *(figure for figure in figures if figure is not None),
        table_of(known.table, name, fields, evidence, footer),
    ]


def _judged(block: Block) -> dict[str, Predicted]:
    strict = block.runs[block.runs["protocol"] != "paper"]
    temperatures = {
        str(run): float(fitted) for run, fitted in strict["temperature"].dropna().items()
    }
    found = {row.config_hash: predicted(block.results, row, temperatures) for row in block.rows}
    return {name: each for name, each in found.items() if each is not None}


def _distance(distances: dict[str, float | None]) -> Field:
    def shown(row: Any) -> Any:
        distance = distances.get(row.config_hash)
        return value(distance, number(distance))

    hint = "mean total variation distance to the true class probabilities, before scaling"
    return Field(Column("distance", hint), shown)


def _errors(block: Block) -> str:
    """Say how large the errors are, and what scaling did to them."""
    ordered = list(rows(block.table.sort_values("ece", kind="stable")))
    ends = [f"{number(row.ece)} ({label(row.method, row.variant)})" for row in ordered]
    text = f"Mean ECE is {ends[0]}."
    if len(ends) > 1:
        text = f"Mean ECE reaches from {ends[0]} to {ends[-1]}."
    calibrated = [row for row in ordered if pd.notna(row.ece_calibrated)]
    if not calibrated:
        return text
    lower = sum(row.ece_calibrated < row.ece for row in calibrated)
    largest = max(row.ece_calibrated for row in calibrated)
    return (
        f"{text} Scaling lowers it for {lower} of {len(calibrated)} methods; the largest is then "
        f"{number(largest)}."
    )


def _closest(block: Block, distances: dict[str, float | None]) -> str:
    known = {
        label(row.method, row.variant): distance
        for row in block.rows
        if (distance := distances.get(row.config_hash)) is not None
    }
    if len(known) < 2:
        return ""
    near, far = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    return (
        f"Closest to the true probabilities is {near} ({number(known[near])}), furthest from them "
        f"{far} ({number(known[far])})."
    )
