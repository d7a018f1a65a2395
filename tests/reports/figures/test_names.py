"""Names that do not fit are cut, and never to one text."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from matplotlib.figure import Figure

from gapbench.reports.figures import layout, measure, tradeoff
from gapbench.reports.figures.board import boards
from gapbench.reports.render.report import gather
from gapbench.reports.tables.leaderboard import PAPER
from tests.support.known_truth import write

NAMES = [f"lora / {'a' * 60}{end}{'b' * 60}" for end in "xyz"]


def test_titles_of_panels_are_told_apart() -> None:
    """The line below them is kept."""
    axes = list(Figure(figsize=(6, 2)).subplots(1, 3))
    layout.head(axes, NAMES, ["one", "two", "three"])
    titles = [axis.get_title().split("\n") for axis in axes]
    assert [text for _, text in titles] == ["one", "two", "three"]
    assert len({name for name, _ in titles}) == 3
    assert all(len(name) < 60 for name, _ in titles)


def test_names_beside_points_are_told_apart() -> None:
    """Rows without a value have no point."""
    known = {"score": 0.5, "score_ci_low": None, "score_ci_high": None}
    rows = [SimpleNamespace(name=name, ece=1.0, **known) for name in NAMES]
    rows += [SimpleNamespace(name="head", ece=None, **known)]
    board: Any = SimpleNamespace(rows=rows, metric="f1", tip=lambda row, _: row.name)
    board.looks = {row.name: layout.MarkerStyle("#010210") for row in rows}
    shown = [point.text for point in tradeoff._points(board, "ece")]
    assert len(set(shown)) == len(shown) == 3


def test_name_without_room_is_cut_at_its_end() -> None:
    """Where readers look for what is missing; a mark of the paper protocol stays."""
    assert measure.within("lora / rank 16, all linear layers", 1.0, 7) == "lora / rank 16, all…"
    assert measure.within(f"lora / rank 16, all linear layers{PAPER}", 1.5, 7).endswith(f"…{PAPER}")


def test_of_many_rows_only_some_bear_their_names(tmp_path: Path) -> None:
    """The reference, both ends and what no other one beats; all others stay as marks."""
    names = ("lora", "dora", "bitfit", "head", "full", "hiddenkey", "flexora", "bilora", "ivon")
    names += ("neftune", "allora", "rslora", "lora_plus", "lora_swa", "drop_lora", "flat_lora")
    write(tmp_path, {name: 0.5 + place / 10 for place, name in enumerate(names)})
    (board,) = boards(gather(tmp_path))
    artifact = tradeoff.tradeoff(board)
    assert artifact is not None
    by_score = sorted(board.rows, key=lambda row: row.score)
    wanted = {"lora", by_score[0].name, by_score[-1].name, *tradeoff._front(board)}
    assert len(wanted) < len(names)
    for axis in artifact.figure.axes:
        assert {each.get_text() for each in axis.texts} & {*names} == wanted
    assert "Names stand at the reference" in artifact.title
