"""The reliability diagram against the calibration error that is printed beside it."""

from pathlib import Path

import numpy as np
import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.metrics.calibration import calibration_report
from gapbench.bench.store.record import Calibration
from gapbench.bench.store.store import Store
from gapbench.reports.figures.board import boards
from gapbench.reports.figures.reliability import reliability_diagrams
from gapbench.reports.render.report import gather
from gapbench.reports.results.predicted import predicted
from tests.support.results_folder import make_cell, make_predictions, make_record


def test_gaps_of_the_drawn_bins_add_up_to_the_printed_error(tmp_path: Path) -> None:
    """The diagram draws the very bins that the recorded errors sum, of every seed."""
    store, cell = Store(tmp_path), make_cell("lora")
    store.open_for_writing()
    store.write_plan("quickstart", [(Run(cell, seed), "default") for seed in range(3)])
    for seed in range(3):
        table = make_predictions(make_record(cell, seed))
        logits = np.stack([table["logit_0"].to_numpy(), table["logit_1"].to_numpy()], axis=1)
        logits[:5] = [1e3, 0.0]  # confidence 1, which has a bin of its own
        table = table.set_column(2, "logit_0", [logits[:, 0]])
        table = table.set_column(3, "logit_1", [logits[:, 1]])
        report = calibration_report(logits, table["label"].to_numpy(), 1.5)
        measured = Calibration(temperature=1.5, **report)
        store.write(make_record(cell, seed, calibration=measured), {"test": table})
    (board,) = boards(gather(tmp_path))
    (row,) = board.rows
    found = predicted(board.results, row, {})
    assert found is not None
    figure = reliability_diagrams(board, {row.config_hash: found})
    assert figure is not None
    gaps = (figure.data["confidence"] - figure.data["accuracy"]).abs()
    errors = (gaps * figure.data["count"]).groupby(figure.data["seed"]).sum() / 400
    assert errors.mean() == pytest.approx(row.ece, abs=1e-12)
    assert figure.data["count"].groupby(figure.data["seed"]).last().min() >= 5
