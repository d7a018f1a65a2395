"""Figures of tuning: what a budget buys, and how a method answers to each setting it searches.

Studies come from `reports.tuning`; colours and layout are those of `reports.figures.canvas`.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from bench.tune.record import Dimension, TrialRow, TrialState, Value
from bench.tune.summary import score_of
from reports.figures.canvas import INK, style, title_over
from reports.text import fitted
from reports.tuning import Tuned

_WIDTH = 10.2
_LINES = ("-", "--", ":")
"""Colours repeat after eight methods, and lines change then."""


def budget_curves(block: Sequence[Tuned], colours: dict[str, str]) -> Figure | None:
    """Draw the expected best validation score against the number of trials, a line per method.

    Args:
        block: studies of one task on one backbone with one metric.
        colours: of each method.

    Returns:
        The figure, None if no trial has a score.
    """
    drawn = [each for each in block if each.summary.expected_best]
    if not drawn:
        return None
    study = drawn[0].summary.study
    title = (
        f"Expected best validation {study.metric} of so many trials: {study.task}, "
        f"{study.backbone}. Band: 10 to 90 % of draws from the trials in hand."
    )
    height = max(3.4, 0.9 + 0.19 * len(drawn))
    with style():
        figure = Figure(figsize=(_WIDTH, height))
        title_over(figure, title, _WIDTH, height)
        axis = figure.add_axes((0.075, 0.5 / height, 0.685, 1 - 1.0 / height))
        used: dict[str, int] = {}
        for each in drawn:
            colour = colours[each.summary.study.method]
            used[colour] = used.get(colour, -1) + 1
            points = each.summary.expected_best
            trials = [point.trials for point in points]
            axis.fill_between(
                trials,
                [point.low for point in points],
                [point.high for point in points],
                color=colour,
                alpha=0.1,
                linewidth=0,
            )
            axis.plot(
                trials,
                [point.expected for point in points],
                _LINES[used[colour] % len(_LINES)],
                color=colour,
                linewidth=1.7,
                marker="o" if len(points) == 1 else "",
                label=fitted(each.name, 26),
            )
        axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axis.set_xlabel("trials")
        axis.set_ylabel(f"{study.metric} on validation")
        axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize=8.5)
    return figure


def sensitivity(block: Sequence[Tuned], colours: dict[str, str]) -> Figure | None:
    """Draw the score of every trial against each searched setting, a row of panels per method.

    Arguments are those of `budget_curves`.

    Returns:
        The figure, None if no trial has a score.
    """
    drawn = [each for each in block if each.summary.expected_best]
    columns = max((len(each.summary.study.space) for each in drawn), default=0)
    if not columns:
        return None
    study = drawn[0].summary.study
    title = (
        f"Validation {study.metric} of each trial against what it set: {study.task}, "
        f"{study.backbone}. Ring: the winner. Diamond: the method's own settings. "
        "Crosses: trials without a score."
    )
    height = 0.6 + 1.65 * len(drawn)
    with style():
        figure = Figure(figsize=(_WIDTH, height))
        title_over(figure, title, _WIDTH, height)
        grid = figure.subplots(
            len(drawn),
            columns,
            sharey=True,
            squeeze=False,
            gridspec_kw={
                "left": 0.075,
                "right": 0.99,
                "top": 1 - 0.72 / height,
                "bottom": 0.45 / height,
                "hspace": 0.6,
                "wspace": 0.08,
            },
        )
        for each, axes in zip(drawn, grid, strict=True):
            colour = colours[each.summary.study.method]
            space = each.summary.study.space
            for axis, (name, dimension) in zip(axes, space.items(), strict=False):
                _draw_trials(axis, each, name, dimension, colour)
            for axis in axes[len(space) :]:
                axis.remove()
            axes[0].set_title(fitted(each.name, 40), fontsize=8.5, pad=3)
        figure.supylabel(f"{study.metric} on validation", fontsize=8.5, x=0.004)
    return figure


def _draw_trials(axis: Axes, each: Tuned, name: str, dimension: Dimension, colour: str) -> None:
    """Draw the trials of one study over one setting; marks at the foot have no score."""
    study = each.summary.study
    scored = [trial for trial in study.trials if score_of(trial) is not None]
    without = [
        trial
        for trial in study.trials
        if score_of(trial) is None and trial.state is not TrialState.RUNNING
    ]
    places = [_place(trial, name, dimension) for trial in scored]
    scores = [score_of(trial) or 0.0 for trial in scored]
    axis.plot(places, scores, "o", color=colour, markersize=4, alpha=0.75, markeredgewidth=0)
    foot = [_place(trial, name, dimension) for trial in without]
    at_foot = axis.get_xaxis_transform()
    axis.plot(foot, [0.06] * len(foot), "x", color=INK, markersize=3.5, transform=at_foot)
    for number, mark, size in ((study.best_number, "o", 8), (study.default_number, "D", 6)):
        for place, score, trial in zip(places, scores, scored, strict=True):
            if trial.number == number:
                axis.plot(place, score, mark, color=INK, markersize=size, fillstyle="none")
    axis.margins(y=0.2)  # room for the rings above and the crosses below
    _scale(axis, dimension)
    if dimension.low is not None and dimension.high is not None:
        # The whole range stands on the axis, so that methods which share it share the axis too.
        axis.update_datalim([(dimension.low, scores[0]), (dimension.high, scores[0])])
        axis.autoscale_view()
    axis.set_xlabel(name.replace("_", " "), fontsize=7.5, labelpad=1)
    axis.tick_params(labelsize=7.5)


def _place(trial: TrialRow, name: str, dimension: Dimension) -> float:
    """Return where a trial stands on a setting's axis; choices stand in their order."""
    value = trial.params.get(name)
    if dimension.kind == "choice":
        return float(dimension.choices.index(value)) if value in dimension.choices else float("nan")
    return float(value) if isinstance(value, int | float) else float("nan")


def _scale(axis: Axes, dimension: Dimension) -> None:
    if dimension.kind == "choice":
        names = [fitted(_said(choice), 10) for choice in dimension.choices]
        axis.set_xticks(range(len(names)), names)
        axis.set_xlim(-0.5, len(names) - 0.5)
    elif dimension.log:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=dimension.kind == "int"))


def _said(choice: Value | None) -> str:
    return "none" if choice is None else str(choice)
