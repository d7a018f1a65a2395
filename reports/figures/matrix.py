"""The figure of every method on every task: differences to the reference as coloured cells."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.board import Board, reference_in_words
from gapbench.reports.figures.forest import claim_in_words, difference_in_words
from gapbench.reports.figures.heat import heatmap
from gapbench.reports.figures.layout import KEY, LINE, WIDTH, key
from gapbench.reports.figures.measure import all_within, width
from gapbench.reports.figures.theme import PAGE, RULE, style
from gapbench.reports.tables.outcomes import Outcome
from gapbench.reports.tables.words import signed
from gapbench.reports.verdict.model import Verdict

_NUMBERED = 12
"""Up to so many tasks, cells bear their numbers."""

_LEAST = 0.25
"""Depth of colour of the smallest difference that is shown; one that is not has none."""

_UNTOLD = "cannot be compared"
_MOST = 45
_LONGEST = 2.0
_NAMES: dict[Outcome, str] = {
    "score": "Test score",
    "gap": "Generalization gap",
    "ece": "Calibration error (ECE)",
}
SIGNS = {"better": "\N{BLACK UP-POINTING TRIANGLE}", "worse": "\N{BLACK DOWN-POINTING TRIANGLE}"}


def matrix(boards: Sequence[Board], outcome: Outcome) -> FigureArtifact | None:
    """Draw how every method differs from the reference on every task.

    Returns:
        The figure, None with fewer than two tasks or one method to compare.
    """
    data = _data(boards, outcome)
    if data.empty or data["place"].nunique() < 2:
        return None
    means = data.groupby("name", sort=False)[["depth", "relative"]].mean()
    means = means.sort_values(["depth", "relative"], ascending=False)
    order = [str(name) for name in means.index]
    drawn = (
        f" {_MOST} of {len(order)} methods are drawn: the best and the worst; the tables hold all."
    )
    more = drawn if len(order) > _MOST else ""
    if len(order) > _MOST:
        order = order[: _MOST // 2] + order[_MOST // 2 - _MOST :]
    columns = [str(place) for place in dict.fromkeys(data["place"])]
    inside = "text" if len(columns) <= _NUMBERED else "sign"
    depth, texts, said = (
        data.pivot_table(part, "name", "place", aggfunc="first").reindex(order, columns=columns)
        for part in ("depth", inside, "said")
    )
    reference = reference_in_words(boards)
    title = (
        f"{_NAMES[outcome]} of each method minus that of {reference}, by task, best row first. "
        f"{SIGNS['better']} shown to be better, {SIGNS['worse']} shown to be worse; grey and "
        "without a sign, no difference is shown; without a cell, they cannot be compared. Depth of "
        f"colour is relative to the largest difference of the same metric.{more}"
    )
    with style():
        figure = _draw(boards, depth, texts, said)
    finding = _finding(data, outcome, reference)
    shown = data.drop(columns=["relative", "sign", "said"])
    return FigureArtifact(f"matrix-{outcome}", title, figure, shown, finding)


def _data(boards: Sequence[Board], outcome: Outcome) -> pd.DataFrame:
    """Return a row for each cell; its depth of colour is above zero where it is better."""
    found = []
    for board, place in zip(boards, _places([each.verdict for each in boards]), strict=True):
        verdict = board.verdict
        upward = 1 if outcome == "score" and verdict.higher_is_better else -1
        for entry in verdict.entries:
            contrast = entry.to_reference.get(outcome)
            if entry.status == "untrained" or contrast is None or contrast.difference is None:
                continue
            sign = SIGNS.get(contrast.claim, "")
            cell = {name: getattr(verdict, name) for name in ("suite", "task", "backbone", "start")}
            cell |= {"name": entry.name, "place": place, "method": entry.method}
            cell |= {"metric": outcome if outcome == "ece" else verdict.metric}
            cell |= {"difference": contrast.difference, "low": contrast.low, "high": contrast.high}
            cell |= {"said": board.tip(entry, difference_in_words(contrast), across=True)}
            cell |= {"claim": contrast.claim, "shown": claim_in_words(contrast)}
            cell |= {"text": signed(contrast.difference) + sign}
            cell |= {"sign": "\N{EN DASH}" if contrast.untold else sign}
            found.append(cell | {"relative": upward * contrast.difference})
    data = pd.DataFrame(found)
    if data.empty:
        return data
    largest = data["difference"].abs().groupby(data["metric"]).transform("max")
    relative = (data["relative"] / largest).fillna(0.0)
    depth = np.sign(relative) * (_LEAST + (1 - _LEAST) * relative.abs())
    depth = depth.where(data["claim"] != "", 0.0).mask(data["shown"] == _UNTOLD)
    return data.assign(depth=depth, relative=relative)


def _finding(data: pd.DataFrame, outcome: Outcome, reference: str) -> str:
    better, worse = ((data["claim"] == claim).sum() for claim in ("better", "worse"))
    untold = (data["shown"] == _UNTOLD).sum()
    told = len(data) - untold
    cannot = f"; {untold} cannot be made" if untold else ""
    return (
        f"{_NAMES[outcome]}: of {told} comparisons with {reference}, {better} "
        f"show{'s' if better == 1 else ''} a better method, {worse} a worse one, and "
        f"{told - better - worse} show no difference{cannot}."
    )


def _places(verdicts: Sequence[Verdict]) -> list[str]:
    """Return what tells tasks apart, as short as it can be."""
    fields = ["task"]
    for name in ("backbone", "start", "suite", "setting"):
        if len({tuple(getattr(v, field) for field in fields) for v in verdicts}) == len(verdicts):
            break
        if len({getattr(each, name) for each in verdicts}) > 1:
            fields.append(name)
    return [", ".join(filter(None, (getattr(v, name) for name in fields))) for v in verdicts]


def _draw(
    boards: Sequence[Board], depth: pd.DataFrame, texts: pd.DataFrame, said: pd.DataFrame
) -> Figure:
    """Draw the cells; the tables have a row per method and a column per task."""
    numbered = len(depth.columns) <= _NUMBERED
    rows = all_within([str(name) for name in depth.index], _LONGEST, 7.5)
    room = 1.3 if numbered else _LONGEST
    columns = all_within([str(place) for place in depth.columns], room, 7)
    left = 0.15 + max(width(name, 7.5) for name in rows)
    wide = min(WIDTH - left - 0.1, 1.1 * len(columns))
    longest = max(width(place, 7) for place in columns)
    turn = 90 if not numbered else 30 if longest > 0.9 * wide / len(columns) else 0
    foot = 0.2 + max(np.sin(np.radians(turn)) * longest, 0.1)
    height = KEY + 0.06 + LINE * len(rows) + foot
    figure = Figure(figsize=(WIDTH, height))
    axis = figure.add_axes((left / WIDTH, foot / height, wide / WIDTH, LINE * len(rows) / height))
    cells = depth.set_axis(rows, axis=0)
    colour = heatmap(axis, cells, texts, "coolwarm_r", low=-1.0, said=said)
    anchor: dict[str, Any] = {"ha": "right", "rotation_mode": "anchor"} if turn == 30 else {}
    axis.set_xticks(axis.get_xticks(), columns, rotation=turn, fontsize=7, **anchor)
    named = {name: board.tip(row) for board in reversed(boards) for name, row in board.row.items()}
    for name, label in zip(depth.index, axis.get_yticklabels(), strict=True):
        label.set_gid(named[str(name)])
    meanings: dict[str, Any] = {
        "shown to be better": colour(1.0),
        "no difference shown": colour(0.0),
        "shown to be worse": colour(-1.0),
        **({_UNTOLD: PAGE} if (depth.isna() & texts.notna()).any(axis=None) else {}),
    }
    handles = [
        Patch(facecolor=shade, edgecolor=RULE, linewidth=0.5, label=text)
        for text, shade in meanings.items()
    ]
    key(figure, handles)
    return figure
