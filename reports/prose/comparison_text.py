"""A comparison of two methods in words: for a terminal, and for programs."""

import math
from collections import Counter
from textwrap import wrap
from typing import Any

from gapbench.bench.core.errors import printable
from gapbench.reports.prose.effects import found_as_it_is
from gapbench.reports.tables.compare import Compared, Difference
from gapbench.reports.tables.terminal import WIDTH, fitted, number
from gapbench.reports.tables.words import PRACTICABLE, more_seeds

_HEAD = ("", "seeds", "items", "A", "B", "A - B", "95 %", "p", "Holm p")
_WIDTHS = (32, 5, 6, 8, 8, 8, 18, 8, 8)
_NOTES = (
    "95 %: interval of A - B for this task alone. Holm p: p corrected for the tests on all tasks. "
    "Items: test items that both are over, beside seeds; without, they hold for this test set only."
)


def format_comparison(found: Compared) -> str:
    """Return a comparison as plain text of at most `WIDTH` columns."""
    lines = [f"A: {found.first}", f"B: {found.second}", "", _line(_HEAD)]
    for each in found.differences:
        lines.append(_line((each.place, *_numbers(each))))
        lines += wrap(
            f"{metric(each)}: {verdict(each, found)}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="  ",
        )
    below = [conclusion(found), _NOTES]
    lines += ["", *(line for text in below for line in wrap(text, WIDTH))]
    return "\n".join(map(printable, lines))


def content(found: Compared) -> dict[str, Any]:
    """Return a comparison as JSON holds it; what does not exist is None."""
    return {
        "first": found.first,
        "second": found.second,
        "tasks": [
            {
                "suite": each.suite,
                "task": each.task,
                "backbone": each.backbone,
                "start": each.start,
                "metric": each.metric,
                "higher_is_better": each.higher_is_better,
                "seeds": each.comparison.difference.n,
                "items": each.n_items or None,
                "first": each.first,
                "second": each.second,
                "difference": each.comparison.difference.mean,
                "low": each.comparison.difference.low,
                "high": each.comparison.difference.high,
                "p_value": each.comparison.p_value,
                "corrected": each.comparison.corrected,
                "detectable": _finite(each.comparison.detectable),
                "more_seeds": _whole(each.comparison.more_seeds),
                "better": each.better or None,
                "verdict": verdict(each, found),
            }
            for each in found.differences
        ],
        "conclusion": conclusion(found),
    }


def verdict(each: Difference, found: Compared) -> str:
    """Describe the difference between two methods on one task, and the detectable difference."""
    comparison = each.comparison
    n = comparison.difference.n
    if n < 2:
        return f"{'one common seed' if n else 'no common seed'}, so nothing can be told."
    if comparison.p_value is None:
        same = "equal" if comparison.difference.mean == 0 else "apart by the same"
        return f"{same} on all {n} seeds, which no test can judge."
    if each.better:
        name = found.first if each.better == "first" else found.second
        return f"{name} is better."
    seen = f"no difference is found; {found_as_it_is(comparison)}."
    if comparison.more_seeds is None or not comparison.difference.mean:
        return seen
    if math.isinf(comparison.more_seeds) and comparison.items:
        return f"{seen} With so few test items, no number of seeds would find one as small as seen."
    if comparison.more_seeds > PRACTICABLE:
        return f"{seen} No practicable number of seeds would find one as small as seen."
    return f"{seen} One as large as seen would take {more_seeds(comparison.more_seeds)}."


def conclusion(found: Compared) -> str:
    """Say on how many tasks each of the two is better."""
    counts = Counter(each.better for each in found.differences)
    total = len(found.differences)
    tasks = "1 task" if total == 1 else f"{total} tasks"
    return (
        f"Of {tasks}, {found.first} is better on {counts['first']}, {found.second} on "
        f"{counts['second']}; on {counts['']} the data tell no difference."
    )


def metric(each: Difference) -> str:
    """Return the metric of a task, with its direction where less is better."""
    return each.metric if each.higher_is_better else f"{each.metric}, lower is better"


def _numbers(each: Difference) -> tuple[str, ...]:
    comparison = each.comparison
    ends = comparison.difference
    known = ends.low is not None
    return (
        str(ends.n),
        str(each.n_items or ""),
        number(each.first),
        number(each.second),
        number(ends.mean),
        f"{number(ends.low)} .. {number(ends.high)}" if known else "",
        number(comparison.p_value),
        number(comparison.corrected),
    )


def _line(texts: tuple[str, ...]) -> str:
    first, *others = zip(texts, _WIDTHS, strict=True)
    cells = [fitted(*first).ljust(first[1]), *(text.rjust(width) for text, width in others)]
    return " ".join(cells).rstrip()


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value


def _whole(value: float | None) -> int | None:
    return None if value is None or math.isinf(value) else int(value)
