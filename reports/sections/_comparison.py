"""The columns of the comparison of a task: scores beside the reference, and what rows cost."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import pandas as pd

from gapbench.reports.document.columns import Field, ends, plain, value
from gapbench.reports.document.model import Column, Text, Value
from gapbench.reports.figures.board import Board
from gapbench.reports.prose.not_compared import by_reason
from gapbench.reports.sections._calibration import ECE
from gapbench.reports.sections.all_tasks import beaten, difference
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.terminal import duration, memory, short
from gapbench.reports.tables.words import times
from gapbench.reports.verdict.model import Entry, Verdict

_ELSEWHERE = "\N{DAGGER}"


def comparison_fields(board: Board) -> Iterator[Field]:
    """Yield the columns of the comparison."""
    reference = board.verdict.reference or "the best method"
    yield from _scores(board, reference)
    yield from _gaps(board, reference)
    yield from _costs(board, reference)
    yield plain("seeds", "seeds with a score", "n_seeds", 0, best="high")
    if (board.table["n_failed"] > 0).any():
        yield plain("failed", "runs that failed, diverged or ran out of memory", "n_failed", 0)


def note_on_times(board: Board) -> Text | None:
    """Say which times and memory do not compare with the others; None if all do."""
    if not _elsewhere(board):
        return None
    said = f"{_ELSEWHERE} measured on another machine, or with other threads, than"
    home = _timed(board)[0].name
    return Text(f"{said} {home}: neither time nor memory compares.", quiet=True)


def note_on_rows(board: Board) -> Text | None:
    """Say which rows have scores and are not compared, and why; None if all are."""
    if not board.verdict.kept_out:
        return None
    return Text(f"Not compared: {by_reason(board.verdict.kept_out, several=False)}.", quiet=True)


def _scores(board: Board, reference: str) -> Iterator[Field]:
    best: Literal["high", "low"] = "high" if board.upward else "low"
    yield _of_entry(
        board.verdict,
        Column("beaten by", "how many methods are shown to be better; empty: not ranked"),
        beaten,
    )
    yield plain("score", "mean test score over seeds", "score", best=best)
    yield ends(
        "95 %",
        "interval of the score, for this method alone",
        "score_ci_low",
        "score_ci_high",
        best,
    )
    yield _of_entry(
        board.verdict,
        Column(
            "Δ score",
            f"score minus that of {reference}, on common seeds; a triangle up is shown to be "
            "better, one down shown to be worse",
            best=best,
        ),
        lambda entry: difference(entry, "score"),
    )


def _gaps(board: Board, reference: str) -> Iterator[Field]:
    """Yield how far rows overfit, and how well they are calibrated."""
    yield plain(
        "gap", "train minus test score; sign flipped where lower is better", "generalization_gap"
    )
    yield _of_entry(
        board.verdict,
        Column("Δ gap", f"gap minus that of {reference}; below zero, it overfits less"),
        lambda entry: difference(entry, "gap"),
    )
    if board.table["ece"].notna().any():
        yield plain("ECE", ECE, "ece")
        yield _of_entry(
            board.verdict,
            Column("Δ ECE", f"ECE minus that of {reference}; below zero is better"),
            lambda entry: difference(entry, "ece"),
        )


def _costs(board: Board, reference: str) -> Iterator[Field]:
    elsewhere = _elsewhere(board)

    def measured(heading: str, hint: str, column: str, form: Callable[[Any], str]) -> Field:
        """Mark what was measured where the reference was not."""

        def read(row: Any) -> Value:
            text = form(getattr(row, column))
            mark = f" {_ELSEWHERE}" if text and row.name in elsewhere else ""
            return value(getattr(row, column), text + mark)

        return Field(Column(heading, hint), read)

    yield _of_entry(
        board.verdict,
        Column("training", f"training FLOPs in multiples of those of {reference}"),
        lambda entry: value(entry.training, times(entry.training)),
    )
    yield measured("time", "training time of a run, the median", "train_seconds", duration)
    yield measured("scoring", "time of scoring a run, the median", "evaluation_seconds", duration)
    if (board.table["inference_passes"] != 1).any():
        yield plain("passes", "passes that predict one example", "inference_passes", 0, best="low")
    yield measured("memory", "peak memory, the median", "peak_memory_bytes", memory)
    yield Field(
        Column("params", "trainable parameters"),
        lambda row: value(row.trainable_params, short(row.trainable_params)),
    )


def _timed(board: Board) -> list[Any]:
    """Return the rows with times, the reference first: its machine is that of the comparison."""
    found = (row for row in rows(board.table) if pd.notna(row.train_seconds))
    return sorted(found, key=lambda row: row.name != board.verdict.reference)


def _elsewhere(board: Board) -> set[str]:
    """Return the rows that were measured where the reference was not."""
    timed = _timed(board)
    return {row.name for row in timed if row.machine != timed[0].machine}


def _of_entry(verdict: Verdict, column: Column, read: Callable[[Entry], Value]) -> Field:
    """Return a field that reads a row's entry in the verdict."""
    return Field(column, lambda row: read(verdict[row.name]))
