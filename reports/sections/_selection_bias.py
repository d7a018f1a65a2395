"""How much better scores look where the test split chooses the checkpoints."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gapbench.bench.metrics.base import metric_in_words
from gapbench.reports.figures.board import Board
from gapbench.reports.results.rows import CURVE
from gapbench.reports.tables.terminal import label, number


def selection_bias(board: Board) -> str:
    """Say by how much the test split's choice of checkpoints moves the scores of a board.

    Empty where no run that trained was scored more than once along its training.
    """
    checkpoints = _checkpoints(board)
    found = {
        row.config_hash: _amounts(board, row, checkpoints) for row in board.rows if row.ok_runs
    }
    known = [row for row in board.rows if found.get(row.config_hash)]
    if not known:
        return ""
    means = {label(r.method, r.variant): float(np.mean(found[r.config_hash])) for r in known}
    metric = metric_in_words(board.results.cells[known[0].config_hash].cell.task.selection)
    most = max(means, key=means.__getitem__)
    average = number(float(np.mean(list(means.values()))))
    whom = f"{number(means[most])} for {most}"
    spread = f"{average} on average and by {whom}" if len(means) > 1 else whom
    if not checkpoints:
        return (
            "The test split chose these checkpoints: on the sample and at the points of its curve, "
            f"their {metric} is better than at the last ones by {spread}."
        )
    return (
        "Had the test split chosen the checkpoints, as under the protocol paper, scores would look "
        f"too good: on the sample and at the points of the curves, {metric} would be better by "
        f"{spread}."
    )


def _checkpoints(board: Board) -> dict[str, int]:
    """Return the steps that were not chosen on the test split, by run hash."""
    by_test = (board.table["protocol"] == "paper").all()
    steps = board.runs["checkpoint_step"]
    return {} if by_test else dict(zip(map(str, steps.index), steps, strict=True))


def _amounts(board: Board, row: Any, checkpoints: Mapping[str, int]) -> list[float]:
    """Return for each run how much better its best test score is than that of its checkpoint.

    Never negative.

    Args:
        board: of the row.
        row: whose runs ended.
        checkpoints: as `_checkpoints` returns them; without any, the last points count as chosen.
    """
    task = board.results.cells[row.config_hash].cell.task
    sign = 1 if task.selection_metric.higher_is_better else -1
    found = []
    for run in row.ok_runs.values():
        curve = board.results.curves.get(run)
        if curve is None or len(curve) < 2:
            continue
        scores = sign * curve[:, CURVE.index("test_score")]
        steps = curve[:, CURVE.index("step")]
        chosen = checkpoints[run] if checkpoints else steps[-1]
        own = scores[steps == chosen]
        if len(own) == 1 and np.isfinite(own[0]):
            found.append(float(np.nanmax(scores) - own[0]))
    return found
