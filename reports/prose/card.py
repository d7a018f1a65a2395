"""The answer in words: what a verdict says, short enough for one screen."""

from collections.abc import Iterator
from dataclasses import replace
from math import isfinite, isinf, isnan

from gapbench.reports.document.model import Card, Measure
from gapbench.reports.tables.outcomes import Claim, Outcome
from gapbench.reports.tables.row_status import RANKED
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import interval, listed, named, signed, times
from gapbench.reports.verdict.model import Contrast, Design, Entry, Level, Verdict
from gapbench.reports.verdict.recommend import (
    ALONE,
    CHEAPEST,
    CHEAPEST_BETTER,
    COLLAPSED,
    NO_ITEMS,
    NO_REFERENCE,
    NO_ROW,
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
_TOGETHER = "(95 % confidence, all comparisons together)"
_MOST_SETTINGS, _MOST_COUNTED = 8, 4
_COUNTED, _MEASURED = 0.05, 0.25
"""Shares by which operations, and seconds or bytes of one machine, differ to be worth a word."""
_BESIDE: dict[tuple[Outcome, Claim], str] = {
    ("gap", "better"): "a narrower gap",
    ("gap", "worse"): "a wider gap",
    ("ece", "better"): "less calibration error",
    ("ece", "worse"): "more calibration error",
}
COMPLETE = "To run what is missing"
"""The point that holds commands, a line each."""
_NONE_YET = "No recommendation yet. "
_EXPECTED = (*RANKED, "untrained")


def card(verdict: Verdict) -> Card:
    """Return what one screen says of a verdict."""
    subject, beside = _sides(verdict)
    return Card(
        about=about(verdict),
        headline=headline(verdict),
        certainty=_certainty(verdict),
        heads=(_head(verdict, subject), _head(verdict, beside)),
        measures=tuple(_measures(verdict, subject, beside)),
        points={name: said for name, said in _points(verdict) if said},
        tasks=tuple(
            (_task(verdict, each), each.recommended or "none yet", in_short(each))
            for each in verdict.tasks
        ),
    )


def about(verdict: Verdict) -> str:
    """Return which tasks, backbone and suite a verdict is about."""
    what = verdict.task or f"{len(verdict.tasks)} tasks"
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


def metric(verdict: Verdict) -> str:
    """Return what the score of a verdict is."""
    return "share of the way to the best" if _shared(verdict) else verdict.metric or "score"


def _shared(verdict: Verdict) -> bool:
    """Whether scores of unlike metrics are on one scale, from untrained to the best method."""
    return verdict.metric.startswith("mean share")


def headline(verdict: Verdict) -> str:
    """Say what to use."""
    name, reference = verdict.recommended, verdict.reference
    if verdict.why == NOTHING_BEATS:
        return f"Keep {name}. No other method is shown to be better."
    if verdict.why == CHEAPEST_BETTER:
        return f"Use {name}. It is shown to be better than {reference}."
    if verdict.why == CHEAPEST:
        return f"Use {name}. Of the methods that nothing beats, it costs the least to train."
    if verdict.why == ALONE:
        return f"Only {name} can be judged, so there is nothing to compare it with."
    if verdict.why == UNTRAINED:
        names = listed([each.second for each in verdict.untrained if each.claim != "better"])
        return f"{_NONE_YET}No trained method is shown to be better than {names}."
    if verdict.why == NO_REFERENCE:
        own = verdict[verdict.reference]
        return f"{_NONE_YET}{own.name}, which others are compared with, is {own.status}: {own.why}."
    if verdict.why == NO_ROW:
        return "No trained method has a score yet."
    if verdict.why == NO_ITEMS:
        return "No answer: no values of single test items are known."
    if verdict.why == COLLAPSED:
        return "No answer: seeds of every method collapsed, or its outputs are missing."
    return "Too few seeds for an answer."


def _sides(verdict: Verdict) -> tuple[Entry | None, Entry | None]:
    """Return the row that the answer is about and the one that it is set beside."""
    ranked = [each for each in verdict.entries if each.status in RANKED]
    known = {each.name: each for each in verdict.entries}
    reference = known.get(verdict.reference)
    chosen = known.get(verdict.recommended) or next(iter(ranked), None)
    if chosen is not reference:
        return chosen, reference
    return next((each for each in ranked if each is not reference), None), reference


def _head(verdict: Verdict, entry: Entry | None) -> tuple[str, str]:
    """Return the name of a row and what it is in the answer."""
    if entry is None:
        return "", ""
    if entry.name == verdict.recommended:
        return entry.name, "use this"
    return entry.name, "reference" if entry.name == verdict.reference else "best other"


def _certainty(verdict: Verdict) -> str:
    """Say how sure the headline is."""
    ranked = [each for each in verdict.entries if each.status in RANKED]
    if verdict.why == NOTHING_BEATS:
        if verdict.ruled_out is None:
            if why := _untold(verdict):
                return f"The data rule out no difference. {why}"
            return "The data rule out no difference: they are too few to give intervals."
        if verdict.ruled_out <= 0:
            return f"{verdict.reference} is shown to be better than every other method {_TOGETHER}."
        others = [each.name for each in ranked if each.name != verdict.reference]
        who = others[0] if len(others) == 1 else f"any of the {len(others)} others"
        return (
            f"This does not prove them equal. The data rule out that {who} is better by more than "
            f"{number(verdict.ruled_out)} in {metric(verdict)} {_TOGETHER}."
        )
    entry = next((each for each in ranked if each.name == verdict.recommended), None)
    found = entry.to_reference.get("score") if entry else None
    if found is None or found.low is None:
        return ""
    return (
        f"Its {metric(verdict)} differs from that of {verdict.reference} by {_change(found)} "
        f"{_TOGETHER}."
    )


def _measures(verdict: Verdict, first: Entry | None, second: Entry | None) -> Iterator[Measure]:
    """Yield the lines of the answer's table: what the two reach, and what they cost."""
    if first is None:
        first, second = second, None
    if first is None:
        return
    for outcome in _SHOWN:
        name = metric(verdict) if outcome == "score" else NAMES[outcome]
        own = _level(first.levels.get(outcome))
        other = _level(second.levels.get(outcome)) if second else ""
        found = first.to_reference.get(outcome)
        if own or other:
            reading = _READINGS[found.claim] if found and found.low is not None else ""
            yield Measure(name, own, other, _change(found) if found else "", reading)
    for name, value, alike in (
        ("training cost", first.training, _COUNTED),
        ("scoring time", first.scoring, _MEASURED),
        ("peak memory", first.memory, _MEASURED),
    ):
        if second and value is not None:
            reading = "" if abs(value - 1) < alike else "cheaper" if value < 1 else "dearer"
            yield Measure(name, times(value), times(1.0), "", reading)


def _level(found: Level | None) -> str:
    if found is None or found.mean is None:
        return ""
    ends = interval(found.low, found.high)
    return number(found.mean) + (f" ({ends})" if ends else "")


def _change(found: Contrast) -> str:
    """Return a difference with its simultaneous interval."""
    if found.difference is None:
        return ""
    if found.low is None or found.high is None:
        return signed(found.difference)
    return f"{signed(found.difference)} ({signed(found.low)} to {signed(found.high)})"


def _points(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Yield further answers, each under its question."""
    chosen = next((each for each in verdict.entries if each.name == verdict.recommended), None)
    said = settings(_shared_settings(verdict, chosen)) if chosen else ""
    yield "Settings", f"{verdict.recommended}: {said}." if said else ""
    yield "Also unbeaten", _ties(verdict)
    yield "Gap and calibration", _beside(verdict)
    yield "Does training help?", _learned(verdict)
    yield "What would change this", _design(verdict)
    yield "Read with care", " ".join(_cautions(verdict))
    commands = dict.fromkeys(each.command for each in _out(verdict) if each.command)
    yield COMPLETE, "\n".join(commands)


def _shared_settings(verdict: Verdict, entry: Entry) -> Entry:
    """Return a row with the settings that it has on all tasks, where there are several."""
    own = [each[entry.name].settings for each in verdict.tasks]
    alike = {
        name: value
        for name, value in (own[0] if own else entry.settings).items()
        if all(name in other and other[name] == value for other in own)
    }
    return replace(entry, settings=alike)


def settings(entry: Entry) -> str:
    """Return what a method was set to, as far as that is a few plain values."""
    plain = {name: v for name, v in entry.settings.items() if isinstance(v, int | float | str)}
    shown = list(plain.items())[:_MOST_SETTINGS]
    more = f" and {len(plain) - len(shown)} more" if len(plain) > len(shown) else ""
    said = ", ".join(
        f"{n.replace('_', ' ')} {v:g}" if isinstance(v, float) else f"{n.replace('_', ' ')} {v}"
        for n, v in shown
    )
    return f"{said}{more}" if said else ""


def _ties(verdict: Verdict) -> str:
    if not verdict.ties:
        return "" if verdict.why == ALONE or not verdict.recommended else "nothing"
    said = named([_with_cost(verdict[name]) for name in verdict.ties])
    return f"{said}. No difference between these is shown."


def _beside(verdict: Verdict) -> str:
    """Say which rows are shown to overfit or to be calibrated otherwise than the reference."""
    said = []
    for (outcome, claim), words in _BESIDE.items():
        found = [
            f"{each.name} ({signed(contrast.difference)})"
            for each in verdict.entries
            if (contrast := each.to_reference.get(outcome)) is not None and contrast.claim == claim
        ]
        said += [f"{words}: {named(found)}"] if found else []
    return f"Shown beside {verdict.reference}, {'; '.join(said)}." if said else ""


def _with_cost(entry: Entry) -> str:
    """Return the name of a row, with its training cost where that is not the reference's."""
    known = entry.training is not None and abs(entry.training - 1) >= _COUNTED
    return f"{entry.name} (training {times(entry.training)})" if known else entry.name


def _learned(verdict: Verdict) -> str:
    """Say whether training is shown to be better than what trains nothing."""
    known = [each for each in verdict.untrained if each.difference is not None]
    if not known:
        return ""
    if verdict.learned:
        said = listed([f"than {each.second} by {_change(each)}" for each in known])
        return f"Yes: {known[0].first} is shown to be better {said}."
    doubtful = [each for each in known if each.claim != "better"]
    said = listed([f"minus {each.second} is {_change(each)}" for each in doubtful])
    return f"Not shown: {known[0].first} {said}." if doubtful else ""


def _design(verdict: Verdict) -> str:
    """Say what could change the answer."""
    if verdict.design is not None and verdict.design.n_seeds:
        return design(verdict.design)
    if any(each.compared for each in verdict.entries):
        return _untold(verdict)
    if verdict.why == NO_ITEMS:
        return "The outputs of test items: run the suite again into a new folder (--results DIR)."
    if verdict.why == COLLAPSED:
        return "Seeds that do not collapse: a lower learning rate, or more steps, may help."
    return "More seeds: run 5 or more (--seeds 5)."


def _untold(verdict: Verdict) -> str:
    """Say why a row that is compared with the reference has no interval, "" if all have one."""
    found = [
        each.to_reference["score"]
        for each in verdict.entries
        if each.compared and "score" in each.to_reference
    ]
    said = [
        f"{each.first} against {each.second}: {each.withheld}." for each in found if each.withheld
    ]
    return next(iter(said), "")


def design(found: Design) -> str:
    """Say what a study of this size can tell, and how many seeds would tell what matters."""
    least, most = found.detectable
    if isinf(least):
        seen = "no difference to the reference that is possible"
    else:
        upto = f" to {number(most)}" if isfinite(most) else " or more"
        seen = f"a true difference to the reference of {number(least)}{upto}"
    seeds = f"{found.n_seeds} seed{'' if found.n_seeds == 1 else 's'}"
    said = f"Four in five studies of this size ({seeds}) would find {seen}."
    few, many = found.seeds
    if isnan(found.matters):
        return said
    if isinf(few):
        return f"{said} No number of seeds would find {number(found.matters)} on so few examples."
    count = (
        f"{few:.0f}"
        if few == many
        else (f"{few:.0f} to {many:.0f}" if isfinite(many) else f"{few:.0f} or more")
    )
    return f"{said} To find one of {number(found.matters)}, it takes {count} seeds in all."


def _out(verdict: Verdict) -> list[Entry]:
    """Return the rows that are not compared although they were meant to be."""
    return [each for each in verdict.entries if each.why and each.status not in _EXPECTED]


def _cautions(verdict: Verdict) -> Iterator[str]:
    """Yield what a reader should know before believing the answer."""
    if _shared(verdict):
        yield "Tasks of unlike metrics are on one scale: 0 is untrained, 1 the best method."
    if verdict.protocol == "paper":
        yield "Checkpoints were chosen on the test split, so scores are too good."
    if verdict.optimism and verdict.optimism >= 0.0005:
        yield (
            f"Expect the best mean to be about {number(verdict.optimism)} worse in a repeat, since "
            "it was picked for being the best of several."
        )
    if out := _out(verdict):
        yield f"Not compared: {named([f'{each.name} ({each.why})' for each in out])}."
    counted = [each for each in verdict.entries if each.why and each.status in RANKED]
    yield from (f"{each.name}: {each.why}." for each in counted[:_MOST_COUNTED])
    if verdict.left_out:
        yield f"Not compared over all tasks: {named(list(verdict.left_out))}."


def in_short(verdict: Verdict) -> str:
    """Return what is shown on one task, for its line below the answer over all tasks."""
    if verdict.why == NOTHING_BEATS:
        if verdict.ruled_out is None:
            return "no other method is shown to be better"
        if verdict.ruled_out <= 0:
            return "shown to be better than every other method"
        most = number(verdict.ruled_out)
        return f"no other is shown to be better; an advantage above {most} is ruled out"
    if verdict.why == CHEAPEST_BETTER:
        found = verdict[verdict.recommended].to_reference["score"]
        return f"better than {verdict.reference} by {_change(found)}"
    return _continued(headline(verdict).removeprefix(_NONE_YET))


def _continued(sentence: str) -> str:
    """Return a sentence as the end of another one."""
    return f"{sentence[:1].lower()}{sentence[1:].rstrip('.')}"
