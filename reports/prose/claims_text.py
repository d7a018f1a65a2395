"""What a results folder says of published claims, in words: for a terminal, and for programs."""

import math
from collections import Counter
from collections.abc import Sequence
from textwrap import wrap
from typing import Any, get_args

from gapbench.bench.core.errors import printable
from gapbench.reports.claims.judge import JudgedClaim, Ruling
from gapbench.reports.tables.published import DIGITS
from gapbench.reports.tables.terminal import WIDTH, number
from gapbench.reports.tables.words import signed

METRICS = {
    "score": "test score",
    "gap": "generalization gap",
    "ece": "ECE",
    "nll": "test NLL",
    "train_score": "train score",
}
RULINGS: tuple[Ruling, ...] = get_args(Ruling)
"""All that can be said of a claim, the clearest first."""


def format_claims(judged: Sequence[JudgedClaim]) -> str:
    """Return claims as plain text of at most `WIDTH` columns, the tested ones first."""
    lines = []
    for each in sorted(judged, key=clearest_first):
        lines += [f"{each.claim.id}: {ruling(each)}", *_indented(each.claim.text)]
        lines += [line for part in evidence(each) for line in _indented(part)]
        lines.append("")
    lines += [line for part in (summary(judged), how(judged)) for line in wrap(part, WIDTH)]
    return "\n".join(map(printable, lines))


def clearest_first(judged: JudgedClaim) -> int:
    """Return the place of a claim among others by its ruling."""
    return RULINGS.index(judged.ruling)


def ruling(judged: JudgedClaim) -> str:
    """Return what is said of a claim, with d where it is part of it."""
    if judged.ruling == "no difference larger than d":
        return f"no difference larger than {number(judged.larger_than)}"
    return judged.ruling


def evidence(judged: JudgedClaim) -> list[str]:
    """Return what a ruling rests on, a sentence each."""
    claim, pair = judged.claim, judged.pair
    said = [f"{compared(judged)} Source: {claim.source}, {claim.place} ({claim.certainty})."]
    if pair is not None:
        effect = signed(pair.difference)
        if pair.low is not None:
            effect += f" ({signed(pair.low)} .. {signed(pair.high)})"
        tasks = "1 task" if len(judged.tasks) == 1 else f"{len(judged.tasks)} tasks"
        said.append(
            f"Difference: {effect}, {tasks}, {pair.n_seeds} seeds, suite {judged.suite or '(none)'}"
            f"{published(judged)}."
        )
    if judged.withheld:
        said.append(f"No interval: {judged.withheld}.")
    if (needed := judged.seeds_needed) is not None:
        size = f"a difference of {number(judged.matters)} in {METRICS[claim.metric]}"
        said.append(_seeds(needed, f"{size} between these two"))
    if judged.others:
        said.append(other_rows([judged]))
    if judged.missing:
        said.append(f"Missing: {'; '.join(judged.missing)}.")
    return said


def compared(judged: JudgedClaim) -> str:
    """Return the comparison of a claim as a sentence."""
    claim = judged.claim
    how = f"alike within {claim.margin:g}" if claim.margin is not None else claim.expected
    versus = "and" if claim.expected == "alike" else "than"
    return f"{claim.first} {how} {versus} {claim.second} in {METRICS[claim.metric]}."


def published(judged: JudgedClaim) -> str:
    """Return a clause with the published size; "" if there is none."""
    size = judged.claim.published
    return "" if size is None else f"; published {number(size, DIGITS)}"


def other_rows(judged: Sequence[JudgedClaim]) -> str:
    """Return a sentence that names rows which some claim could have meant too, "" if none."""
    names = dict.fromkeys(name for each in judged for name in each.others)
    return f"Not judged, with other settings: {'; '.join(names)}." if names else ""


def summary(judged: Sequence[JudgedClaim]) -> str:
    """Return the number of claims with each ruling."""
    counts = Counter(each.ruling for each in judged)
    tested = sum(counts.values()) - counts["not tested here"]
    return (
        f"Of {len(judged)} published claims, these runs can test {tested}: "
        f"{counts['shown']} shown, {counts['contradicted']} contradicted, "
        f"{counts['no difference larger than d']} with no difference larger than stated, "
        f"{counts['underpowered']} underpowered."
    )


def how(judged: Sequence[JudgedClaim]) -> str:
    """Return how the intervals are to be read."""
    tested = sum(each.tested for each in judged)
    if not tested:
        return "This folder cannot speak about any of them."
    return (
        "Differences are first minus second, mean over tasks. The intervals of the claims tested, "
        f"{tested}, hold together with 95 % confidence: if no method differed from another, at "
        "most 1 of 20 such folders would show or contradict any claim of a difference. These "
        "intervals are a family of their own and share its confidence by the number of claims, so "
        "that they may be wider than those of the answer: a difference that is shown there can be "
        "underpowered here."
    )


def content(judged: JudgedClaim) -> dict[str, Any]:
    """Return a claim and its ruling as JSON holds them; what does not exist is None."""
    pair = judged.pair
    needed = judged.seeds_needed
    return {
        **judged.claim.model_dump(mode="json"),
        "ruling": judged.ruling,
        "difference": pair.difference if pair else None,
        "low": pair.low if pair else None,
        "high": pair.high if pair else None,
        "confidence": 1 - pair.alpha if pair and not math.isnan(pair.alpha) else None,
        "larger_than": judged.larger_than,
        "seeds": pair.n_seeds if pair else None,
        "over_items": pair.items if pair else None,
        "suite": judged.suite or None,
        "tasks_tested": list(judged.tasks),
        "seeds_needed": [_finite(end) for end in needed] if needed else None,
        "missing": list(judged.missing),
        "others": list(judged.others),
        "withheld": judged.withheld,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _seeds(needed: tuple[float, float], what: str) -> str:
    low, high = needed
    if math.isinf(low):
        return f"To tell {what}, more seeds are not enough: it takes more examples."
    upto = "or more" if math.isinf(high) else f"to {high:.0f}"
    many = f"{low:.0f}" if high == low else f"{low:.0f} {upto}"
    return f"To tell {what} would take {many} seeds."


def _indented(text: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
