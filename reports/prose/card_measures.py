"""The table of a card: what two rows reach and cost, and which is subtracted from which."""

from collections.abc import Iterator, Sequence

from gapbench.reports.document.model import Measure
from gapbench.reports.prose.card_points import COUNTED
from gapbench.reports.prose.phrases import change, metric
from gapbench.reports.tables.outcomes import Outcome
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import interval, listed, times
from gapbench.reports.verdict.model import Entry, Level, Verdict

_NAMES: dict[Outcome, str] = {
    "score": "score",
    "gap": "generalization gap",
    "ece": "calibration error (ECE)",
    "nll": "NLL",
}
_SHOWN: tuple[Outcome, ...] = ("score", "gap", "ece")
_READINGS = {"better": "better", "worse": "worse", "": "no difference shown"}
_COSTS = (
    ("training cost", "training", True),
    ("scoring passes", "passes", True),
    ("scoring time", "scoring", False),
    ("peak memory", "memory", False),
)
"""What costs are called, where a row has them, and whether they are counted or measured."""


def measures(verdict: Verdict, first: Entry | None, second: Entry | None) -> Iterator[Measure]:
    """Yield the lines of the answer's table: what the two reach, and what they cost."""
    if first is None:
        return
    for outcome in _SHOWN:
        name = metric(verdict) if outcome == "score" else _NAMES[outcome]
        own = _level(first.levels.get(outcome))
        other = _level(second.levels.get(outcome)) if second else ""
        found = verdict.contrast(first.name, second.name, outcome) if second else None
        if own or other:
            reading = _READINGS[found.claim] if found and found.low is not None else ""
            yield Measure(name, own, other, change(found) if found else "", reading)
    for name, cost, counted in _COSTS:
        own_cost, other_cost = (getattr(each, cost) if each else None for each in (first, second))
        value = own_cost / other_cost if own_cost is not None and other_cost else None
        if value is not None and (cost != "passes" or value != 1):
            dearer = "cheaper" if value < 1 else "dearer"
            # What few runs measured is no word's worth: other work on the machine moves it.
            reading = dearer if counted and abs(value - 1) >= COUNTED else ""
            yield Measure(name, times(value), times(1.0), "", reading)


def direction(
    verdict: Verdict, first: Entry | None, second: Entry | None, shown: Sequence[Measure]
) -> str:
    """Say which row is subtracted from which, and where less is better."""
    if first is None or second is None or not any(each.difference for each in shown):
        return ""
    less = [_NAMES["gap"], _NAMES["ece"], *(() if verdict.higher_is_better else (metric(verdict),))]
    lower = [each.name for each in shown if each.name in less]
    better = f" Lower is better for {listed(lower)}." if lower else ""
    return f"{first.name} minus {second.name}.{better}"


def not_comparable(verdict: Verdict, first: Entry | None, second: Entry | None) -> str:
    """Say why measured costs of two rows are not set beside each other, "" if they are."""
    if first is None or second is None or "score" not in first.levels or first.training is None:
        return ""
    if second.name != verdict.reference:
        return ""  # multiples are those of the reference
    if first.scoring is None:
        return "Not comparable: different machines or threads."
    return "" if first.memory else "Memory not comparable: other numbers of runs trained together."


def _level(found: Level | None) -> str:
    if found is None or found.mean is None:
        return ""
    ends = interval(found.low, found.high)
    return number(found.mean) + (f" ({ends})" if ends else "")
