"""A comparison of two methods in words: for a terminal, and for programs."""

import math
from collections import Counter
from textwrap import wrap
from typing import Any

from gapbench.bench.core.errors import printable
from gapbench.bench.metrics.base import metric_in_words
from gapbench.reports.prose.headline import use
from gapbench.reports.prose.pair_answer import answer, answered, answers, training_ratio
from gapbench.reports.prose.what_would_change import design
from gapbench.reports.tables.terminal import WIDTH, fitted, signed
from gapbench.reports.tables.words import telling
from gapbench.reports.verdict.compare import Compared, Difference
from gapbench.reports.verdict.model import Contrast, Verdict

_HEAD = ("", "seeds", "items", "A - B", "95 %", "")
_WIDTHS = (24, 5, 5, 7, 17, 11)
_NAMES = {"score": "score", "gap": "generalization gap", "ece": "ECE", "nll": "test NLL"}
_NOTES = (
    "95 %: the intervals are wide enough that in 95 of 100 such studies not one of those of an "
    "outcome misses the truth; so are those beside what trains nothing. A is better or worse "
    "exactly where its interval excludes zero. Items: test items that an interval is over, beside "
    "seeds; without any, it holds for these test items alone."
)


def format_comparison(found: Compared) -> str:
    """Return a comparison as plain text of at most `WIDTH` columns."""
    lines = [f"A: {found.first}", f"B: {found.second}", ""]
    lines.append(_line(_HEAD))
    said_of = answered(found)
    for each in found.differences:
        lines.append(f"{each.place}: {metric(each.verdict)}")
        for outcome, contrast in each.contrasts.items():
            if outcome == "score" or contrast.difference is not None:
                lines += _lines(_NAMES[outcome], contrast)
        for second in each.second_tests:
            said = _directed(second.metric.name, higher_is_better=second.metric.higher_is_better)
            lines += [f"  also tested on {second.test}: {said}", *_lines("score", second.contrast)]
        over, size = each.contrasts["score"], each.verdict.design
        untold = not (over.claim or over.withheld) and any(each is one for one in said_of)
        if size and untold and each.verdict.reference in (found.first, found.second):
            lines += _wrapped(design(size))
    below = [*answers(found), conclusion(found), _NOTES]
    lines += ["", *(line for text in below for line in wrap(text, WIDTH))]
    return "\n".join(map(printable, lines))


def content(found: Compared) -> dict[str, Any]:
    """Return a comparison as JSON holds it; what does not exist is None."""
    return {
        "first": found.first,
        "second": found.second,
        "tasks": [
            {
                "suite": each.verdict.suite,
                "task": each.verdict.task or None,
                "backbone": each.verdict.backbone,
                "start": each.verdict.start,
                "setting": each.verdict.setting,
                "metric": each.verdict.metric,
                "higher_is_better": each.verdict.higher_is_better,
                "first": _mean(each, found.first),
                "second": _mean(each, found.second),
                **_numbers(each.contrasts["score"]),
                "outcomes": {o: _numbers(c) for o, c in each.contrasts.items() if o != "score"},
                "second_tests": [
                    {
                        "test": second.test,
                        "metric": second.metric.name,
                        "higher_is_better": second.metric.higher_is_better,
                        **_numbers(second.contrast),
                    }
                    for second in each.second_tests
                ],
            }
            for each in found.differences
        ],
        "answers": [
            {
                "suite": each.verdict.suite,
                "task": each.verdict.task or None,
                "backbone": each.verdict.backbone,
                "recommended": use(each.verdict) or None,
                "why": each.verdict.why,
                "training": training_ratio(each.verdict, found.first, found.second),
                "said": answer(each, found.first, found.second),
            }
            for each in answered(found)
        ],
        "conclusion": conclusion(found),
    }


def conclusion(found: Compared) -> str:
    """Say on how many tasks each of the two is better."""
    tasks = [each.contrasts["score"] for each in found.differences if each.verdict.task]
    told = [each for each in tasks if not each.withheld]
    counts = Counter(each.claim for each in told)
    total = "1 task" if len(tasks) == 1 else f"{len(tasks)} tasks"
    said = (
        f"Of {total}, {found.first} is better on {counts['better']}, {found.second} on "
        f"{counts['worse']}; on {counts['']} the data show no difference in score."
    )
    same = sum(each.identical for each in tasks)
    if same:
        said += f" On {same} they are identical."
    if len(told) + same < len(tasks):
        said += f" On {len(tasks) - len(told) - same} they cannot be compared."
    for each in found.differences:
        over = each.contrasts["score"]
        if not each.verdict.task:
            better = found.first if over.claim == "better" else found.second
            ruling = f"{better} is better" if over.claim else "the data show no difference in score"
            ruling = "they cannot be compared" if over.withheld else ruling
            ruling = "they are identical" if over.identical else ruling
            said = f"Over {each.place}, {ruling}. {said}"
    return said


def metric(verdict: Verdict) -> str:
    """Return the metric of a task, with its direction where less is better."""
    what = verdict.metric or "no mean over different metrics"
    return _directed(what, higher_is_better=verdict.higher_is_better)


def _directed(name: str, *, higher_is_better: bool) -> str:
    """Return the name of a metric, with its direction where less is better."""
    said = metric_in_words(name)
    return said if higher_is_better else f"{said}, lower is better"


def _mean(each: Difference, name: str) -> float | None:
    level = each.verdict[name].levels.get("score")
    return level.mean if level else None


def _numbers(contrast: Contrast) -> dict[str, Any]:
    return {
        "seeds": contrast.n_seeds,
        "items": contrast.n_items or None,
        "difference": contrast.difference,
        "low": contrast.low,
        "high": contrast.high,
        "confidence": None if math.isnan(contrast.confidence) else contrast.confidence,
        "claim": contrast.claim,
        "withheld": contrast.withheld,
    }


def _lines(name: str, contrast: Contrast) -> list[str]:
    ends = ""
    if contrast.low is not None and contrast.high is not None:
        digits = telling(contrast.low, contrast.high)
        ends = f"{signed(contrast.low, digits)} .. {signed(contrast.high, digits)}"
    texts = (
        f"  {name}",
        str(contrast.n_seeds),
        str(contrast.n_items or ""),
        signed(contrast.difference),
        ends,
        f"A is {contrast.claim}" if contrast.claim else "",
    )
    return [
        _line(texts),
        *(_wrapped(f"No interval: {contrast.withheld}.") if contrast.withheld else []),
    ]


def _wrapped(text: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")


def _line(texts: tuple[str, ...]) -> str:
    first, *others = zip(texts, _WIDTHS, strict=True)
    cells = [fitted(*first).ljust(first[1]), *(text.rjust(width) for text, width in others)]
    return " ".join(cells).rstrip()
