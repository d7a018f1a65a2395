"""Figures of searches: what tuning gained, and how a method answers to what it sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from gapbench.bench.metrics.base import metric_in_words
from gapbench.bench.tuning.schema import Dimension, TrialRow, TrialState, Value
from gapbench.bench.tuning.summary import score_of
from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.board import direction
from gapbench.reports.figures.layout import (
    WIDTH,
    MarkerStyle,
    Named,
    estimates,
    key,
    listed,
    marking,
    panel_width,
)
from gapbench.reports.figures.measure import all_within
from gapbench.reports.figures.scales import by_orders
from gapbench.reports.figures.subset import chosen, left_out
from gapbench.reports.figures.theme import INK, marker, style
from gapbench.reports.tables.terminal import number, place
from gapbench.reports.tables.tuning import Tuned
from gapbench.reports.tables.words import few

_MOST, _METHODS, _SETTINGS = 40, 6, 3
_FIRST = ("learning_rate", "rank")
"""Settings whose sensitivity is always drawn: what a reader of any method has to set."""


@dataclass(frozen=True)
class Searches:
    """Studies of one task on one backbone with one metric.

    Attributes:
        studies: at least one.
        colours: placeholder colour of each method of the report.
        stem: names them in the names of files, unique in the report.
    """

    studies: Sequence[Tuned]
    colours: Mapping[str, str]
    stem: str

    @property
    def place(self) -> str:
        """Task, backbone, and the adapter that runs start from."""
        study = self.studies[0].summary.study
        return place(study.task, study.backbone, study.start)

    @property
    def metric(self) -> str:
        """What was searched for."""
        return metric_in_words(self.studies[0].summary.study.metric)

    @property
    def upward(self) -> bool:
        """Whether higher is better."""
        return self.studies[0].summary.study.direction == "maximize"

    @property
    def better(self) -> str:
        """The direction of the metric in words."""
        return direction(upward=self.upward)

    def named(self, each: Tuned) -> Named:
        """Return a study's name and look."""
        method = each.summary.study.method
        return Named(each.name, MarkerStyle(self.colours[method], marker(method)))

    def best(self, most: int) -> list[Tuned]:
        """Return at most so many studies with a score, best first; see `subset.chosen`."""
        scored = [each for each in self.studies if each.best is not None]
        table = pd.DataFrame(
            {
                "name": [each.name for each in scored],
                "best": [each.best for each in scored],
            }
        )
        table = table.sort_values("best", ascending=not self.upward, kind="stable")
        return [scored[int(place)] for place in chosen(table, "best", most, "").index]

    def left_out(self, drawn: int) -> str:
        """Say which studies with a score are not drawn."""
        of = sum(each.best is not None for each in self.studies)
        return left_out(drawn, of, f"best {self.metric}", "")


def outcomes(searches: Searches) -> FigureArtifact | None:
    """Draw how far the search flattered and what tuning brought, both on seeds it never used.

    Returns:
        The figure, None where no winner has run on such seeds.
    """
    drawn = [each for each in searches.studies if each.optimism.n][:_MOST]
    if not drawn:
        return None
    title = (
        f"Left: best validation {searches.metric} of the search minus test {searches.metric} of "
        "its winner, less the same of the method's own settings. Right: test score of the winner "
        f"minus that of these settings, on the same seeds. {searches.place}; signs "
        "are flipped where lower is better; 95 % intervals."
    )
    with style():
        names = [searches.named(each) for each in drawn]
        figure, axes = listed(names, ["optimism of the search", "gain by tuning"])
        for axis, part in zip(axes, ("optimism", "gain"), strict=True):
            axis.axvline(0, color=INK, linewidth=0.8)
            found = [getattr(each, part) for each in drawn]
            means, low, high = ([getattr(f, end) for f in found] for end in _ENDS)
            estimates(axis, means, (low, high), names)
    data = pd.DataFrame([_outcome(each) for each in drawn])
    helped = [each.name for each in drawn if (each.gain.low or 0.0) > 0]
    finding = f"The interval of the gain lies above zero for {few(helped) or 'no method'}."
    return FigureArtifact(f"outcomes-{searches.stem}", title, figure, data, finding)


_ENDS = ("mean", "low", "high")


def _outcome(each: Tuned) -> dict[str, object]:
    scores = {"best": each.best, "again": each.again, "test": each.test, "default": each.default}
    intervals = {
        f"{name}_{part}": getattr(getattr(each, name), part)
        for name in ("optimism", "gain")
        for part in (*_ENDS, "n")
    }
    return about(each) | scores | intervals


def sensitivity(searches: Searches) -> FigureArtifact | None:
    """Draw the score of every trial against what it set, a row of panels per study.

    Learning rate and rank come first, then what mattered most.

    Returns:
        The figure, None if no trial has a score.
    """
    drawn = [each for each in searches.best(_METHODS) if _settings(each)]
    if not drawn:
        return None
    title = (
        f"Validation {searches.metric} ({searches.better}) of each trial against its learning "
        f"rate, its rank and what else mattered most, {searches.place}: the wider the range of "
        "good scores, the less the setting matters. All panels share the upright axis."
        + searches.left_out(len(drawn))
    )
    with style():
        figure = _draw_sensitivity(searches, drawn)
    data = [about(each) | _trial(trial) for each in drawn for trial in each.summary.study.trials]
    finding = f"Best validation {searches.metric} of each search: {_best(drawn)}."
    return FigureArtifact(
        f"sensitivity-{searches.stem}", title, figure, pd.DataFrame(data), finding
    )


