"""What a verdict says of two rows: which to use, whether they differ, and what each costs."""

from collections.abc import Sequence

from gapbench.reports.prose.card_points import COUNTED
from gapbench.reports.prose.headline import headline
from gapbench.reports.prose.phrases import metric
from gapbench.reports.tables.words import times
from gapbench.reports.verdict.compare import Compared, Difference
from gapbench.reports.verdict.model import Verdict


def answered(found: Compared) -> Sequence[Difference]:
    """Return the differences over all tasks, which have the answer; without any, single tasks."""
    return [each for each in found.differences if not each.verdict.task] or found.differences


def answers(found: Compared) -> list[str]:
    """Return what each verdict says of the two."""
    return [answer(each, found.first, found.second) for each in answered(found)]


def answer(each: Difference, first: str, second: str) -> str:
    """Return the verdict's answer, then how the two differ and what training them costs."""
    parts = (_between(each, first, second), _costs(each, first, second))
    said = " ".join([headline(each.verdict), *filter(None, parts)])
    return f"The answer for {each.place}: {said}"


def training_ratio(verdict: Verdict, first: str, second: str) -> float | None:
    """Return the training cost of the first as a multiple of that of the second."""
    own, other = verdict[first].training, verdict[second].training
    return own / other if own and other else None


def _between(each: Difference, first: str, second: str) -> str:
    found = each.contrasts["score"]
    if found.identical:
        return f"{first} and {second} are identical on every seed."
    if found.withheld:
        return f"{first} and {second} cannot be compared: {found.withheld}."
    if not found.claim:
        return f"No difference in {metric(each.verdict)} between {first} and {second} is shown."
    better, worse = (first, second) if found.claim == "better" else (second, first)
    return f"{better} is shown to be better than {worse}."


def _costs(each: Difference, first: str, second: str) -> str:
    ratio = training_ratio(each.verdict, first, second)
    if ratio is None:
        return ""
    if abs(ratio - 1) < COUNTED:
        return "Training costs about the same."
    dear, cheap = (first, second) if ratio > 1 else (second, first)
    return f"Training {dear} costs {times(max(ratio, 1 / ratio))} as much as training {cheap}."
