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


def _ended(root: Path, test: list[list[float]], validation: list[list[float]]) -> str:
    """Return the finding of runs with these losses, a list for each seed."""
    store, cell = Store(root), make_cell()
    store.open_for_writing()
    store.write_plan("q", [(Run(cell, seed), "default") for seed in range(len(test))])
    for seed, losses in enumerate(zip(test, validation, strict=True)):
        points = tuple(
            _point(10 * place, scored=True).model_copy(
                update={"test_loss": loss, "validation_loss": other}
            )
            for place, (loss, other) in enumerate(zip(*losses, strict=True))
        )
        put(store, make_record(cell, seed, curve=points))
    (board,) = boards(gather(root))
    found = curves(board)
    assert found is not None
    return found.finding


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


def test_each_seed_has_a_lowest_point_of_its_own(tmp_path: Path) -> None:
    """One that turns later than the others is no reason to say that nothing overfits."""
    losses = [[0.7, 0.4, 0.45, 0.5], [0.7, 0.6, 0.4, 0.5], [0.7, 0.6, 0.4, 0.5]]
    found = _ended(tmp_path, losses, losses)
    assert "1 of 1 methods clearly overfits: lora." in found
    assert "ends 0.100 above its lowest point in the mean" in found


def test_two_seeds_are_too_few_to_say_that_a_method_overfits(tmp_path: Path) -> None:
    """Both rise in one of eight studies in which nothing overfits."""
    losses = [[0.7, 0.4, 0.45, 0.5], [0.7, 0.6, 0.4, 0.5]]
    assert "no method clearly overfits" in _ended(tmp_path, losses, losses)


@pytest.mark.parametrize(
    "other", [[0.7, 0.4, 0.3, 0.2], [0.7, 0.3, 0.5, 0.3], [0.7, 0.4, 0.4, 0.401]]
)
def test_a_lowest_point_alone_is_no_overfitting(tmp_path: Path, other: list[float]) -> None:
    """Some point is always the lowest; validation, which did not choose it, has to rise as well."""
    losses = [[0.7, 0.4, 0.45, 0.5], [0.7, 0.41, 0.4, 0.5], [0.7, 0.41, 0.4, 0.5]]
    found = _ended(tmp_path, losses, [other] * 3)
    assert "no method clearly overfits" in found
