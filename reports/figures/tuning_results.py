"""Figures of what tuning found: which settings mattered, and what the winners are worth on test."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.layout import Named, estimates, listed
from gapbench.reports.figures.theme import INK, style
from gapbench.reports.figures.tuning_trials import Searches, about
from gapbench.reports.stats.intervals import Interval
from gapbench.reports.tables.tuning import Tuned

_SETTINGS = 6
_MOST = 40


def importances(searches: Searches) -> FigureArtifact | None:
    """Draw the share that each setting has in what makes the best trials the best.

    Returns:
        The figure, None where no study knows.
    """
    drawn = [each for each in searches.studies if each.summary.importances.shares][:_MOST]
    if not drawn:
        return None
    data = pd.DataFrame(
        [
            about(each) | {"setting": name, "share": share}
            for each in drawn
            for name, share in (each.summary.importances.shares or {}).items()
        ]
    )
    totals = data.groupby("setting", sort=False)["share"].sum()
    settings = [str(name) for name in totals.sort_values(ascending=False, kind="stable").index]
    title = (
        f"Share of each searched setting in what sets the best trials apart (PED-ANOVA), by "
        f"validation {searches.metric}, {searches.place}: shares of a method sum to 1; more "
        "matters more. Empty: not searched."
        + ("" if len(settings) <= _SETTINGS else " The CSV has the settings that matter less.")
    )
    shown = settings[:_SETTINGS]
    with style():
        names = [searches.named(each) for each in drawn]
        figure, axes = listed(names, [name.replace("_", " ") for name in shown])
        for axis, setting in zip(axes, shown, strict=True):
            shares = [(each.summary.importances.shares or {}).get(setting) for each in drawn]
            _draw_shares(axis, shares, names)
    return FigureArtifact(f"importances-{searches.stem}", title, figure, data)


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
        "its winner; above zero, the search flattered. Right: test score of the winner minus that "
        "of the method's own settings, on the same seeds; above zero, tuning helped. "
        f"{searches.place}; signs are flipped where lower is better; 95 % intervals, over seeds, "
        "of gains over test items too where these are known."
    )
    with style():
        names = [searches.named(each) for each in drawn]
        figure, axes = listed(names, ["optimism of the search", "gain by tuning"])
        _draw_intervals(axes[0], [each.optimism for each in drawn], names)
        _draw_intervals(axes[1], [each.gain for each in drawn], names)
    data = pd.DataFrame([_outcome(each) for each in drawn])
    return FigureArtifact(f"outcomes-{searches.stem}", title, figure, data)


def _draw_shares(axis: Axes, shares: Sequence[float | None], names: Sequence[Named]) -> None:
    for place, (share, each) in enumerate(zip(shares, names, strict=True)):
        if share is None:
            continue
        axis.barh(place, share, color=each.look.colour, height=0.66)
        axis.text(share + 0.03, place, f"{share:.2f}", va="center_baseline", fontsize=6.5)
    axis.set_xlim(0, 1.3)
    axis.set_xticks([0, 0.5, 1], ["0", "", "1"])


def _draw_intervals(axis: Axes, found: Sequence[Interval], names: Sequence[Named]) -> None:
    axis.axvline(0, color=INK, linewidth=0.8)
    means, low, high = ([getattr(each, part) for each in found] for part in ("mean", "low", "high"))
    estimates(axis, means, (low, high), names)


def _outcome(each: Tuned) -> dict[str, object]:
    scores = {"best": each.best, "again": each.again, "test": each.test, "default": each.default}
    intervals = {
        f"{name}_{part}": getattr(interval, part)
        for name, interval in (("optimism", each.optimism), ("gain", each.gain))
        for part in ("mean", "low", "high", "n")
    }
    return about(each) | scores | intervals
