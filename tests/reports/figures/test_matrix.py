"""Cells of every method on every task: their colours claim no more than their signs do."""

from pathlib import Path

import numpy as np
import pytest

from gapbench.bench.store.record import Record
from gapbench.reports.figures.board import boards
from gapbench.reports.figures.forest import claim_in_words, forest
from gapbench.reports.figures.matrix import SIGNS, matrix
from gapbench.reports.render.report import gather
from tests.support.known_truth import write
from tests.support.results_folder import make_task


def test_only_differences_that_are_shown_have_a_colour(tmp_path: Path) -> None:
    """All others are of one grey, which is not that of the page, where nothing was run."""
    for draw, name in enumerate(("first", "second")):
        levels = {"lora": 1.0, "dora": 1.2, "bitfit": 0.9, "full": 5.0}
        write(tmp_path, levels, task=make_task(name), draw=draw)
    artifact = matrix(boards(gather(tmp_path)), "score")
    assert artifact is not None
    axis = artifact.figure.axes[0]
    artifact.figure.draw_without_rendering()
    texts = [each.get_text() for each in axis.texts]
    faces = np.array([each.get_facecolor() for each in axis.patches])[:, :3]
    shown = np.array([text.endswith(tuple(SIGNS.values())) for text in texts])
    assert 0 < shown.sum() < len(shown)
    grey = np.ptp(faces, axis=1) < 0.01
    assert (grey == ~shown).all()
    assert faces[grey].max() < 0.9
    assert "relative" not in artifact.data


def test_what_cannot_be_compared_is_no_missing_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where lora lacks a seed there is no interval: numbers without cells, with their own count."""
    levels = {"lora": 1.0, "dora": 1.2, "bitfit": 0.9}
    write(tmp_path, levels, task=make_task("first"), draw=0)
    store = write(tmp_path, levels, task=make_task("second"), draw=1)
    own = (each for each in store.records() if isinstance(each, Record))
    lost = next(e for e in own if (e.cell.task.name, e.cell.method) == ("second", "lora"))
    store.record_path(lost.run).unlink()
    found = boards(gather(tmp_path))
    artifact = matrix(found, "score")
    assert artifact is not None
    axis = artifact.figure.axes[0]
    assert (len(axis.texts), len(axis.patches)) == (4, 2)
    assert "of 2 comparisons with lora" in artifact.finding
    assert artifact.finding.endswith("; 2 cannot be made.")
    assert set(artifact.data["shown"]) == {"no difference shown", "cannot be compared"}
    for drawn, untold in ((artifact, True), (forest(found[1]), True), (forest(found[0]), False)):
        assert drawn is not None
        keys = [text.get_text() for text in drawn.figure.legends[0].get_texts()]
        assert ("cannot be compared" in keys) == untold
    monkeypatch.setattr("gapbench.reports.figures.matrix._NUMBERED", 1)
    signed = matrix(found, "score")
    assert signed is not None
    assert [text.get_text() for text in signed.figure.axes[0].texts] == ["\N{EN DASH}"] * 2
    rows = [each.to_reference for each in found[1].verdict.entries if each.to_reference]
    assert {claim_in_words(row["score"]) for row in rows} == {"cannot be compared"}
