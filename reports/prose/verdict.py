"""A verdict in sentences, the most important one first; the facts are in `reports.verdict`."""

import math

from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import interval, listed, named
from gapbench.reports.verdict.model import Contrast, Design, Entry, Verdict
from gapbench.reports.verdict.recommend import TOO_FEW, UNTRAINED

_LEFT = 4
"""Up to so many rows and tasks that are left out are named."""


def sentences(verdict: Verdict) -> list[str]:
    """Return what is said of one task, or of all tasks of a suite."""
    said = [
        _untrained(verdict),
        _best(verdict),
        _recommended(verdict),
        *_beaten(verdict),
        _ruled_out(verdict),
        _optimism(verdict),
        design(verdict.design) if verdict.design and verdict.design.n_seeds else "",
        *_not_ranked(verdict),
        _left_out(verdict),
    ]
    return [each for each in said if each]


def title(verdict: Verdict) -> str:
    """Return what a verdict is about."""
    on = f" on {verdict.backbone}" if verdict.backbone else ""
    start = f", from {verdict.start}" if verdict.start else ""
    paper = ", paper protocol" if verdict.protocol == "paper" else ""
    suite = f"suite {verdict.suite}" if verdict.suite else "in no suite"
    what = verdict.task or f"All {len(verdict.tasks)} tasks"
    return f"{what}{on}{start}{paper} ({suite}){settings(verdict)}"


def settings(verdict: Verdict) -> str:
    """Return by what settings a task differs from itself elsewhere; "" if it was run under one."""
    said = ", ".join(f"{name} {value}" for name, value in verdict.differs.items())
    return f": {said}" if said else ""


def design(found: Design) -> str:
    """Say what a study of this size can tell, and how many seeds would tell what matters."""
    least, most = found.detectable
    if math.isinf(least):
        said = (
            "Four in five such studies would find no difference to the reference that is possible."
        )
    else:
        ends = (
            f"{number(least)} to {number(most)}"
            if math.isfinite(most)
            else f"{number(least)} or more"
        )
        said = f"Four in five such studies would find a true difference to the reference of {ends}."
    few, many = found.seeds
    if math.isnan(found.matters):
        return said
    if math.isinf(few):
        return (
            f"{said} With these test items, no number of seeds would find {number(found.matters)}."
        )
    upto = f" to {many:.0f}" if math.isfinite(many) else " or more"
    count = f"{few:.0f}" if few == many else f"{few:.0f}{upto}"
    return f"{said} To find {number(found.matters)}, it takes {count} seeds."


def _untrained(verdict: Verdict) -> str:
    if verdict.learned is not False:
        return ""
    names = listed([each.second for each in verdict.untrained])
    return f"No trained method is shown to be better than {names}, which trains nothing."


def _best(verdict: Verdict) -> str:
    ranked = [each for each in verdict.entries if each.status in ("ranked", "reference")]
    every = ranked or [each for each in verdict.entries if each.status != "untrained"]
    scored = [e for e in every if "score" in e.levels and e.levels["score"].mean is not None]
    if not scored:
        return "No trained method of this task has a score yet." if verdict.task else ""
    best = scored[0]
    level = best.levels["score"]
    ends = interval(level.low, level.high)
    over = f"{level.n_seeds} seed{'' if level.n_seeds == 1 else 's'}"
    over += f" and {level.n_items} test items" if level.n_items else ""
    spread = f"{over}, 95 % interval {ends}" if ends else over
    word = "highest" if verdict.higher_is_better else "lowest"
    among = "" if len(ranked) == len(verdict.entries) else " of those compared" if ranked else ""
    return f"{best.name} has the {word} {verdict.metric}{among}: {number(level.mean)} ({spread})."


def _recommended(verdict: Verdict) -> str:
    if verdict.why == TOO_FEW:
        return "Too few seeds for a verdict: one seed has no interval. Run 5 or more (--seeds 5)."
    if not verdict.recommended or verdict.why == UNTRAINED:
        return ""
    ties = f" Not told apart from the best: {named(list(verdict.ties))}." if verdict.ties else ""
    return f"Recommended: {verdict.recommended}, {verdict.why}.{ties}"


def _beaten(verdict: Verdict) -> list[str]:
    """Say what is better and what is worse than the reference, and by how much."""
    said = []
    for claim in ("better", "worse"):
        found = [
            each.to_reference["score"]
            for each in verdict.entries
            if each.to_reference and each.to_reference["score"].claim == claim
        ]
        if found:
            said.append(f"{claim.capitalize()} than {verdict.reference}: {listed(_sizes(found))}.")
    return said


def _sizes(found: list[Contrast]) -> list[str]:
    said = []
    for each in found:
        low, high = sorted(abs(end or 0.0) for end in (each.low, each.high))
        said.append(
            f"{each.first} by {number(abs(each.difference or 0.0))} ({interval(low, high)})"
        )
    return said


def _ruled_out(verdict: Verdict) -> str:
    better = any(
        each.to_reference and each.to_reference["score"].claim == "better"
        for each in verdict.entries
    )
    if verdict.ruled_out is None or better:
        return ""
    return f"No method is better than {verdict.reference} by more than {number(verdict.ruled_out)}."


def _optimism(verdict: Verdict) -> str:
    if not verdict.optimism:
        return ""
    return (
        "The best mean was chosen for being the best: if all that tie with it are equal, it "
        f"flatters by {number(verdict.optimism)} on average."
    )


def _not_ranked(verdict: Verdict) -> list[str]:
    """Say which rows are not compared, and how failed runs were counted."""
    out: list[Entry] = [
        e for e in verdict.entries if e.why and e.status not in ("ranked", "reference")
    ]
    said = [f"Not compared: {listed([f'{e.name} ({e.why})' for e in out[:_LEFT]])}." if out else ""]
    counted = [e for e in verdict.entries if e.why and e.status in ("ranked", "reference")]
    said += [f"{e.name}: {e.why}." for e in counted[:_LEFT]]
    commands = dict.fromkeys(e.command for e in out if e.command)
    return [*said, *(f"To complete them: {each}" for each in commands)]


def _left_out(verdict: Verdict) -> str:
    left = verdict.left_out
    if not left:
        return ""
    if len(left) > _LEFT:
        return f"Left out are {len(left)} rows or tasks that lack a score where others have one."
    return f"Left out: {listed([f'{name} ({why})' for name, why in left.items()])}."
