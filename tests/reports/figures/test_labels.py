"""Names beside the points of a plot, and the lines that tie far ones to their points."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from gapbench.reports.figures import labels
from gapbench.reports.figures.labels import Point, write_names
from gapbench.reports.figures.measure import width


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


def boxes_and_lines(seed: int) -> tuple[np.ndarray, list[tuple[int, np.ndarray]]]:
    """Return where names stand, and the spots of the lines to those further away, in points."""
    figure = Figure(figsize=(5, 3), dpi=72)
    axis = figure.subplots()
    axis.set(xlim=(0, 1), ylim=(0, 1))
    places = np.random.default_rng(seed).uniform((0.4, 0.5), (0.6, 0.6), (9, 2))
    write_names(axis, [Point(x, y, f"lora_dropout {x:.1f}", y - 0.2, y + 0.2) for x, y in places])
    marks = axis.transData.transform(places)
    names = [each for each in axis.texts if isinstance(each, Annotation)]
    middles = marks + [name.xyann for name in names]
    half = np.array([width(names[0].get_text(), labels.SIZE) * 72, labels.SIZE]) / 2
    along = np.linspace(0, 1, 50)[:, None]
    lines = [
        (place, mark + along * (middle - mark))
        for place, (name, mark, middle) in enumerate(zip(names, marks, middles, strict=True))
        if name.arrow_patch is not None
    ]
    return np.hstack([middles - half, middles + half]), lines


def test_names_lie_on_no_name_and_hardly_ever_on_a_line_to_another() -> None:
    """Whichever was placed first; where only those before counted, there were seven."""
    struck = 0
    for seed in range(12):
        boxes, lines = boxes_and_lines(seed)
        assert lines
        for place, box in enumerate(boxes):
            for other in boxes[:place]:
                assert (np.minimum(box[2:], other[2:]) <= np.maximum(box[:2], other[:2])).any()
            for owner, spots in lines:
                inside = ((box[:2] < spots) & (spots < box[2:])).all(axis=1)
                struck += owner != place and bool(inside.any())
    assert struck < 5


def test_no_line_runs_along_the_interval_of_its_mark() -> None:
    """It could not be seen there."""
    _, lines = boxes_and_lines(4)  # one did
    assert all(np.ptp(spots[:, 0]) > 1 for _, spots in lines)
