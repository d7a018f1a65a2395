"""Further answers of a card, each under its question."""

from collections.abc import Iterator

from gapbench.reports.prose.not_compared import by_reason, grouped
from gapbench.reports.prose.phrases import advantage, change, doubts, metric, on_one_scale
from gapbench.reports.prose.what_would_change import what_would_change
from gapbench.reports.tables.outcomes import Claim, Outcome
from gapbench.reports.tables.row_status import FLOORS, RANKED
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import NAMED, decimal, few, listed, named, signed, times
from gapbench.reports.verdict.model import Entry, Verdict
from gapbench.reports.verdict.recommend import ALONE, NO_MEAN, NOTHING_BEATS, UNANSWERED

COMPLETE = "To run what is missing"
"""The point that holds commands, a line each."""
_BESIDE: dict[tuple[Outcome, Claim], str] = {
    ("gap", "better"): "a narrower gap",
    ("gap", "worse"): "a wider gap",
    ("ece", "better"): "less calibration error",
    ("ece", "worse"): "more calibration error",
}
_MOST_SETTINGS, _MOST_COUNTED = 8, 4
COUNTED = 0.05
"""Share by which operations differ to be worth a word."""


def points(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Yield further answers, each under its question."""
    chosen = next((each for each in verdict.entries if each.name == verdict.recommended), None)
    said = settings(chosen) if chosen else ""
    yield "Settings", f"{verdict.recommended}: {said}." if said else ""
    yield "Also unbeaten", _ties(verdict)
    yield "Shown to be worse", _worse(verdict)
    yield "Gap and calibration", _beside(verdict)
    yield "Does training help?", _learned(verdict)
    yield "What would change this", what_would_change(verdict)
    yield "Read with care", " ".join(_cautions(verdict))
    commands = dict.fromkeys(command for each in verdict.kept_out for command in each.commands)
    yield COMPLETE, "\n".join(commands)


def settings(entry: Entry) -> str:
    """Return what a method was set to, as far as that is a few plain values."""
    plain = {name: v for name, v in entry.settings.items() if isinstance(v, int | float | str)}
    shown = list(plain.items())[:_MOST_SETTINGS]
    more = f" and {len(plain) - len(shown)} more" if len(plain) > len(shown) else ""
    said = ", ".join(
        f"{n.replace('_', ' ')} {decimal(v)}"
        if isinstance(v, float)
        else f"{n.replace('_', ' ')} {v}"
        for n, v in shown
    )
    return f"{said}{more}" if said else ""


def _ties(verdict: Verdict) -> str:
    hidden = ""
    if verdict.hidden:
        hidden = f"Left out here, and not in the choice: {named(list(verdict.hidden))}."
    if not verdict.ties:
        silent = not verdict.recommended or verdict.why in (ALONE, *UNANSWERED)
        return hidden or ("" if silent else "nothing")
    if not hidden and sum(each.compared for each in verdict.entries) == 1:
        return f"Only {verdict.ties[0]} can be judged, so there is nothing to compare it with."
    said = named([_with_cost(verdict[name]) for name in verdict.ties])
    several = len(verdict.ties) + bool(verdict.recommended) > 1
    equal = f" No difference in {metric(verdict)} between these is shown." if several else ""
    return " ".join(filter(None, (f"{said}.{equal}", _no_change(verdict), hidden)))


def _no_change(verdict: Verdict) -> str:
    """Say why the reference is kept where a cheaper row is as unbeaten, "" where none is."""
    costs = [verdict[name].training for name in verdict.ties]
    if verdict.why != NOTHING_BEATS or all(each is None or each > 1 - COUNTED for each in costs):
        return ""
    return "A cheaper one is not preferred: a change that shows no gain is not worth its trouble."


def _beside(verdict: Verdict) -> str:
    """Say which rows are shown to overfit or to be calibrated otherwise than the reference."""
    said = []
    unit = " of the way" if on_one_scale(verdict) else ""
    for (outcome, claim), words in _BESIDE.items():
        of = unit if outcome == "gap" else ""
        found = [
            f"{each.name} ({signed(contrast.difference)}{of}{_but(each, verdict)})"
            for each in verdict.entries
            if (contrast := each.to_reference.get(outcome)) is not None and contrast.claim == claim
        ]
        said += [f"{words}: {named(found)}"] if found else []
    return f"Shown beside {verdict.reference}, {'; '.join(said)}." if said else ""


def _worse(verdict: Verdict) -> str:
    """Name the rows that are shown to be worse than the reference in score, and by how much."""
    found = [
        f"{each.name} by {lost}"
        for each in verdict.entries
        if each.status == "ranked" and (lost := _lost(each))
    ]
    said = listed(found) if len(found) <= NAMED else few(found)
    return f"{said} in {metric(verdict)}, beside {verdict.reference}." if found else ""


def _but(entry: Entry, verdict: Verdict) -> str:
    """Return what a row loses in score, where it is shown to lose any."""
    lost = _lost(entry)
    return f", but {lost} worse in {metric(verdict)}" if lost else ""


def _lost(entry: Entry) -> str:
    """Return by how much the score of a row is shown to be worse, "" if it is not."""
    found = entry.to_reference.get("score")
    return number(abs(found.difference or 0.0)) if found and found.claim == "worse" else ""


def _with_cost(entry: Entry) -> str:
    """Return the name of a row, with its training cost where that is not the reference's."""
    known = entry.training is not None and abs(entry.training - 1) >= COUNTED
    return f"{entry.name} (training {times(entry.training)})" if known else entry.name


def _learned(verdict: Verdict) -> str:
    """Say whether training is shown to be better than what trains nothing."""
    known = [each for each in verdict.untrained if each.difference is not None]
    if not known:
        return _untested(verdict)
    if verdict.learned:
        own = [verdict.gains.get((verdict.recommended, each.second)) for each in known]
        of_advised = [each for each in own if each is not None and each.claim == "better"]
        known = of_advised if len(of_advised) == len(known) else known
        gains = [advantage(each, verdict) for each in known]
        said = listed([f"than {each.second} by {change(each)}" for each in gains])
        return f"Yes: {known[0].first} is shown to be better {said}."
    said = doubts(verdict)
    return f"Not shown: {said}." if said else ""


def _untested(verdict: Verdict) -> str:
    """Say why nothing tells whether training helps; the question is answered all the same."""
    if verdict.why == NO_MEAN:
        return "Not tested over all tasks, as their scores have no common mean."
    if not any(each.compared for each in verdict.entries):
        return "Not tested: no trained method can be judged."
    if bare := [each.name for each in verdict.entries if each.status == "untrained"]:
        return f"Not tested: {listed(bare)} cannot be compared."
    where = "" if verdict.task else " on every task"
    return f"Not tested: no row that trains nothing ({' or '.join(FLOORS)}) was run{where}."


def _cautions(verdict: Verdict) -> Iterator[str]:
    """Yield what a reader should know before believing the answer."""
    if on_one_scale(verdict):
        yield "Tasks of different metrics are on one scale: 0 is untrained, 1 the best method."
    if verdict.protocol == "paper":
        yield "Checkpoints were chosen on the test split, so scores are too good."
    best = next((e.name for e in verdict.entries if e.compared and not e.beaten_by), "")
    out = verdict.kept_out
    which = [*(["shown"] if verdict.hidden else []), *(["compared"] if out else [])]
    of = f" of those {' and '.join(which)}" if which else ""
    if best and verdict.optimism and verdict.optimism >= 0.0005:
        yield (
            f"Expect {best}, which has the best mean{of}, to be about "
            f"{number(verdict.optimism)} worse in a repeat: the best of several owes part of its "
            "lead to chance."
        )
    if out:
        yield f"Not compared: {by_reason(out, several=not verdict.task)}."
    counted = [each for each in verdict.entries if each.why and each.status in RANKED]
    yield from (f"{each.name}: {each.why}." for each in counted[:_MOST_COUNTED])
    if verdict.left_out:
        yield f"Not compared over all tasks: {grouped(verdict.left_out)}."
