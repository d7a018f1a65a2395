"""How much better scores look where the test split chooses the checkpoint."""

from pathlib import Path

import pytest

from gapbench.bench.store.record import Checkpoint, Record
from gapbench.bench.store.store import Store
from gapbench.reports.figures.board import Board, boards
from gapbench.reports.render.report import gather
from gapbench.reports.sections._selection_bias import _amounts, _checkpoints, selection_bias
from gapbench.reports.tables.terminal import number
from tests.support.results_folder import make_cell, make_record, make_task, put

METHODS = ("full", "lora")


def stored(root: Path, *, protocol: str = "strict", kind: str = "classification") -> list[Record]:
    """Fill a folder with two methods and two seeds, whose checkpoints are at different steps."""
    store = Store(root)
    store.open_for_writing()
    made = []
    for method in METHODS:
        cell = make_cell(method, task=make_task(kind=kind), protocol=protocol)
        for seed, place in ((0, -1), (1, 2)):
            record = make_record(cell, seed)
            chosen = record.curve[place]
            at = Checkpoint(step=chosen.step, validation_score=chosen.validation_score)
            made.append(record.model_copy(update={"checkpoint": at}))
            put(store, made[-1])
    return made


def board_of(root: Path) -> Board:
    """Return the only board of a folder."""
    [board] = boards(gather(root))
    return board


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_amount_is_best_on_test_less_that_of_the_checkpoint(tmp_path: Path, kind: str) -> None:
    """By hand from the curves, for metrics of both directions."""
    records = {record.run_hash: record for record in stored(tmp_path, kind=kind)}
    board = board_of(tmp_path)
    for row in board.rows:
        expected = []
        for run in row.ok_runs.values():
            record = records[run]
            tests = {point.step: point.test_score for point in record.curve}
            own = tests[record.checkpoint.step]
            expected.append(
                own - min(tests.values()) if kind == "regression" else max(tests.values()) - own
            )
        assert _amounts(board, row, _checkpoints(board)) == pytest.approx(expected)
        assert min(expected) >= 0
        assert max(expected) > 0


def test_strict_rows_are_told_what_the_papers_choice_would_add(tmp_path: Path) -> None:
    """The mean over methods, and the method that would gain most."""
    stored(tmp_path)
    board = board_of(tmp_path)
    means = {row.method: sum(_amounts(board, row, _checkpoints(board))) / 2 for row in board.rows}
    said = selection_bias(board)
    most = max(means, key=means.__getitem__)
    assert f"by {number(sum(means.values()) / 2)} on average" in said
    assert f"by {number(means[most])} for {most}." in said
    assert "would look too good" in said


def test_paper_rows_are_compared_with_the_last_checkpoint(tmp_path: Path) -> None:
    """What chose on the test split is set against not choosing at all."""
    records = stored(tmp_path, protocol="paper")
    board = board_of(tmp_path)
    for row in board.rows:
        curves = [r.curve for r in records if r.cell.method == row.method]
        expected = [max(p.test_score for p in curve) - curve[-1].test_score for curve in curves]
        assert _amounts(board, row, _checkpoints(board)) == pytest.approx(expected)
    assert "The test split chose these checkpoints" in selection_bias(board)


def test_a_single_evaluation_says_nothing(tmp_path: Path) -> None:
    """Where there was nothing to choose between, there is no sentence."""
    store = Store(tmp_path)
    store.open_for_writing()
    record = make_record(make_cell("lora", task=make_task()), 0)
    put(store, record.model_copy(update={"curve": record.curve[-1:]}))
    assert selection_bias(board_of(tmp_path)) == ""
