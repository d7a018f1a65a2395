"""Differences to the reference on one task: score, gap, ECE and cost side by side."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.board import PRIMES, Board
from gapbench.reports.figures.layout import MarkerStyle, Named, key, list_on, listed, mark, marking
from gapbench.reports.figures.scales import by_orders
from gapbench.reports.figures.theme import INK, style
from gapbench.reports.tables.outcomes import Outcome
from gapbench.reports.tables.row_status import RANKED
from gapbench.reports.tables.words import few, signed, times
from gapbench.reports.verdict.model import Contrast, Entry, Verdict

_NAMES: dict[Outcome, str] = {"score": "score", "gap": "gap", "ece": "ECE", "nll": "NLL"}
_SHOWN: tuple[Outcome, ...] = ("score", "gap", "ece")
"""Outcomes of the report's figure; the others are drawn alone."""
_MOST = 40


def forest(board: Board) -> FigureArtifact | None:
    """Draw how each trained row differs from the reference in score, gap and ECE, and its cost.

    Returns:
        The figure, None if nothing is compared with a reference.
    """
    verdict = board.verdict
    entries, named = _drawn(board)
    if not entries:
        return None
    outcomes = [name for name in _SHOWN if any(name in each.to_reference for each in entries)]
    title = (
        f"Each method minus {verdict.reference}, {board.place}: mean and 95 % interval, wide "
        "enough for all comparisons together. Filled marks: shown to be better or worse. Hollow "
        "marks: no difference shown; without a line, not comparable. Training cost is in multiples "
        f"of {verdict.reference}'s.{PRIMES if any(each.look.primes for each in named) else ''}"
        f"{_not_drawn(verdict)}"
    )
    with style():
        labels = [_label(verdict, name, board.metric) for name in outcomes]
        figure, axes = listed(named, [*labels, "training cost"], keyed=True)
        for axis, outcome in zip(axes, outcomes, strict=False):
            _draw_outcome(axis, board, outcome, entries)
        _draw_costs(axes[-1], board, entries)
        key(figure, _meanings(entries))
    data = [
        _row(board, e, e.to_reference[o]) for e in entries for o in _SHOWN if o in e.to_reference
    ]
    return FigureArtifact(
        f"forest-{board.stem}", title, figure, pd.DataFrame(data), _finding(board)
    )


def draw_differences(axis: Axes, board: Board, outcome: Outcome) -> bool:
    """Draw one outcome of the forest on given axes; return whether there is anything to draw."""
    entries, named = _drawn(board)
    if not any(outcome in each.to_reference for each in entries):
        return False
    list_on(axis, named)
    _draw_outcome(axis, board, outcome, entries)
    verdict = board.verdict
    axis.set_xlabel(f"minus {verdict.reference}: {_label(verdict, outcome, board.metric)}")
    return True


def _drawn(board: Board) -> tuple[list[Entry], list[Named]]:
    """Return the entries that are compared with the reference, and their names and looks."""
    entries = [each for each in board.verdict.entries if _compared(each)][:_MOST]
    return entries, [board.named(each) for each in entries]


def _not_drawn(verdict: Verdict) -> str:
    """Say which methods are drawn where there are too many, with a space before it."""
    of = sum(map(_compared, verdict.entries))
    return (
        f" {_MOST} of {of} methods are drawn, the best; the tables hold all." if of > _MOST else ""
    )


def _draw_outcome(axis: Axes, board: Board, outcome: Outcome, entries: Sequence[Entry]) -> None:
    axis.axvline(0, color=INK, linewidth=0.8)
    for place, each in enumerate(entries):
        _draw(axis, board, place, each, outcome)


def _compared(entry: Entry) -> bool:
    return bool(entry.to_reference) and entry.status in RANKED


def _label(verdict: Verdict, outcome: Outcome, metric: str) -> str:
    better = verdict.higher_is_better and outcome == "score"
    what = metric if outcome == "score" else _NAMES[outcome]
    return f"{what}, {'right' if better else 'left'} is better"


