"""The answer in words: what a verdict says, short enough for one screen."""

from collections.abc import Iterator
from math import isinf

from gapbench.reports.document.model import Card, Measure
from gapbench.reports.tables.terminal import FEW_SEEDS, number
from gapbench.reports.tables.words import interval, listed, named, signed, times
from gapbench.reports.verdict.model import Contrast, Entry, Level, Outcome, Verdict

NAMES: dict[Outcome, str] = {
    "score": "score",
    "gap": "generalization gap",
    "ece": "calibration error (ECE)",
    "nll": "NLL",
}
_SHOWN: tuple[Outcome, ...] = ("score", "gap", "ece")
_READINGS = {"better": "better", "worse": "worse", "": "no difference shown"}
_TOGETHER = "(95 % confidence, all comparisons together)"
_MOST_SETTINGS = 8


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
            (each.task, each.recommended or "none", in_short(each)) for each in verdict.tasks
        ),
    )


def about(verdict: Verdict) -> str:
    """Return which tasks, backbone and suite a verdict is about."""
    what = verdict.task or f"{len(verdict.tasks)} tasks"
    parts = [what + (f" on {verdict.backbone}" if verdict.backbone else "")]
    parts += [f"from {verdict.start}"] if verdict.start else []
    parts += ["paper protocol"] if verdict.protocol == "paper" else []
    parts += [f"{name} {value}" for name, value in verdict.differs.items()]
    parts += [f"suite {verdict.suite}" if verdict.suite else "in no suite"]
    return ", ".join(parts)


def metric(verdict: Verdict) -> str:
    """Return what the score of a verdict is."""
    return verdict.metric or "score"


def headline(verdict: Verdict) -> str:
    """Say what to use."""
    name, reference = verdict.recommended, verdict.reference
    match verdict.why:
        case "nothing beats the reference":
            return f"Keep {name}. No other method is shown to be better."
        case "cheapest of those that beat the reference":
            return f"Use {name}. It is shown to be better than {reference}."
        case "cheapest of those that nothing beats":
            return f"Use {name}. Of the methods that nothing beats, it costs the least to train."
        case "only one row":
            return f"Only {name or 'one method'} has a score, so there is nothing to compare."
        case "nothing beats what is untrained":
            names = listed([each.second for each in verdict.untrained if each.claim != "better"])
            return f"Use none of them yet: no training is shown to be better than {names}."
        case _:
            return "Too few seeds for an answer."


def _sides(verdict: Verdict) -> tuple[Entry | None, Entry | None]:
    """Return the row that the answer is about and the one that it is set beside."""
    ranked = [each for each in verdict.entries if each.status in {"ranked", "reference"}]
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
    ranked = [each for each in verdict.entries if each.status in {"ranked", "reference"}]
    if verdict.why == "nothing beats the reference":
        if verdict.ruled_out is None:
            return "The data rule out no difference: they are too few to give intervals."
        if verdict.ruled_out <= 0:
            return f"{verdict.reference} is shown to be better than every other method {_TOGETHER}."
        return (
            f"This does not prove them equal. The data rule out that any of the {len(ranked) - 1} "
            f"others is better by more than {number(verdict.ruled_out)} in {metric(verdict)} "
            f"{_TOGETHER}."
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
    for name, value in (
        ("training cost", first.training),
        ("scoring time", first.scoring),
        ("peak memory", first.memory),
    ):
        if second and value is not None:
            reading = "" if abs(value - 1) < 0.05 else "cheaper" if value < 1 else "dearer"
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
    yield "Settings", settings(chosen) if chosen else ""
    yield "Also unbeaten", _ties(verdict)
    yield "Does training help?", _learned(verdict)
    yield "What would change this", _design(verdict)
    yield "Read with care", " ".join(_cautions(verdict))


def settings(entry: Entry) -> str:
    """Return what a method was set to, as far as that is a few plain values."""
    plain = {name: v for name, v in entry.settings.items() if isinstance(v, int | float | str)}
    shown = list(plain.items())[:_MOST_SETTINGS]
    more = f" and {len(plain) - len(shown)} more" if len(plain) > len(shown) else ""
    said = ", ".join(f"{n.replace('_', ' ')} {v:g}" if isinstance(v, float) else
                     f"{n.replace('_', ' ')} {v}" for n, v in shown)
    return f"{entry.name}: {said}{more}" if said else ""


def _ties(verdict: Verdict) -> str:
    if not verdict.ties:
        return "" if verdict.why == "only one row" else "nothing"
    return f"{named(list(verdict.ties))}. No difference between these is shown."


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
    """Say what it would take to see a difference that matters."""
    found = verdict.design
    if found is None:
        return f"More seeds: run {FEW_SEEDS} or more (--seeds {FEW_SEEDS})."
    least, most = found.detectable
    seen = f"one of {number(least)} to {number(most)}"
    if isinf(most):
        seen = "no difference that the metric allows" if isinf(least) else (
            f"only one of {number(least)} or more"
        )
    now = f"Four in five studies of this size ({found.n_seeds} seeds) would see {seen}."
    few, many = found.seeds
    if isinf(few):
        needed = "no number of seeds would do: the test set is too small"
    elif isinf(many):
        needed = f"it takes {few:.0f} seeds or more, and perhaps a larger test set"
    elif many <= found.n_seeds:
        return f"{now} More seeds would change little."
    else:
        needed = f"it takes {few:.0f} to {many:.0f} seeds in all"
    return f"{now} To see a difference of {number(found.matters)}, {needed}."


def _cautions(verdict: Verdict) -> Iterator[str]:
    """Yield what a reader should know before believing the answer."""
    if verdict.protocol == "paper":
        yield "Checkpoints were chosen on the test split, so scores are too good."
    if verdict.optimism and verdict.optimism >= 0.0005:
        yield (
            f"The best mean is too good by about {number(verdict.optimism)}, as it was chosen for "
            "being the best."
        )
    for word, status in (("runs failed", "failed"), ("runs are missing", "incomplete")):
        names = [each.name for each in verdict.entries if each.status == status]
        if names:
            yield f"Not ranked, since {word}: {named(names)}."
    if verdict.left_out:
        yield f"Not compared over all tasks: {named(list(verdict.left_out))}."


def in_short(verdict: Verdict) -> str:
    """Return what is shown on one task, for its line below the answer over all tasks."""
    if verdict.why == "nothing beats the reference":
        if verdict.ruled_out is None:
            return "no other method is shown to be better"
        if verdict.ruled_out <= 0:
            return "shown to be better than every other method"
        return f"no other is shown to be better; more than {signed(verdict.ruled_out)} is ruled out"
    if verdict.why == "cheapest of those that beat the reference":
        found = verdict[verdict.recommended].to_reference["score"]
        return f"better than {verdict.reference} by {_change(found)}"
    return headline(verdict)


