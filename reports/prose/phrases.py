"""Parts of sentences about a verdict, which several texts share."""

from dataclasses import replace

from gapbench.bench.metrics.base import metric_in_words
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import interval, listed, signed, telling
from gapbench.reports.verdict.model import Contrast, Entry, Verdict


def metric(verdict: Verdict) -> str:
    """Return what the score of a verdict is."""
    if on_one_scale(verdict):
        return "share of the way to the best"
    return metric_in_words(verdict.metric or "score")


def on_one_scale(verdict: Verdict) -> bool:
    """Whether scores of different metrics are on one scale, from untrained to the best method."""
    return verdict.metric.startswith("mean share")


def change(found: Contrast) -> str:
    """Return a difference with its simultaneous interval, with digits that keep a claim true."""
    if found.difference is None:
        return ""
    if found.low is None or found.high is None:
        return signed(found.difference)
    digits = telling(found.low, found.high)
    shown = [signed(each, digits) for each in (found.difference, found.low, found.high)]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def advantage(found: Contrast, verdict: Verdict) -> Contrast:
    """Return a difference as a gain, which is above zero also where lower scores are better."""
    if verdict.higher_is_better:
        return found
    return replace(found.reversed(), first=found.first, second=found.second, claim=found.claim)


def doubts(verdict: Verdict) -> str:
    """Say how much better training is than what trains nothing, where that is not shown.

    What trains nothing may vary more between seeds than what is trained, so its own score is said.
    """
    known = [each for each in verdict.untrained if each.difference is not None]
    doubtful = [each for each in known if each.claim != "better"]
    said = listed([f"minus {each.second} is {change(each)}" for each in doubtful])
    names = {each.second for each in doubtful}
    own = listed([level for e in verdict.entries if e.name in names and (level := _level(e))])
    return f"{doubtful[0].first} {said}{f'; {own}' if own else ''}" if doubtful else ""


def _level(entry: Entry) -> str:
    found = entry.levels.get("score")
    ends = interval(found.low, found.high) if found else ""
    return f"{entry.name} alone is {number(found.mean)} ({ends})" if found and ends else ""


def untold(verdict: Verdict) -> str:
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
