"""The answer in words: what a verdict says, short enough for one screen."""

from gapbench.reports.document.model import Card
from gapbench.reports.prose.card_measures import direction, measures, not_comparable
from gapbench.reports.prose.card_points import points
from gapbench.reports.prose.headline import NONE_YET, headline, use
from gapbench.reports.prose.phrases import (
    advantage,
    change,
    doubts,
    metric,
    on_one_scale,
    untold,
)
from gapbench.reports.tables.row_status import RANKED
from gapbench.reports.tables.words import at_most, few, listed
from gapbench.reports.verdict.model import Entry, Verdict
from gapbench.reports.verdict.recommend import (
    CHEAPEST,
    CHEAPEST_BETTER,
    HIDDEN,
    NO_MEAN,
    NOTHING_BEATS,
    UNTRAINED,
)

_TOGETHER = "(95 % confidence, all comparisons together)"


def card(verdict: Verdict) -> Card:
    """Return what one screen says of a verdict."""
    subject, beside = _sides(verdict)
    if subject is None:
        subject, beside = beside, None
    lines = tuple(measures(verdict, subject, beside))
    said = [
        ("Difference", direction(verdict, subject, beside, lines)),
        ("Time and memory", not_comparable(verdict, subject, beside)),
        *points(verdict),
    ]
    return Card(
        about=about(verdict),
        headline=headline(verdict),
        certainty=_certainty(verdict),
        heads=(_head(verdict, subject), _head(verdict, beside)),
        measures=lines,
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
    if entry.name == verdict.reference:
        return entry.name, "reference"
    ranked = [each.name for each in verdict.entries if each.status in RANKED]
    if use(verdict) or verdict.reference in ranked:
        return entry.name, "best other"
    leads = ranked[:1] == [entry.name]  # of those that can be compared; the reference cannot
    return entry.name, f"best of {len(ranked)}" if leads else "next best"


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
        what = f"No difference in {metric(verdict)} between {best.name} and the others that train"
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
