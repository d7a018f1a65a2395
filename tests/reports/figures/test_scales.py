"""Axes by orders of magnitude, and axes that never are."""

from pathlib import Path

import pytest

from gapbench.reports.figures import levels, scales, theme, tradeoff
from gapbench.reports.figures.board import boards
from gapbench.reports.render.report import gather
from tests.support.known_truth import write


@pytest.mark.parametrize(
    ("value", "text"), [(0.001, "0.001"), (0.1, "0.1"), (10, "10"), (1000, "1,000")]
)
def test_ticks_are_plain_numbers(value: float, text: str) -> None:
    """As they are written by hand."""
    assert scales.plain(value) == text


def test_no_figure_shows_markup_for_a_power(tmp_path: Path) -> None:
    """Scores from 0.01 to 0.9 stand by orders of magnitude; gaps do not, whatever they span."""
    flops = {"lora": 1e12, "head": 1e10}
    write(tmp_path, {"lora": 3.0, "head": -7.0}, flops=flops)
    (board,) = boards(gather(tmp_path))
    table = board.table.assign(generalization_gap=[0.001, 0.1])
    board = board.only(table)
    level, point = levels.levels(board), tradeoff.tradeoff(board)
    assert level is not None
    assert point is not None
    assert level.figure.axes[0].get_xscale() == "log"
    assert [axis.get_xscale() for axis in point.figure.axes] == ["linear", "log"]
    for artifact in (level, point):
        assert "mathdefault" not in theme.svg(artifact.figure, "")


def test_all_axes_by_orders_come_from_one_place() -> None:
    """A new one would show raw markup."""
    folder = Path(scales.__file__).parent
    found = [each.name for each in folder.glob("*.py") if 'scale("log"' in each.read_text()]
    assert found == ["scales.py"]
