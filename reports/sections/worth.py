"""What each method is worth in training examples, where the reference ran at several sizes."""

from typing import Any

from gapbench.reports.document.columns import Field, plain, table_of, title, value
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Column, Part, Section, Subheading, Text, Value
from gapbench.reports.figures.board import Board, boards
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.stats.worth import Worth, worth
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.row_samples import sampled
from gapbench.reports.tables.row_status import RANKED
from gapbench.reports.tables.words import listed

ORDER = 35

_SIZE = "budget.train_size"
_TOLD = (*RANKED, "untrained")  # others have lost runs, and the means of what is left flatter
_HOW = (
    "A score is worth the number of training examples at which the reference reaches it, less "
    "those that the method had. Between two sizes, the reference's score lies on a straight line "
    "over the logarithm of the size. In brackets: 95 % interval over common seeds and test items, "
    "for this row alone. Nothing is said beyond the sizes that were run, where the reference's "
    "mean score does not rise from each size to the next, or where values of test items are "
    "unknown. Chance in drawing the examples is in the intervals only where 'resample' draws them "
    "anew for each seed; the smaller sample is part of the larger only with folds."
)


def section(evidence: Evidence) -> Section | None:
    """Return the section; None where the reference ran at one size only."""
    parts: list[Part] = []
    for board in boards(evidence):
        parts += _board(evidence, board)
    if not parts:
        return None
    return Section("worth", "Worth in training examples", (Text(_HOW, quiet=True), *parts))


def _board(evidence: Evidence, board: Board) -> list[Part]:
    """Return what is said of the rows of one task and backbone; nothing without a curve."""
    reference = next((row for row in board.rows if row.name == board.verdict.reference), None)
    if reference is None or len(board.rows) < 2:
        return []
    size = evidence.results.terms.get(reference.setting, {}).get(_SIZE)
    sizes = _sizes(evidence, reference)
    if size not in sizes or len(sizes) < 2:
        return []
    every = reference.standing.rows | {
        f"{_SIZE} {each}": row.standing.rows[row.name] for each, row in sizes.items()
    }
    known = sampled(evidence.results, every, "score", up=board.upward)
    curve = {each: known[f"{_SIZE} {each}"] for each in sizes}
    hint = f"training examples more than {size} at which {reference.name} reaches this score"

    def read(row: Any) -> Value:
        if row.name == reference.name or row.standing.status[row.name] not in _TOLD:
            return Value("")
        found = worth(curve, known[row.name], upward=board.upward)
        key = None if found is None else found.size or found.low or found.high
        return value(key, _worded(found, size))

    fields = (
        plain("score", "mean test score over seeds", "score", best="high"),
        Field(Column("worth", hint, best="high"), read),
    )
    where = title(board.table)
    several = listed([f"{each:,}" for each in sorted(sizes)])
    return [
        Subheading(where, {"task": reference.task, "backbone": reference.backbone}),
        Text(f"All rows trained on {size:,} examples, {reference.name} on {several} in turn."),
        table_of(board.table, f"Worth in examples: {where}", fields, evidence),
    ]


def _sizes(evidence: Evidence, reference: Any) -> dict[int, Any]:
    """Return the rows of the reference by size of the training set."""
    results = evidence.results
    wanted = _identity(results, reference)
    found = {
        results.terms[row.setting][_SIZE]: row
        for row in rows(evidence.summary)
        if row.standing.status[row.name] in RANKED and _identity(results, row) == wanted
    }
    return {size: row for size, row in found.items() if size is not None}


def _identity(results: LoadedResults, row: Any) -> Any:
    """Return all that decides a row's scores except the size of its training set."""
    record, terms = results.cells.get(row.config_hash), results.terms.get(row.setting)
    if record is None or terms is None:
        return None
    cell = record.cell
    others = {name: text for name, text in terms.items() if name != _SIZE}
    return cell.method, cell.config, cell.training, others


def _worded(found: Worth | None, size: int) -> str:
    """Return a worth as text, in examples more than ``size``."""
    if found is None:
        return "not told"
    low, high = (
        None if end is None else f"{_rough(end - size)}" for end in (found.low, found.high)
    )
    if found.size is None:
        return f"more than {low}" if high is None else f"less than {high}"
    ends = f"{low or 'less'} to {high or 'more'}"
    return f"about {_rough(found.size - size)} ({ends})"


def _rough(examples: float) -> str:
    """Return a signed number in two figures."""
    digits = max(0, len(f"{abs(examples):.0f}") - 2)
    return f"{round(examples, -digits) + 0.0:+,.0f}"  # no minus before a zero
