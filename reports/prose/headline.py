"""What to use, in a sentence or two: the first that a reader sees."""

from collections import Counter

from gapbench.reports.tables.row_status import state
from gapbench.reports.tables.words import listed
from gapbench.reports.verdict.model import Verdict
from gapbench.reports.verdict.recommend import (
    ALONE,
    CHEAPEST,
    CHEAPEST_BETTER,
    COLLAPSED,
    HIDDEN,
    LOST,
    NO_ITEMS,
    NO_MEAN,
    NO_REFERENCE,
    NO_ROW,
    NOTHING_BEATS,
    UNANSWERED,
    UNTRAINED,
)

_MOST_ANSWERS = 3
NONE_YET = "No recommendation yet. "
_NO_ANSWER = {
    NO_MEAN: f"{NONE_YET}The scores of these tasks have no common mean; see them one by one.",
    NO_ROW: "No trained method has a score yet.",
    LOST: "No answer: runs were lost, and no row that trains nothing is there to count them as.",
    NO_ITEMS: "No answer: no values of single test items are known.",
    COLLAPSED: "No answer: seeds of every method collapsed, or their outputs are missing.",
}


def use(verdict: Verdict) -> str:
    """Return the method that a verdict says to use, "" where it only names one."""
    return "" if verdict.why in (ALONE, *UNANSWERED) else verdict.recommended


def headline(verdict: Verdict) -> str:
    """Say what to use; without an answer over all tasks, what the tasks say one by one."""
    known = "" if use(verdict) or not verdict.tasks else _by_task(verdict)
    return f"{_answer(verdict)} {known}".rstrip()


def _by_task(verdict: Verdict) -> str:
    """Say on how many of the tasks which method is the answer, the most frequent ones."""
    tasks = [each for each in verdict.tasks if each.task not in verdict.left_out]
    answers = Counter(use(each) for each in tasks if use(each))
    (name, count), *others = answers.most_common(_MOST_ANSWERS) or [("", 0)]
    more = "".join(f"; on {n}: {other}" for other, n in others)
    rest = len(tasks) - count - sum(n for _, n in others)
    more += f"; on {rest}: another or none" if rest and others else ""
    return f"The answer on {count} of {len(tasks)} tasks: {name}{more}." if name else ""


def _answer(verdict: Verdict) -> str:
    name, reference = verdict.recommended, verdict.reference
    if verdict.why == NOTHING_BEATS:
        return f"Keep {name}. No other method is shown to be better."
    if verdict.why == CHEAPEST_BETTER:
        return f"Use {name}. It is shown to be better than {reference}."
    if verdict.why == CHEAPEST:
        if not (verdict.ties or verdict.hidden):
            return f"Use {name}. It alone is beaten by no other method."
        of = "methods shown here" if verdict.hidden else "methods"
        return f"Use {name}. Of the {of} that nothing beats, none costs less to train."
    if verdict.why == ALONE:
        if verdict.hidden:
            return f"Of the methods shown here, only {name} can be judged."
        return f"Only {name} can be judged, so there is nothing to compare it with."
    if verdict.why == UNTRAINED:
        names = listed([each.second for each in verdict.untrained if each.claim != "better"])
        return f"{NONE_YET}No trained method is shown to be better than {names}."
    if verdict.why == NO_REFERENCE:
        own = verdict[verdict.reference]
        none = NONE_YET if verdict.task else "No overall answer: "
        return f"{none}{own.name}, which others are compared with, {state(own.status, own.why)}."
    if verdict.why == HIDDEN:
        beaters = _beaters(verdict)
        return f"{NONE_YET}Every method shown here is beaten by others; not shown: {beaters}."
    return _NO_ANSWER.get(verdict.why, "Too few seeds for an answer.")


def _beaters(verdict: Verdict) -> str:
    """Return the rows that beat shown ones and are not shown."""
    shown = {each.name for each in verdict.entries}
    beaters = dict.fromkeys(name for each in verdict.entries for name in each.beaten_by)
    return listed([name for name in beaters if name not in shown])
