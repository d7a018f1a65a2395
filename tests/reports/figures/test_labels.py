"""Names beside the points of a plot, and the lines that tie far ones to their points."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from gapbench.reports.figures import labels
from gapbench.reports.figures.labels import Point, write_names


def crossed(seed: int) -> int:
    """Return how often a line to a name runs through another mark of a crowded plot."""
    figure = Figure(figsize=(4, 3), dpi=72)  # a point is a pixel
    axis = figure.subplots()
    axis.set(xlim=(0, 1), ylim=(0, 1))
    places = np.random.default_rng(seed).uniform(0.35, 0.65, (24, 2))
    write_names(axis, [Point(x, y, "hiddenkey default") for x, y in places])
    marks = axis.transData.transform(places)
    names = [each for each in axis.texts if isinstance(each, Annotation)]
    assert len(names) == len(places)
    found = 0
    for place, (name, mark) in enumerate(zip(names, marks, strict=True)):
        if name.arrow_patch is not None:
            along = np.linspace(0, 1, 50)[:, None, None]
            spots = mark + along * np.array(name.xyann)
            near = (abs(spots - np.delete(marks, place, axis=0)) < 2).all(axis=2)
            found += int(near.any(axis=0).sum())
    return found


def test_lines_to_names_pass_by_other_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """In crowds, lines cross a mark far less often than where that costs nothing."""
    seeds = range(5)
    passing = sum(map(crossed, seeds))
    monkeypatch.setattr(labels, "_CROSSED", 0.0)
    straight = sum(map(crossed, seeds))
    assert straight > 10
    assert passing < straight / 2
