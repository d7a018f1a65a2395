"""The figure of what every method reaches, and its letters."""

from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Annotation

from gapbench.bench.store.record import Status
from gapbench.reports.figures.board import boards
from gapbench.reports.figures.levels import draw_levels, levels
from gapbench.reports.render.report import gather
from tests.support.known_truth import write

EQUAL = dict.fromkeys(("lora", "bitfit", "head"), 2.0)
BARE = {"untuned": -0.2}


def _letters(figure: Figure) -> list[str]:
    """Return the letters beside the lines of a figure, from the top."""
    texts = [each for each in figure.axes[0].texts if isinstance(each, Annotation)]
    return [each.get_text() for each in texts]


def test_methods_that_differ_share_no_letter(tmp_path: Path) -> None:
    """The better one has its own, the equal ones share theirs, and untrained rows have none."""
    write(tmp_path / "apart", EQUAL | {"dora": 4.0} | BARE)
    (board,) = boards(gather(tmp_path / "apart"))
    artifact = levels(board)
    assert artifact is not None
    found = dict(zip([row.name for row in board.rows], _letters(artifact.figure), strict=True))
    assert found == dict.fromkeys(EQUAL, "b") | {"dora": "a", "untuned": ""}
    assert "those that share none are shown to differ" in artifact.title


def test_equal_methods_have_no_letters(tmp_path: Path) -> None:
    """One letter for all would say nothing, and the title does not speak of any."""
    write(tmp_path, EQUAL)
    (board,) = boards(gather(tmp_path))
    artifact = levels(board)
    assert artifact is not None
    assert set(_letters(artifact.figure)) == {""}
    assert "letter" not in artifact.title


def test_finding_names_the_ends_of_compared_rows(tmp_path: Path) -> None:
    """A row that lost a seed has the best mean; it stands last and is no end, and that is said."""
    fates = {("dora", 2): Status.DIVERGED}
    levels_of = {"lora": 1.0, "bitfit": 2.0, "dora": 4.0}
    write(tmp_path, levels_of, fates=fates)  # nothing untrained stands in for the lost seed
    (board,) = boards(gather(tmp_path))
    artifact = levels(board)
    assert artifact is not None
    assert board.rows[-1].name == "dora"
    whose, _, said = artifact.finding.partition(" reaches from ")
    assert whose.endswith(" of the methods that are compared")
    worst, best, highest = sorted(board.rows, key=lambda row: row.score)
    assert highest.name == "dora"
    assert said.startswith(best.name)
    assert f" to {worst.name} with" in said


def test_untrained_rows_squash_no_calibration_axis(tmp_path: Path) -> None:
    """Their intervals, which may be any, reach over the edge; their means do not."""
    write(tmp_path, {"lora": 1.0, "bitfit": 1.1, "majority": 0.0})
    (board,) = boards(gather(tmp_path))
    bare = board.verdict["majority"]
    assert bare.status == "untrained"
    mean = bare.levels["ece"].mean
    assert mean is not None
    wide = replace(bare, levels={**bare.levels, "ece": replace(bare.levels["ece"], high=50.0)})
    entries = tuple(wide if each is bare else each for each in board.verdict.entries)
    axis = Figure().add_subplot()
    assert draw_levels(axis, replace(board, verdict=replace(board.verdict, entries=entries)), "ece")
    low, high = axis.get_xlim()
    assert low < mean < high < 2
