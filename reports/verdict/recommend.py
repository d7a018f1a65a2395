"""Which row to use, by a stated rule, from what beats what and what it costs."""

from collections.abc import Mapping, Sequence

from gapbench.reports.verdict.costs import cheapest
from gapbench.reports.verdict.model import Contrast, Entry

NOTHING_BEATS = "nothing beats the reference"
CHEAPEST_BETTER = "cheapest of those that beat the reference"
CHEAPEST = "cheapest of those that nothing beats"
ALONE = "only one row is compared"
TOO_FEW = "too few seeds"
LOST = "runs were lost, and no row stands for them"
NO_ITEMS = "no values of single items are known"
COLLAPSED = "no row is without collapsed seeds"
UNTRAINED = "nothing beats what is untrained"
NO_ROW = "no row has a score"
NO_REFERENCE = "the reference cannot be compared"
NO_MEAN = "scores of the tasks have no common mean"
HIDDEN = "every row that is shown is beaten by one that is not"

UNANSWERED = (TOO_FEW, LOST, NO_ITEMS, COLLAPSED)
"""Reasons with which the reference is named for want of an answer."""


def recommend(
    entries: Sequence[Entry],
    beats_reference: Sequence[str],
    reference: str,
    *,
    learned: bool | None,
    costs: Mapping[str, tuple[float, ...]],
) -> tuple[str, str]:
    """Return the name of the row to use, "" if none, and the rule that chose it.

    The reference, where nothing beats it: what is not shown to be better is not worth a change.
    Else the cheapest of the rows that beat it and that nothing beats; without a reference, or if
    there is no such row, the cheapest of those that nothing beats, shown or not. Of equally cheap
    ones, that with the best score. Nothing where training gained nothing, or while the reference is
    there and cannot be compared.

    Args:
        entries: ranked ones by score, best first, then the others.
        beats_reference: names of those that do.
        reference: its name, "" if there is none.
        learned: whether some trained row is better than every untrained one.
        costs: of each row, as `reports.verdict.costs` compares them.
    """
    ranked = [each for each in entries if each.status in ("ranked", "reference")]
    if learned is False:
        return "", UNTRAINED
    if not ranked:
        scored = {
            each.name: each.status
            for each in entries
            if each.status != "untrained"
            and "score" in each.levels
            and each.levels["score"].mean is not None
        }
        if not scored:
            return "", NO_ROW
        return reference if reference in scored else "", _unranked(set(scored.values()))
    own = next((each for each in entries if each.name == reference), None)
    if own is not None and not own.compared and own.status != "untrained":
        return "", NO_REFERENCE
    best = [each.name for each in ranked if not each.beaten_by]
    if not best:  # of a part of a folder, what beats a row may be hidden
        return "", HIDDEN
    if len(ranked) == 1:
        return ranked[0].name, ALONE
    if reference in best:
        return reference, NOTHING_BEATS
    better = [name for name in best if name in beats_reference]
    chosen = cheapest(better or best, costs)
    return chosen, CHEAPEST_BETTER if better else CHEAPEST


def ruled_out(contrasts: Sequence[Contrast], *, upward: bool) -> float | None:
    """Return the advantage over the reference that no row has; None without intervals.

    Args:
        contrasts: rows minus the reference, in score; identical ones count for nothing.
        upward: whether higher scores are better.
    """
    ends = [each.high if upward else each.low for each in contrasts if not each.identical]
    known = [end if upward else -end for end in ends if end is not None]
    return max(0.0, *known) if known and len(known) == len(ends) else None


def room(level: float, possible: tuple[float, float], *, upward: bool) -> float:
    """Return what is left to gain.

    Args:
        level: mean score of the reference.
        possible: lowest and highest possible score.
        upward: whether higher scores are better.
    """
    return possible[1] - level if upward else level - possible[0]


def _unranked(statuses: set[str]) -> str:
    """Return why none of the rows that have a score is ranked, by their statuses."""
    if statuses <= {"itemless"}:
        return NO_ITEMS
    if "failed" in statuses and not statuses & {"single", "incomplete"}:
        return LOST
    return COLLAPSED if statuses <= {"itemless", "collapsed"} else TOO_FEW
