"""The figure of scores and losses along training."""

from pathlib import Path

import pandas as pd
import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.store.record import CurvePoint
from gapbench.bench.store.store import Store
from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.board import boards
from gapbench.reports.figures.training import curves
from gapbench.reports.render.report import gather
from tests.support.results_folder import make_cell, make_record, put


def _point(step: int, *, scored: bool) -> CurvePoint:
    """Return scores that fall by a thousandth with every step, losses that rise as much."""
    value = 0.9 - step / 1000
    more = {f"{split}_{kind}": value for split in ("train", "test") for kind in ("score", "loss")}
    return CurvePoint(
        step=step, validation_score=value, validation_loss=1 - value, **(more if scored else {})
    )


def _drawn(root: Path, *steps: list[int]) -> FigureArtifact:
    """Return the figure of runs that were scored at these steps, train and test at every other."""
    store, cell = Store(root), make_cell()
    store.open_for_writing()
    store.write_plan("q", [(Run(cell, seed), "default") for seed in range(len(steps))])
    for seed, own in enumerate(steps):
        points = tuple(_point(step, scored=place % 2 == 0) for place, step in enumerate(own))
        put(store, make_record(cell, seed, curve=points))
    (board,) = boards(gather(root))
    found = curves(board)
    assert found is not None
    return found


def _of(found: FigureArtifact, split: str) -> pd.DataFrame:
    return found.data[(found.data["split"] == split) & (found.data["of"] == "score")]


def test_runs_of_unlike_steps_meet_at_one_step(tmp_path: Path) -> None:
    """Folds of unlike sizes: what is a function of the step alone has no spread between seeds."""
    found = _drawn(tmp_path, [0, 30, 60, 90, 120], [0, 20, 40, 60, 80])
    validation, test = _of(found, "validation"), _of(found, "test")
    assert validation["step"].tolist() == [0, 20, 40, 60, 80]
    assert test["step"].tolist() == [0, 40, 80]
    for drawn in (validation, test):
        for column in ("mean", "lowest", "highest"):
            assert drawn[column].tolist() == pytest.approx((0.9 - drawn["step"] / 1000).tolist())
    assert "those at the steps of the shortest run" in found.title


def test_run_that_ended_early_shares_the_points_of_the_others(tmp_path: Path) -> None:
    """Patience ended it; nothing lies between points."""
    found = _drawn(tmp_path, [0, 20, 40, 60, 80], [0, 20, 40])
    assert _of(found, "validation")["step"].tolist() == [0, 20, 40]
    assert "the shortest run" not in found.title


def test_triangles_of_checkpoints_stand_on_the_axis(tmp_path: Path) -> None:
    """None is cut by it."""
    figure = _drawn(tmp_path, [0, 20, 40]).figure
    figure.draw_without_rendering()
    axis = figure.axes[1]
    (triangles,) = [line for line in axis.lines if line.get_marker() == "^"]
    places = triangles.get_transform().transform(triangles.get_xydata())
    half = triangles.get_markersize() / 2 * figure.dpi / 72
    assert len(places)
    assert (places[:, 1] - half >= axis.get_window_extent().y0).all()
