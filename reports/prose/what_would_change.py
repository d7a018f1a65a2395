"""What could change an answer: more seeds, lost runs done again, or another method."""

from math import isfinite, isinf, isnan

from gapbench.reports.prose.phrases import untold
from gapbench.reports.stats.planning import MOST_SEEDS
from gapbench.reports.tables.row_status import state
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import few
from gapbench.reports.verdict.model import Design, Verdict
from gapbench.reports.verdict.recommend import (
    ALONE,
    COLLAPSED,
    LOST,
    NO_ITEMS,
    NO_MEAN,
    NO_REFERENCE,
    NO_ROW,
)

_FURTHER = {
    ALONE: "A second method, run on the same seeds.",
    NO_ITEMS: "The outputs of test items: run the suite again into a new folder (--results DIR).",
    LOST: "The lost runs, done again, or a row that trains nothing, as which they then count.",
    COLLAPSED: "Seeds that do not collapse: a lower learning rate, or more steps, may help.",
}
_MOST_TASKS = 3


def what_would_change(verdict: Verdict) -> str:
    """Say what could change the answer."""
    if verdict.why == NO_MEAN:
        return ""
    if verdict.why == NO_ROW:
        failed = any(each.n_failed for each in verdict.entries)
        return "Runs that end with a score: gapbench status says why they failed." if failed else ""
    if verdict.why == NO_REFERENCE:
        return _reference(verdict)
    if verdict.design is not None and verdict.design.n_seeds:
        return design(verdict.design)
    lost = [e.name for e in verdict.entries if e.commands or e.status in ("incomplete", "single")]
    if verdict.why == ALONE and lost:
        return f"The missing runs of {few(lost)} (see gapbench status)."
    if verdict.why in _FURTHER:
        return _FURTHER[verdict.why]
    if any(each.compared for each in verdict.entries):
        return untold(verdict)
    return "More seeds: run 5 or more (--seeds 5)."


def _reference(verdict: Verdict) -> str:
    """Say what the reference lacks, task by task."""
    name = verdict.reference
    own = [each for each in verdict.tasks if each.task not in verdict.left_out] or [verdict]
    lacks = [
        (f"on {each.task} " if verdict.tasks and each.task else "")
        + f"it {state(entry.status, entry.why)}"
        for each in own
        for entry in each.entries
        if entry.name == name and not entry.compared
    ]
    more = f"; and so on for {len(lacks) - _MOST_TASKS} more" if len(lacks) > _MOST_TASKS else ""
    said = f": {'; '.join(lacks[:_MOST_TASKS])}{more}" if lacks else ""
    return f"Runs of {name} that can be compared (see gapbench status){said}."


def design(found: Design) -> str:
    """Say what a study of this size can tell, and how many seeds would tell what matters."""
    least, most = found.detectable
    seeds = f"{found.n_seeds} seed{'' if found.n_seeds == 1 else 's'}"
    if isinf(least):
        said = (
            f"A study of this size ({seeds}) misses even the largest possible difference in more "
            "than one of five cases."
        )
    else:
        size = f"about {number(least)} to {number(most)}"
        if not isfinite(most):
            size = f"some size above {number(least)}, which is not known better,"
        said = (
            f"A study of this size ({seeds}) finds a difference to the reference of {size} four "
            "times in five; smaller ones it often misses."
        )
    least_seeds, most_seeds = found.seeds
    if isnan(found.matters):
        return said
    wanted = f"{number(found.matters)}, the least that is taken to matter (--matters)"
    if isinf(least_seeds):
        return (
            f"{said} To find one of {wanted}, more seeds are not enough, not even {MOST_SEEDS:,}: "
            "it takes more examples."
        )
    count = (
        f"{least_seeds:.0f}"
        if least_seeds == most_seeds
        else f"{least_seeds:.0f} to {most_seeds:.0f}"
        if isfinite(most_seeds)
        else f"{least_seeds:.0f} or more"
    )
    return f"{said} To find one of {wanted}, it takes {count} seeds in all."
