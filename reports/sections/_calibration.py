"""How far the probabilities of one task may be believed, before and after temperature scaling."""

from collections.abc import Iterator
from typing import Any

from gapbench.reports.document.columns import Field, best_possible, plain, table_of, title, value
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Column, Part, Value
from gapbench.reports.figures.board import Board
from gapbench.reports.figures.reliability import reliability_diagrams
from gapbench.reports.results.predicted import Predicted, predicted
from gapbench.reports.tables.terminal import number

ECE = "calibration error of the top label, before temperature scaling; 15 bins of equal width"
"""What the columns of that name hold."""

BAYES = {"score": "score", "ECE": "ece", "Brier": "brier", "NLL": "nll"}
"""Measures of the best possible predictor, by the headings that they stand under."""


def calibration(evidence: Evidence, board: Board, *, drawn: bool) -> Iterator[Part]:
    """Yield the reliability diagram, and errors before and after temperature scaling.

    Args:
        evidence: of the report.
        board: rows of which some have class probabilities.
        drawn: whether to read stored predictions for the diagram.
    """
    known = board.only(board.table[board.table["ece"].notna()])
    found = judged(known) if drawn else {}
    if drawn and (figure := reliability_diagrams(known, found)):
        yield figure
    distances = {name: each.distance(calibrated=False) for name, each in found.items()}
    fields: tuple[Field, ...] = (
        plain("ECE", ECE, "ece"),
        plain("floor", "ECE of a calibrated model with such confidences, by chance", "ece_floor"),
        plain("classwise", "ECE of all class probabilities, mean over classes", "ece_classwise"),
        plain("ECE, scaled", "after the temperature fitted on validation", "ece_calibrated"),
        plain("temperature", "above 1: the model was overconfident", "temperature", 2),
        plain("Brier", "squared error of the probabilities", "brier"),
        plain("NLL", "negative log-likelihood, nats", "nll"),
    )
    if any(distances.values()):
        fields = (*fields, _distance(distances))
    footer = best_possible(evidence, board.table, fields, BAYES)
    yield table_of(known.table, f"Calibration: {title(board.table)}", fields, evidence, footer)


def judged(board: Board) -> dict[str, Predicted]:
    """Return the stored predictions of a board's rows, by config hash, where there are any."""
    strict = board.runs[board.runs["protocol"] != "paper"]
    temperatures = {
        str(run): float(fitted) for run, fitted in strict["temperature"].dropna().items()
    }
    found = {row.config_hash: predicted(board.results, row, temperatures) for row in board.rows}
    return {name: each for name, each in found.items() if each is not None}


def _distance(distances: dict[str, float | None]) -> Field:
    def read(row: Any) -> Value:
        distance = distances.get(row.config_hash)
        return value(distance, number(distance))

    hint = "mean total variation distance to the true class probabilities, before scaling"
    return Field(Column("distance", hint), read)
