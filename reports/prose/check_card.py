"""What test rows say of a row that was chosen on others: a check, which chooses nothing."""

from collections.abc import Iterator, Sequence

from gapbench.reports.document.model import Card
from gapbench.reports.prose.card_measures import direction, measures, not_comparable
from gapbench.reports.prose.not_compared import by_reason
from gapbench.reports.prose.phrases import advantage, metric
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import at_most, few
from gapbench.reports.verdict.model import Entry, Verdict

_LEAKED = (
    "{} test rows have texts that are among the training rows too, so scores are too good; "
    "remove these rows"
)


def check(verdict: Verdict, advised: str, leaked: int = 0) -> Card:
    """Return the card of the check: the advised row beside the reference, and what others reach.

    Args:
        verdict: of one task, on its test rows.
        advised: name of the row that was chosen.
        leaked: number of test rows whose texts are among the training rows too.
    """
    own = verdict[advised]
    others = [each for each in verdict.entries if each.compared and each is not own]
    beside = next((each for each in others if each.name == verdict.reference), None)
    beside = beside or next(iter(others), None)
    lines = tuple(measures(verdict, own, beside))
    said = [
        ("Difference", direction(verdict, own, beside, lines)),
        ("Time and memory", not_comparable(verdict, own, beside)),
        ("Also scored", ", ".join(_scores(each for each in others if each is not beside))),
        ("Caution", _LEAKED.format(leaked) if leaked else ""),
        ("Not compared", by_reason(verdict.kept_out, several=False) if verdict.kept_out else ""),
    ]
    return Card(
        about=f"{verdict.task} on {verdict.backbone}, sealed test rows",
        headline=_headline(verdict, advised, others),
        certainty=_certainty(verdict, advised, others),
        heads=((advised, "advised"), _head(verdict, beside)),
        measures=lines,
        points={name: text for name, text in said if text},
    )


def _head(verdict: Verdict, entry: Entry | None) -> tuple[str, str]:
    if entry is None:
        return "", ""
    return entry.name, "reference" if entry.name == verdict.reference else "best other"


def _scores(entries: Iterator[Entry]) -> Iterator[str]:
    for each in entries:
        level = each.levels.get("score")
        if level is not None and level.mean is not None:
            yield f"{each.name} {number(level.mean)}"


def _headline(verdict: Verdict, advised: str, others: Sequence[Entry]) -> str:
    if not others and verdict[advised].compared:
        return f"The test rows have nothing to compare: {advised} alone was scored."
    if not verdict[advised].compared:
        return f"The test rows say nothing: {advised} cannot be compared there."
    better = [e.name for e in others if verdict.contrast(e.name, advised).claim == "better"]
    if better:
        are = "is" if len(better) == 1 else "are"
        return f"The test rows disagree: {few(better)} {are} shown to be better than {advised}."
    found = verdict[advised].to_reference.get("score")
    if found is not None and found.claim == "better":
        return f"The test rows agree: {advised} is shown to be better than {verdict.reference}."
    return f"The test rows do not contradict it: none is shown to be better than {advised}."


def _certainty(verdict: Verdict, advised: str, others: Sequence[Entry]) -> str:
    """Say what advantage of the others the test rows rule out."""
    if not others or not verdict[advised].compared:
        return ""
    found = [advantage(verdict.contrast(each.name, advised), verdict) for each in others]
    ends = [each.high for each in found if each.high is not None and not each.identical]
    if not ends or len(ends) < sum(not each.identical for each in found):
        return "They are too few to give intervals."
    whom = others[0].name if len(others) == 1 else f"any of the {len(others)} others"
    said = f"better by more than {at_most(max(ends))} in {metric(verdict)}"
    return f"They rule out that {whom} is {said} (95 % confidence, all comparisons together)."
