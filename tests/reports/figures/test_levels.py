"""The figure of what every method reaches, and its letters."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Annotation

from gapbench.bench.store.record import Status
from gapbench.reports.figures.board import boards
from gapbench.reports.figures.levels import levels
from gapbench.reports.figures.tradeoff import tradeoff
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


def test_single_compared_row_is_no_end_of_all(tmp_path: Path) -> None:
    """Where one row alone is compared, the ends are those of all, and nothing else is said."""
    fates = {(name, 2): Status.DIVERGED for name in ("dora", "bitfit")}
    write(tmp_path, {"lora": 1.0, "bitfit": 2.0, "dora": 4.0}, fates=fates)
    (board,) = boards(gather(tmp_path))
    assert [row.name for row in board.rows if board.verdict[row.name].compared] == ["lora"]
    artifact, points = levels(board), tradeoff(board)
    assert artifact is not None
    assert points is not None
    assert "that are compared" not in artifact.finding
    assert "dora with" in artifact.finding
    assert points.finding.startswith("Scores on ")
