"""Figures of a whole suite: average ranks with their critical difference, and performance profiles.

The numbers are those of `reports.tables.suite_summary`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.block import looks, stems
from gapbench.reports.figures.layout import (
    MarkerStyle,
    Named,
    beside_names,
    estimates,
    listed,
    name_lines,
)
from gapbench.reports.figures.measure import within
from gapbench.reports.figures.subset import chosen, left_out
from gapbench.reports.figures.theme import INK, style
from gapbench.reports.stats.across_tasks import Profile, Ranks
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.suite_summary import SuiteSummary
from gapbench.reports.tables.terminal import label, number

_MOST = 45
_CURVES, _BANDS = 10, 4


@dataclass(frozen=True)
class Suite:
    """Tasks that are looked at together.

    Attributes:
        together: what they say.
        looks: of each row, by its label.
        stem: names them in the names of files, unique in the report.
    """

    together: SuiteSummary
    looks: Mapping[str, MarkerStyle]
    stem: str

    @property
    def place(self) -> str:
        """How many tasks of which suite there are, and on what."""
        on = f" on {self.together.backbone}" if self.together.backbone else ""
        return f"{len(self.together.tasks)} tasks of suite {self.together.suite}{on}"


def suites(found: list[SuiteSummary], colours: Mapping[str, str]) -> list[Suite]:
    """Return what is drawn of suites, in their order."""
    keys = [(each.suite, each.backbone or "all", each.start, each.protocol) for each in found]
    return [
        Suite(each, looks(_table(each), colours), stem)
        for each, stem in zip(found, stems(keys), strict=True)
    ]


def average_ranks(suite: Suite) -> FigureArtifact | None:
    """Draw each method's average rank with a bar as long as the critical difference.

    Returns:
        The figure, None with too few methods or tasks for ranks.
    """
    found = suite.together.ranks
    if found is None:
        return None
    names = list(found.average)[:_MOST]
    title = (
        f"Average rank over {suite.place}, 1 is best. {_bars(found)} Right: lines join methods "
        f"that do not differ significantly. Friedman's test that all are equal: "
        f"p = {number(found.p_value)}."
    )
    if len(names) < len(found.average):
        title += f" The first {len(names)} of {len(found.average)} methods are drawn."
    with style():
        lines = [Named(name, suite.looks[name]) for name in names]
        room = 0.13 * len(found.cliques) + 0.1
        figure, [ranked, cliques] = listed(lines, ["average rank"], beside=room)
        average = [found.average[name] for name in names]
        ends = [_ends(found, name) for name in names]
        low, high = map(list, zip(*ends, strict=True))
        estimates(ranked, average, (low, high), lines)
        last = len(found.average)
        ranked.set_xlim(1 - 0.03 * (last - 1), last + 0.03 * (last - 1))
        ranked.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        cliques.sharey(ranked)
        _draw_cliques(cliques, found, names)
    data = pd.DataFrame(
        {
            "name": names,
            "average_rank": average,
            "bar_low": low,
            "bar_high": high,
            "not_told_apart": [_groups(name, found) for name in names],
        }
    )
    return FigureArtifact(f"average-ranks-{suite.stem}", title, figure, data)


def _bars(found: Ranks[str]) -> str:
    """Say what the bars are, or why there are none."""
    size = number(found.critical_difference, 2)
    difference = f"the critical difference of Nemenyi's test at 5 % ({size} ranks)"
    if _telling(found):
        return (
            f"Bars are as long as {difference}, within the ranks that there are: of two methods "
            "whose bars do not meet, one ranks better on tasks like these."
        )
    return f"No bars: {difference} is no less than ranks can differ, so that it tells none apart."


def _telling(found: Ranks[str]) -> bool:
    """Whether two average ranks can lie so far apart that the test tells them apart."""
    return found.critical_difference < len(found.average) - 1


def _ends(found: Ranks[str], name: str) -> tuple[float, float]:
    """Return the ends of a bar, NaN where there is none."""
    if not _telling(found):
        return np.nan, np.nan
    half, rank = found.critical_difference / 2, found.average[name]
    return max(1.0, rank - half), min(float(len(found.average)), rank + half)


def _draw_cliques(axis: Axes, found: Ranks[str], names: list[str]) -> None:
    """Draw a line for each set of tied methods, above the lines of the list."""
    for column, clique in enumerate(found.cliques):
        ends = [names.index(name) for name in (clique[0], clique[-1]) if name in names]
        if ends:
            last = ends[-1] if len(ends) > 1 else len(names) - 1
            axis.plot([column, column], [ends[0] - 0.25, last + 0.25], color=INK, linewidth=2.2)
    axis.set_xlim(-0.8, len(found.cliques) - 0.2)
    axis.set_axis_off()


def _groups(name: str, found: Ranks[str]) -> str:
    """Return the numbers of the sets that a method is in."""
    return " ".join(str(n) for n, clique in enumerate(found.cliques, 1) if name in clique)


def profiles(suite: Suite) -> FigureArtifact | None:
    """Draw what share of a method's runs comes within each distance of the best method.

    Returns:
        The figure, None where scores have several scales.
    """
    found = suite.together.profile
    if found is None:
        return None
    names = _shown(suite)
    banded = len(names) <= _BANDS
    title = (
        f"Performance profile over {suite.place}: the share of a method's runs whose test score "
        "lies at most so far below the best mean score of their task; higher lines are better, and "
        "a line that is nowhere below another one belongs to a method that is nowhere worse."
        + (" Bands: 95 % intervals over seeds." if banded else "")
        + left_out(len(names), len(suite.together.ranked), "mean score")
    )
    with style():
        figure = _draw_profiles(suite, found, names, banded=banded)
    frames = [
        pd.DataFrame(
            {
                "name": name,
                "distance": found.distances,
                "share": found.shares[name],
                "low": found.ends[name][0],
                "high": found.ends[name][1],
            }
        )
        for name in names
    ]
    return FigureArtifact(
        f"profile-{suite.stem}", title, figure, pd.concat(frames, ignore_index=True)
    )


def _shown(suite: Suite) -> list[str]:
    """Return the names that have a line, best mean first."""
    table = _table(suite.together)
    names = [label(row.method, row.variant) for row in rows(table)]
    means = {name: float(each.mean) for name, each in suite.together.means.items()}
    table = table.assign(name=names, mean=[means.get(name, np.nan) for name in names])
    table = table[table["name"].isin(suite.together.ranked)]
    table = table.sort_values("mean", ascending=False, kind="stable")
    return [str(name) for name in chosen(table, "mean", _CURVES)["name"]]


def _draw_profiles(suite: Suite, found: Profile[str], names: list[str], *, banded: bool) -> Figure:
    figure, axis = beside_names(len(names))
    for name in names:
        look = suite.looks[name]
        if banded:
            low, high = found.ends[name]
            axis.fill_between(
                found.distances, low, high, color=look.colour, alpha=0.12, linewidth=0, step="post"
            )
        axis.step(
            found.distances,
            found.shares[name],
            where="post",
            color=look.colour,
            linestyle="-" if look.fill == "full" else "--",
            marker=look.marker,
            fillstyle=look.fill,
            markevery=max(1, len(found.distances) // 6),
            label=within(name, 1.45, 7.5),
        )
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("distance below the best mean score of the task")
    axis.set_ylabel("share of runs")
    name_lines(figure)
    return figure


def _table(together: SuiteSummary) -> pd.DataFrame:
    """Return method and variant of every row."""
    first = together.tasks[0].rows
    pairs: list[dict[str, Any]] = [
        {"method": first[name].method, "variant": first[name].variant} for name in together.names
    ]
    return pd.DataFrame(pairs, columns=["method", "variant"])