def _best(drawn: Sequence[Tuned]) -> str:
    return few([f"{each.name} {number(each.best)}" for each in drawn])


def _draw_sensitivity(searches: Searches, drawn: Sequence[Tuned]) -> Figure:
    columns = max(len(_settings(each)) for each in drawn)
    figure = Figure(figsize=(WIDTH, 0.3 + 1.47 * len(drawn)), layout="constrained")
    axes = figure.subplots(len(drawn), columns, sharey=True, squeeze=False)
    names = all_within([each.name for each in drawn], 3.0, 8)
    for line, each, title in zip(axes, drawn, names, strict=True):
        line[0].set_title(title)
        settings = _settings(each).items()
        for axis, (name, dimension) in zip(line, settings, strict=False):
            _draw_trials(axis, each, name, dimension, searches.named(each).look)
        for axis in line[len(settings) :]:
            axis.remove()
    figure.supylabel(f"validation {searches.metric}", fontsize=8)
    key(figure, _meanings())
    return figure


def _meanings() -> list[Line2D]:
    return [
        marking("trial", "o", markersize=4, markeredgewidth=0),
        marking("winner", "o", markersize=8, fillstyle="none"),
        marking("method's own settings", "D", markersize=6, fillstyle="none"),
        marking("trial without a score", "x", markersize=3.5),
    ]


def _settings(each: Tuned) -> dict[str, Dimension]:
    """Return the settings of a study that are drawn."""
    space, shares = each.summary.study.space, each.summary.importances.shares or {}
    order = sorted(space, key=lambda name: (name not in _FIRST, -shares.get(name, 0.0)))
    first = [name for name in _FIRST if name in space]
    return {name: space[name] for name in [*first, *order[len(first) :]][:_SETTINGS]}


def _draw_trials(
    axis: Axes, each: Tuned, name: str, dimension: Dimension, look: MarkerStyle
) -> None:
    """Draw the trials of one study over one setting; marks at the foot have no score."""
    study = each.summary.study
    scores = {trial.number: score_of(trial) for trial in study.trials}
    scored = [trial for trial in study.trials if scores[trial.number] is not None]
    without = [
        trial
        for trial in study.trials
        if scores[trial.number] is None and trial.state is not TrialState.RUNNING
    ]
    places = [_place(trial, name, dimension) for trial in scored]
    values = [scores[trial.number] or 0.0 for trial in scored]
    axis.plot(places, values, "o", color=look.colour, markersize=4, alpha=0.75, markeredgewidth=0)
    foot = [_place(trial, name, dimension) for trial in without]
    at_foot = axis.get_xaxis_transform()
    axis.plot(foot, [0.06] * len(foot), "x", color=INK, markersize=3.5, transform=at_foot)
    for trial_number, shape, size in ((study.best_number, "o", 8), (study.default_number, "D", 6)):
        for where, value, trial in zip(places, values, scored, strict=True):
            if trial.number == trial_number:
                axis.plot(where, value, shape, color=INK, markersize=size, fillstyle="none")
    axis.margins(y=0.2)  # room for the rings above and the crosses below
    _scale(axis, dimension)
    if dimension.low is not None and dimension.high is not None:
        # The whole range stands on the axis, so that methods which share it share the axis too.
        axis.update_datalim([(dimension.low, values[0]), (dimension.high, values[0])])
        axis.autoscale_view()
    axis.set_xlabel(name.replace("_", " "), labelpad=1, fontsize=7.5)


def _place(trial: TrialRow, name: str, dimension: Dimension) -> float:
    """Return where a trial stands on a setting's axis; choices stand in their order."""
    value = trial.params.get(name)
    if dimension.kind == "choice":
        return float(dimension.choices.index(value)) if value in dimension.choices else float("nan")
    return float(value) if isinstance(value, int | float) else float("nan")


def _scale(axis: Axes, dimension: Dimension) -> None:
    if dimension.kind == "choice":
        room = panel_width(axis) / max(1, len(dimension.choices))
        names = all_within([_said(choice) for choice in dimension.choices], room, 7.5)
        axis.set_xticks(range(len(names)), names)
        axis.set_xlim(-0.5, len(names) - 0.5)
    elif dimension.log:
        by_orders(axis, ticks=LogLocator(subs=(1.0, 3.0), numticks=6))
    else:
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=dimension.kind == "int"))


def _said(choice: Value | None) -> str:
    return "none" if choice is None else str(choice)


def about(each: Tuned) -> dict[str, str]:
    """Return the first columns of the data: which study it is about."""
    names = ("suite", "task", "backbone", "start", "method", "variant")
    return {name: getattr(each.summary.study, name) for name in names}


def _trial(trial: TrialRow) -> dict[str, object]:
    state = {"trial": trial.number, "state": trial.state.value}
    return {**state, "validation_score": score_of(trial), **trial.params}
