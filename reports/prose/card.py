"""The answer in words: what a verdict says, short enough for one screen."""

from collections.abc import Iterator, Sequence

from gapbench.reports.document.model import Card, Measure
from gapbench.reports.prose.card_points import COUNTED, points
from gapbench.reports.prose.headline import NONE_YET, headline, use
from gapbench.reports.prose.phrases import (
    advantage,
    change,
    doubts,
    metric,
    on_one_scale,
    untold,
)
from gapbench.reports.tables.outcomes import Outcome
from gapbench.reports.tables.row_status import RANKED
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import at_most, few, interval, listed, times
from gapbench.reports.verdict.model import Entry, Level, Verdict
from gapbench.reports.verdict.recommend import (
    CHEAPEST,
    CHEAPEST_BETTER,
    HIDDEN,
    NO_MEAN,
    NOTHING_BEATS,
    UNTRAINED,
)

NAMES: dict[Outcome, str] = {
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
_TOGETHER = "(95 % confidence, all comparisons together)"


def card(verdict: Verdict) -> Card:
    """Return what one screen says of a verdict."""
    subject, beside = _sides(verdict)
    if subject is None:
        subject, beside = beside, None
    measures = tuple(_measures(verdict, subject, beside))
    said = [
        ("Difference", _direction(verdict, subject, beside, measures)),
        ("Time and memory", _not_comparable(verdict, subject, beside)),
        *points(verdict),
    ]
    return Card(
        about=about(verdict),
        headline=headline(verdict),
        certainty=_certainty(verdict),
        heads=(_head(verdict, subject), _head(verdict, beside)),
        measures=measures,
        points={name: text for name, text in said if text},
        tasks=tuple(
            (_task(verdict, each), use(each) or "none yet", in_short(each))
            for each in verdict.tasks
        ),
    )


def about(verdict: Verdict) -> str:
    """Return which tasks, backbone and suite a verdict is about."""
    what = verdict.task or f"{verdict.n_tasks} tasks"
    parts = [what + (f" on {verdict.backbone}" if verdict.backbone else "")]
    parts += [f"from {verdict.start}"] if verdict.start else []
    parts += ["paper protocol"] if verdict.protocol == "paper" else []
    parts += [verdict.differs] if verdict.differs else []
    parts += [f"suite {verdict.suite}" if verdict.suite else "in no suite"]
    return ", ".join(parts)


def _task(verdict: Verdict, task: Verdict) -> str:
    """Return the name of a task among those of its suite, with its backbone if it has several."""
    alike = sum(each.task == task.task for each in verdict.tasks)
    return task.task if alike == 1 else f"{task.task} on {task.backbone}"


def _sides(verdict: Verdict) -> tuple[Entry | None, Entry | None]:
    """Return the row that the answer is about and the one that it is set beside."""
    ranked = [each for each in verdict.entries if each.status in RANKED]
    known = {each.name: each for each in verdict.entries}
    reference = known.get(verdict.reference)
    chosen = known.get(verdict.recommended) or next(iter(ranked), None)
    others = [each for each in ranked if each is not chosen]
    usable = reference is not None and reference.status in (*RANKED, "untrained")
    if others and not usable:
        reference = others[0]  # what nothing can be compared with tells nothing
    if chosen is not reference:
        return chosen, reference
    others = sorted((each for each in ranked if each is not reference), key=_identical)
    return next(iter(others), None), reference


def _identical(entry: Entry) -> bool:
    """Whether a row gave what the reference gave on every seed."""
    return "score" in entry.to_reference and entry.to_reference["score"].identical


def _head(verdict: Verdict, entry: Entry | None) -> tuple[str, str]:
    """Return the name of a row and what it is in the answer."""
    if entry is None:
        return "", ""
    if entry.name == use(verdict):
        return entry.name, "use this"
    ranked = [each.name for each in verdict.entries if each.status in RANKED]
    leads = not use(verdict) and ranked[:1] == [entry.name] and verdict.reference not in ranked
    other = "best" if leads else "best other"
    return entry.name, "reference" if entry.name == verdict.reference else other


def _certainty(verdict: Verdict) -> str:
    """Say how sure the headline is."""
    ranked = [each for each in verdict.entries if each.status in RANKED]
    if verdict.why == NOTHING_BEATS:
        if verdict.ruled_out is None:
            if why := untold(verdict):
                return f"The data rule out no difference. {why}"
            return "The data rule out no difference: they are too few to give intervals."
        others = [each for each in ranked if each.name != verdict.reference]
        twins = [each.name for each in others if _identical(each)]
        names = [each.name for each in others if each.name not in twins]
        are = "is" if len(twins) == 1 else "are"
        same = f"identical to {verdict.reference} on every seed"
        beside = f" {listed(twins)} {are} {same}." if twins else ""
        if verdict.ruled_out <= 0:
            said = f"{verdict.reference} is shown to be better than {_whom(verdict)}"
            return f"{said} {_TOGETHER}.{beside}"
        who = names[0] if len(names) == 1 else f"any of the {len(names)} others"
        if verdict.vacuous:
            return (
                f"The data rule out almost nothing: an advantage of {who} of up to "
                f"{at_most(verdict.ruled_out)} in {metric(verdict)} fits them {_TOGETHER}.{beside}"
            )
        return (
            f"This does not prove them equal. The data rule out that {who} is better by more than "
            f"{at_most(verdict.ruled_out)} in {metric(verdict)} {_TOGETHER}.{beside}"
        )
    entry = next((each for each in ranked if each.name == verdict.recommended), None)
    found = entry.to_reference.get("score") if entry else None
    if found is None or found.low is None:
        return _ahead(verdict, entry or next(iter(ranked), None))
    gain = change(advantage(found, verdict))
    unit = "of the way from untrained to best" if on_one_scale(verdict) else f"in {metric(verdict)}"
    return f"It is better than {verdict.reference} by {gain} {unit} {_TOGETHER}."


def _ahead(verdict: Verdict, best: Entry | None) -> str:
    """Say which other methods a row is shown to be better than, where there is no reference."""
    others = [e for e in verdict.entries if e.status in RANKED and e is not best]
    if best is None or not others or verdict.why in (HIDDEN, NO_MEAN):
        return ""
    beaten = [each.name for each in others if best.name in each.beaten_by]
    if not beaten:
        what = f"No difference in {metric(verdict)} between {best.name} and the other methods"
        return f"{what} is shown {_TOGETHER}."
    whom = f"all {len(others)} others" if len(beaten) == len(others) > 1 else few(beaten)
    return f"{best.name} is shown to be better than {whom} {_TOGETHER}."


def _whom(verdict: Verdict) -> str:
    """Return what the reference beats, where it beats all that it can; others may be hidden."""
    others = [e for e in verdict.entries if e.status in RANKED and e.name != verdict.reference]
    names = [each.name for each in others if not _identical(each)]
    if len(names) == 1:
        return names[0]
    return f"all {len(names)} others" if len(names) == len(others) else "all that differ from it"


def _measures(verdict: Verdict, first: Entry | None, second: Entry | None) -> Iterator[Measure]:
    """Yield the lines of the answer's table: what the two reach, and what they cost."""
    if first is None:
        return
    for outcome in _SHOWN:
        name = metric(verdict) if outcome == "score" else NAMES[outcome]
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


def _direction(
    verdict: Verdict, first: Entry | None, second: Entry | None, measures: Sequence[Measure]
) -> str:
    """Say which row is subtracted from which, and where less is better."""
    if first is None or second is None or not any(each.difference for each in measures):
        return ""
    less = [NAMES["gap"], NAMES["ece"], *(() if verdict.higher_is_better else (metric(verdict),))]
    lower = [each.name for each in measures if each.name in less]
    better = f" Lower is better for {listed(lower)}." if lower else ""
    return f"{first.name} minus {second.name}.{better}"


def _not_comparable(verdict: Verdict, first: Entry | None, second: Entry | None) -> str:
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


def in_short(verdict: Verdict) -> str:
    """Return what is shown on one task, for its line below the answer over all tasks."""
    if verdict.why == NOTHING_BEATS:
        if verdict.ruled_out is None:
            return "no other method is shown to be better"
        if verdict.ruled_out <= 0:
            return f"shown to be better than {_whom(verdict)}"
        if verdict.vacuous:
            return "no other is shown to be better, but the data rule out almost nothing"
        most = at_most(verdict.ruled_out)
        return f"no other is shown to be better; an advantage above {most} is ruled out"
    if verdict.why == CHEAPEST_BETTER:
        found = verdict[verdict.recommended].to_reference["score"]
        return f"better than {verdict.reference} by {change(advantage(found, verdict))}"
    if verdict.why == CHEAPEST:
        said = _ahead(verdict, verdict[verdict.recommended]).removesuffix(f" {_TOGETHER}.")
        return _continued(said.removeprefix(f"{verdict.recommended} is "))
    said = _continued(headline(verdict).removeprefix(NONE_YET))
    why = doubts(verdict) if verdict.why == UNTRAINED else ""
    return f"{said}: {why}" if why else said


def _continued(sentence: str) -> str:
    """Return a sentence as the end of another one."""
    return f"{sentence[:1].lower()}{sentence[1:].rstrip('.')}"
