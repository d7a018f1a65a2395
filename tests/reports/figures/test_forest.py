"""Differences to the reference: what filling means, and what belongs to a method."""

import re
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from gapbench.reports.figures import board as boards_of
from gapbench.reports.figures import forest, theme, tradeoff
from gapbench.reports.figures.board import Board
from gapbench.reports.render.report import gather
from tests.support.known_truth import write

LEVELS = {"lora": 1.0, "dora": 1.0, "bitfit": 4.0}


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """Return the board of one method that is better than lora and one that is as good."""
    write(tmp_path, LEVELS)
    (found,) = boards_of.boards(gather(tmp_path))
    return found


def test_variants_differ_in_primes_and_only_differences_that_are_shown_are_filled(
    board: Board,
) -> None:
    """A hollow mark says one thing, so that it cannot be a variant too."""
    variants = pd.DataFrame({"name": ["a", "a / b"], "method": "a", "variant": ["default", "b"]})
    looks = boards_of.looks(variants, {"a": "#010210"})
    assert [look.primes for look in looks.values()] == [0, 1]
    assert not any(look.hollow for look in looks.values())
    artifact = forest.forest(board)
    assert artifact is not None
    score, cost = artifact.figure.axes[0], artifact.figure.axes[-1]
    for axis, hollow in ((score, {"dora"}), (cost, set())):
        faces: dict[str, set[str]] = {}
        for line in axis.lines:
            if line.get_gid() and line.get_marker() != "None" and len(line.get_xdata()) == 1:
                method = str(line.get_gid()).split(theme.TIP)[1].removeprefix("method=")
                faces.setdefault(method, set()).add(to_hex(line.get_markerfacecolor()))
        assert {name for name, found in faces.items() if theme.PAGE in found} == hollow


def test_names_and_costs_belong_to_their_method_and_tell_its_settings(board: Board) -> None:
    """They fade with its marks where another method is filtered for."""
    artifact = forest.forest(board)
    assert artifact is not None
    drawn = theme.svg(artifact.figure, "")
    for name in ("dora", "bitfit"):
        groups = re.findall(rf'<g data-method="{name}"[^>]*><title>(.*?)</title>(.*?)</g>', drawn)
        texts = [re.findall(r"<text[^>]*>([^<]*)</text>", body) for _, body in groups]
        assert [name] in texts
        assert any(each and each[0].endswith("\N{MULTIPLICATION SIGN}") for each in texts)
        assert all("rank" in title or "learning rate" in title for title, _ in groups)


def test_finding_names_four_of_many(tmp_path: Path) -> None:
    """The figure and the tables show the others."""
    names = ("dora", "bitfit", "full", "head", "rslora", "ivon")
    write(tmp_path, {"lora": 1.0} | dict.fromkeys(names, 4.0))
    (found,) = boards_of.boards(gather(tmp_path))
    for artifact in (forest.forest(found), tradeoff.tradeoff(found)):
        assert artifact is not None
        for said in artifact.finding.split(";"):
            assert sum(name in said for name in names) <= 4
    assert " and 2 others" in forest._finding(found)