def _finding(board: Board) -> str:
    """Say what the differences show."""
    verdict = board.verdict
    said = []
    for outcome in _SHOWN:
        for claim in ("better", "worse"):
            found = [
                each.name
                for each in verdict.entries
                if _compared(each)
                and (contrast := each.to_reference.get(outcome))
                and contrast.claim == claim
            ]
            if found:
                name = board.metric if outcome == "score" else _NAMES[outcome]
                said.append(f"{claim} in {name}: {few(found)}")
    shown = "; ".join(said) or "no method is shown to differ in score, gap or ECE"
    return f"Against {verdict.reference} on {verdict.task}: {shown}."


def _draw(axis: Axes, board: Board, place: int, entry: Entry, outcome: Outcome) -> None:
    found = entry.to_reference.get(outcome)
    if found is None or found.difference is None:
        return
    look, said = board.looks[entry.name], board.tip(entry, difference_in_words(found))
    width = 2.0 if found.claim else 1.0
    if found.low is not None and found.high is not None:
        axis.plot(
            [found.low, found.high], [place] * 2, color=look.colour, linewidth=width, gid=said
        )
    shown = MarkerStyle(look.colour, look.marker, hollow=not found.claim)
    mark(axis, found.difference, place, shown, gid=said)


def difference_in_words(found: Contrast) -> str:
    """Return a difference to the reference, its interval, and what is shown."""
    ends = "" if found.low is None else f" ({signed(found.low)} to {signed(found.high)})"
    return f"{signed(found.difference)}{ends}, {claim_in_words(found)}"


def claim_in_words(found: Contrast) -> str:
    """Return what is shown of a difference, if anything can be."""
    if found.untold:
        return "cannot be compared"
    return f"shown to be {found.claim}" if found.claim else "no difference shown"


def _draw_costs(axis: Axes, board: Board, entries: Sequence[Entry]) -> None:
    """Draw the cost of training as a multiple of the reference's."""
    costs = [each.training for each in entries]
    known = [cost for cost in costs if cost]
    axis.axvline(1, color=INK, linewidth=0.8)
    for place, (cost, each) in enumerate(zip(costs, entries, strict=True)):
        if cost:
            look = replace(board.looks[each.name], primes=0)
            said = board.tip(each, f"{times(cost)} the training cost")
            axis.plot([1, cost], [place] * 2, color=look.colour, linewidth=1, gid=said)
            mark(axis, cost, place, look, gid=said)
            axis.annotate(
                times(cost),
                (max(cost, 1), place),
                (6, 0),
                textcoords="offset points",
                va="center_baseline",
                fontsize=7,
                gid=said,
            )
    by_orders(axis, base=2, ticks=LogLocator(base=2, numticks=5))
    low, high = min([*known, 1.0]), max([*known, 1.0])
    axis.set_xlim(low / 1.4, high * 1.4 * (high / low) ** 0.35)


def _meanings(entries: Sequence[Entry]) -> list[Any]:
    untold = any(each.untold for entry in entries for each in entry.to_reference.values())
    return [
        marking("shown to be better or worse", "o", linestyle="-", linewidth=2.0),
        marking("no difference shown", "o", linestyle="-", linewidth=1.0, fillstyle="none"),
        *([marking("cannot be compared", "o", fillstyle="none")] if untold else []),
    ]


def _row(board: Board, entry: Entry, found: Contrast) -> dict[str, Any]:
    verdict = board.verdict
    place = {name: getattr(verdict, name) for name in ("suite", "task", "backbone", "start")}
    names = ("difference", "low", "high", "claim", "confidence", "n_seeds", "n_items", "withheld")
    return place | {
        "method": entry.method,
        "variant": entry.variant,
        "config_hash": entry.config_hash,
        "reference": verdict.reference,
        "outcome": found.outcome,
        **{name: getattr(found, name) for name in names},
        "training_multiple": entry.training,
    }
