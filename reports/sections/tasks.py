"""Task by task: differences to the reference, one table, and how overfitting came about."""

from collections.abc import Iterator

from gapbench.reports.document.columns import (
    best_possible,
    heading,
    table_of,
    title,
)
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Bullets, Folded, Part, Section, Text
from gapbench.reports.figures.board import Board, boards
from gapbench.reports.figures.forest import forest
from gapbench.reports.figures.levels import levels
from gapbench.reports.figures.subset import detailed, undrawn
from gapbench.reports.figures.tradeoff import tradeoff
from gapbench.reports.figures.training import curves
from gapbench.reports.prose.card import in_short
from gapbench.reports.sections._calibration import BAYES, calibration
from gapbench.reports.sections._comparison import comparison_fields, note_on_rows, note_on_times
from gapbench.reports.sections._draws import draws, fits
from gapbench.reports.sections._selection_bias import selection_bias

ORDER = 30

_PAPER = (
    "Rows marked [paper] follow the papers' protocol: their checkpoint was chosen on the test "
    "split, so their scores are too good."
)
_LOOKS = (
    "A method has the same colour and mark everywhere; the mark tells methods of one colour apart. "
    "What trains nothing is grey."
)


def section(evidence: Evidence) -> Section:
    """Return the section."""
    found = boards(evidence)
    parts: list[Part] = [Text(_LOOKS, quiet=True), *undrawn(len(found))]
    if (evidence.summary["protocol"] == "paper").any():
        parts.append(Text(_PAPER))
    for place, board in enumerate(found):
        parts += _board(evidence, board, drawn=place < detailed(len(found)))
    return Section("tasks", "Task by task", tuple(parts))


def _board(evidence: Evidence, board: Board, *, drawn: bool) -> list[Part]:
    """Return what is said of one task and backbone."""
    fields = tuple(comparison_fields(board))
    footer = best_possible(evidence, board.table, fields, BAYES)
    name = f"Comparison: {title(board.table)}"
    table = table_of(board.table, name, fields, evidence, footer)
    said = Text(
        f"{board.verdict.recommended or 'No recommendation yet'}: {in_short(board.verdict)}."
    )
    first, *others = (forest(board), tradeoff(board), curves(board)) if drawn else (None,)
    parts: list[Part | None] = [
        heading(board.table, measured=True),
        said,
        first,
        table,
        note_on_rows(board),
        note_on_times(board),
        *others,
    ]
    folded = tuple(_folded(evidence, board, drawn=drawn))
    if folded:
        parts.append(Folded(f"Single scores and calibration: {board.place}", folded))
    return [part for part in parts if part is not None]


def _folded(evidence: Evidence, board: Board, *, drawn: bool) -> Iterator[Part]:
    """Yield the detail that few readers look for."""
    if drawn and (figure := levels(board)):
        yield figure
    beaten = [
        f"{each.name} is beaten by {', '.join(each.beaten_by)}"
        for each in board.verdict.entries
        if each.beaten_by
    ]
    not_ranked = [f"{e.name} is not ranked: {e.why}" for e in board.verdict.entries if e.why]
    said = (*beaten, *not_ranked, draws(board), fits(board), selection_bias(board))
    if found := tuple(filter(None, said)):
        yield Bullets(found)
    if board.table["ece"].notna().any():
        yield from calibration(evidence, board, drawn=drawn)
