"""What the tasks of a suite say together, in sentences about `tables/suite_summary.py`."""

from gapbench.reports.prose.effects import effects, gains, same
from gapbench.reports.tables.ranking import OVER_ITEMS, OVER_SEEDS
from gapbench.reports.tables.suite_summary import SuiteSummary
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import interval, listed, named

_LEFT = 4
"""Up to so many rows and tasks that are left out are named."""


def overall(together: SuiteSummary) -> list[str]:
    """Return the verdict on several tasks, the most important sentence first.

    Args:
        together: with two or more ranked rows.
    """
    alike = same(together.pairs, {name: name for name in together.ranked})
    sentences = [*_means(together), _ranks(together), *alike, _left_out(together)]
    return [sentence for sentence in sentences if sentence]


def title(together: SuiteSummary) -> str:
    """Return what is looked at together."""
    on = f" on {together.backbone}" if together.backbone else ""
    start = f", from {together.start}" if together.start else ""
    paper = ", paper protocol" if together.protocol == "paper" else ""
    what = "of GLUE" if together.glue else f"{len(together.tasks)} tasks"
    return f"All {what}{on}{start}{paper} (suite {together.suite})"


def over(together: SuiteSummary) -> str:
    """Say what intervals of means are over."""
    known = [task for task in together.tasks if task.items]
    if len(known) == len(together.tasks):
        return OVER_ITEMS
    return f"{OVER_ITEMS} of {len(known)} of them" if known else OVER_SEEDS


def _means(together: SuiteSummary) -> list[str]:
    if not together.averageable:
        return ["The scores of these tasks are on several scales, so that they have no mean."]
    best, *others = together.groups
    mean = together.means[best].interval(len(together.tasks), together.possible)
    spread = interval(mean.low, mean.high)
    said = f" (95 % interval {spread}, over {over(together)})" if spread else ""
    names = {name: name for name in (best, *others)}
    ahead = _ahead(together, best)
    among = " of those compared" if ahead else ""
    return [
        f"Over {len(together.tasks)} tasks, {best} has the highest mean score{among}: "
        f"{number(mean.mean)}{said}.",
        f"Ahead of it, but not compared: {listed(ahead)}." if ahead else "",
        *effects(together.pairs, names, upward=True),
        *gains(together.pairs, names, upward=True),
    ]


def _ahead(together: SuiteSummary, best: str) -> list[str]:
    """Return rows with their means that beat the best ranked row without being ranked."""
    means = {name: float(each.mean) for name, each in together.means.items()}
    return [
        f"{name} ({number(mean)})"
        for name, mean in means.items()
        if mean > means[best] and name not in together.ranked
    ]


def _ranks(together: SuiteSummary) -> str:
    found = together.ranks
    if found is None:
        return ""
    best, *others = found.average
    p_value = f"Friedman's test, p = {number(found.p_value)}"
    if found.p_value >= 0.05:
        return (
            f"Ranks on {found.n_tasks} tasks show no significant difference ({p_value}): the "
            "order may not hold on other tasks."
        )
    first = found.average[best]
    worse = [n for n in others if found.average[n] - first >= found.critical_difference]
    apart = (
        f"Nemenyi's test separates it from {named(worse)}" if worse else "no pair with it differs"
    )
    return (
        f"Ranks on {found.n_tasks} tasks differ ({p_value}): {best} has the best average, "
        f"{number(first, 1)}; {apart} (critical difference {number(found.critical_difference, 1)})."
    )


def _left_out(together: SuiteSummary) -> str:
    left = together.left_out
    if not left:
        return ""
    if len(left) > _LEFT:
        return f"Left out are {len(left)} rows or tasks that lack a score where others have one."
    return f"Left out: {listed([f'{name} ({why})' for name, why in left.items()])}."
