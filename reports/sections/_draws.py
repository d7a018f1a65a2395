"""How many training examples methods drew, where that differs."""

from gapbench.reports.figures.board import Board
from gapbench.reports.results.rows import counted
from gapbench.reports.tables.words import listed


def draws(board: Board) -> str:
    """Say how many training examples the methods of a task drew; "" where all drew alike."""
    drawn: dict[str, list[str]] = {}
    for row in board.rows:
        record = board.results.cells.get(row.config_hash)
        if record is not None and record.cost is not None and record.cost.drawn:
            drawn.setdefault(counted(record.cost.drawn), []).append(row.name)
    if len(drawn) < 2:
        return ""
    said = "; ".join(f"{parts} ({listed(names)})" for parts, names in drawn.items())
    return (
        f"Training examples drawn by each method, and the part of the data they come from: {said}. "
        "The last batch of an epoch may be partial, so parts of other sizes draw a few more or "
        "less."
    )


def fits(board: Board) -> str:
    """Say which methods fitted something after training, and on what; "" if none did."""
    found: dict[str, list[str]] = {}
    for row in board.rows:
        record = board.results.cells.get(row.config_hash)
        if record is not None and record.cost is not None and record.cost.fit_examples:
            found.setdefault(counted(record.cost.fit_examples), []).append(row.name)
    said = "; ".join(f"{parts} ({listed(names)})" for parts, names in found.items())
    return (
        f"Examples passed forward in a fit after training, by split: {said}. Training FLOPs and "
        "time include it."
        if said
        else ""
    )
