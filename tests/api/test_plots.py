"""Plots of results: on given axes or new ones, with the numbers of the frames and real colours."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgba_array

import gapbench
from gapbench.bench.api.plots import Plots
from gapbench.bench.core.errors import ConfigError
from gapbench.reports.figures import theme
from gapbench.reports.tables.outcomes import OUTCOMES, Outcome
from tests.support import results_folder as made

TASK = "syn_sentiment"


@pytest.fixture(autouse=True)
def _no_windows() -> Iterator[None]:
    with mpl.rc_context({"backend": "agg"}):
        yield
        plt.close("all")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> gapbench.Results:
    """Fabricated results of two tasks."""
    return gapbench.load(made.fill(tmp_path_factory.mktemp("made") / "results").root)


def labels(axis: Axes) -> list[str]:
    """Return the names beside the lines of a list."""
    return [text.get_text() for text in axis.get_yticklabels()]


def drawn(axis: Axes) -> dict[str, float]:
    """Return where the marks of a list stand, by name: lines of one point inside the axes."""
    names = labels(axis)
    points = [line for line in axis.lines if len(line.get_xdata()) == 1 and line.get_clip_on()]
    return {
        names[int(line.get_ydata()[0])]: float(line.get_xdata()[0])  # type: ignore[index]
        for line in points
    }


@pytest.mark.parametrize(("plot", "column"), [("scores", "score"), ("gap", "generalization_gap")])
def test_levels_are_those_of_the_leaderboard(
    results: gapbench.Results, plot: str, column: str
) -> None:
    """A mark for each method at its mean, best first."""
    table = results.leaderboard(tasks=TASK)
    axis = getattr(results.plot, plot)(TASK)
    assert labels(axis) == list(table["method"])
    assert drawn(axis) == pytest.approx(dict(zip(table["method"], table[column], strict=True)))


def test_forest_draws_differences_on_given_axes(results: gapbench.Results) -> None:
    """The same axes come back, and nothing of theirs is restyled."""
    _, (first, second) = plt.subplots(1, 2)
    size = second.xaxis.label.get_size()
    axis = results.plot.forest(TASK, ax=second)
    assert axis is second
    assert not first.lines
    assert axis.xaxis.label.get_size() == size
    means = results.leaderboard(tasks=TASK).set_index("method")["score"]
    expected = {name: means[name] - means["lora"] for name in drawn(axis)}
    assert drawn(axis) == pytest.approx(expected)
    assert "lora" not in drawn(axis)
    assert "minus lora" in axis.get_xlabel()
    assert results.plot.forest(TASK, outcome="ece", methods="lora,head").lines


@pytest.mark.parametrize(
    ("outcome", "column"),
    [("score", "score"), ("gap", "generalization_gap"), ("ece", "ece"), ("nll", "nll")],
)
def test_forest_draws_every_outcome(
    results: gapbench.Results, outcome: Outcome, column: str
) -> None:
    """Differences are those of the leaderboard's means, and the axis names the outcome."""
    axis = results.plot.forest(TASK, outcome=outcome)
    means = results.leaderboard(tasks=TASK).set_index("method")[column]
    expected = {name: means[name] - means["lora"] for name in drawn(axis)}
    assert drawn(axis) == pytest.approx(expected)
    assert (outcome if outcome != "score" else "accuracy") in axis.get_xlabel().lower()


def test_forest_draws_all_outcomes_that_are_compared() -> None:
    """None is left out of the cases above."""
    assert OUTCOMES == ("score", "gap", "ece", "nll")


@pytest.mark.parametrize("location", ["left", "center", "right"])
@pytest.mark.parametrize(
    ("plot", "given"),
    [
        *(("forest", {}), ("scores", {}), ("gap", {})),
        *(("curves", {"method": "lora"}), ("reliability", {"method": "lora"})),
    ],
)
def test_title_is_replaced_by_a_later_one(
    results: gapbench.Results, plot: str, given: dict[str, str], location: str
) -> None:
    """Whatever place the reader's settings of matplotlib give titles."""
    with mpl.rc_context({"axes.titlelocation": location}):
        axis = getattr(results.plot, plot)(task=TASK, **given)
        assert TASK in "".join(axis.get_title(loc=each) for each in ("left", "center", "right"))
        axis.set_title("Training")
    titles = [axis.get_title(loc=each) for each in ("left", "center", "right")]
    assert [title for title in titles if title] == ["Training"]


def test_title_cases_are_all_plots() -> None:
    """A new plot gets a case above."""
    plots = [name for name in vars(Plots) if not name.startswith("_")]
    assert plots == ["forest", "scores", "gap", "curves", "reliability"]


def test_curves_and_reliability_are_of_one_method(results: gapbench.Results) -> None:
    """Lines are means over seeds; bins are those of the stored predictions."""
    axis = results.plot.curves("lora", TASK)
    points = results.curves().query("task == @TASK and method == 'lora' and split == 'test'")
    mean = points.groupby("step")["loss"].mean()
    solid = next(line for line in axis.lines if line.get_linestyle() == "-")
    assert np.allclose(solid.get_ydata(), mean)
    assert axis.get_legend() is not None
    assert results.plot.curves("lora", TASK, of="score").get_ylabel() == "accuracy"
    shown = results.plot.reliability("lora", TASK)
    assert len([line for line in shown.lines if line.get_marker() == "o"]) == 3
    assert shown.get_xlim() == (0, 1.01)


def test_colours_are_those_of_the_page_and_no_placeholders(results: gapbench.Results) -> None:
    """As in the light theme; marks carry no words for the page's script."""
    placeholders = set(theme._names())
    plots = results.plot
    for axis in (plots.forest(TASK), plots.scores(TASK), plots.curves("lora", TASK)):
        axis.figure.canvas.draw()
        for artist in axis.findobj():
            assert not artist.get_gid()
            for name in theme._COLOURS:
                got = to_rgba_array(getattr(artist, f"get_{name}", lambda: "none")())
                assert not {to_hex(each) for each in got} & placeholders, (artist, name)
    line = next(line for line in plots.curves("lora", TASK).lines if line.get_linestyle() == "-")
    assert to_hex(line.get_color()) == theme.light(theme.variable(theme.colour("lora")))


def test_what_cannot_be_drawn_is_said(results: gapbench.Results, tmp_path: Path) -> None:
    """Several tasks, an unknown method, outcome or kind of curve, a task without probabilities."""
    with pytest.raises(ConfigError, match="of one task, backbone and setting, and these are 2"):
        results.plot.scores()
    with pytest.raises(ConfigError, match=r"'dora' is not of syn_sentiment.*it has"):
        results.plot.curves("dora", TASK)
    with pytest.raises(ConfigError, match="outcome is 'brier'; give 'score' or 'gap' or 'ece'"):
        results.plot.forest(TASK, outcome="brier")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="of is 'accuracy'; give 'loss' or 'score'"):
        results.plot.curves("lora", TASK, of="accuracy")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="nothing to draw of lora, syn_similarity"):
        results.plot.reliability("lora", "syn_similarity")
    part = gapbench.load(made.fill(tmp_path / "one", methods=("head", "lora")).root)
    assert len(labels(part.plot.scores("syn_similarity"))) == 2
