"""One verdict from rows and their comparisons, for single tasks and means over tasks alike."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gapbench.reports.stats.pairwise import Family
from gapbench.reports.tables.standing import OUTCOMES, RANKED, Outcome
from gapbench.reports.verdict.contrasts import Items, contrast, every, to_best
from gapbench.reports.verdict.costs import multiples_of
from gapbench.reports.verdict.design import design_of, optimism_of, plan_of
from gapbench.reports.verdict.model import Contrast, Entry, Verdict
from gapbench.reports.verdict.recommend import recommend, ruled_out


def assemble(
    *,
    entries: list[Entry],
    families: Mapping[Outcome, Family[str]],
    untrained: Mapping[str, Family[str]],
    ranked: list[str],
    upward: bool,
    beaten_by: Mapping[str, tuple[str, ...]],
    alpha: float,
    counts: Mapping[Outcome, Mapping[str, tuple[int, int]]],
    costs: dict[str, tuple[float, ...]],
    machines: Mapping[str, str],
    matters: float,
    width: float,
    given: dict[str, Any],
) -> Verdict:
    """Return the verdict on some rows, single tasks and means over tasks alike."""
    reference: str = given["reference"]

    def items(outcome: Outcome) -> Items:
        return lambda name: counts[outcome].get(name, (0, 0))[1]

    pairs: dict[Outcome, dict[tuple[str, str], Contrast]] = {
        outcome: every(
            family, ranked, outcome, upward=upward and outcome == "score", items=items(outcome)
        )
        for outcome, family in families.items()
    }

    def known(first: str, second: str, outcome: Outcome) -> Contrast | None:
        found = pairs.get(outcome, {})
        flipped = found.get((second, first))
        return found.get((first, second)) or (flipped.reversed() if flipped else None)

    def filled(entry: Entry) -> Entry:
        contrasts = {
            outcome: found
            for outcome in OUTCOMES
            if reference and entry.name != reference
            if (
                found := known(entry.name, reference, outcome)
                or _not_compared(entry, reference, outcome, entries)
            )
        }
        multiples = multiples_of(entry.name, reference, costs, machines)
        best = (
            to_best(entry.name, ranked, pairs["score"], upward=upward)
            if entry.name in ranked
            else None
        )
        return replace(
            entry,
            to_reference=contrasts,
            to_best=best,
            beaten_by=beaten_by.get(entry.name, ()),
            training=multiples["training"],
            scoring=multiples["scoring"],
            memory=multiples["memory"],
        )

    order = [*ranked, *(each.name for each in entries if each.name not in ranked)]
    done = sorted(map(filled, entries), key=lambda each: order.index(each.name))
    # Absent over tasks whose scores have no common mean.
    to_reference = {e.name: e.to_reference["score"] for e in done if "score" in e.to_reference}
    beats = [name for name, found in to_reference.items() if found.claim == "better"]
    bare = tuple(
        contrast(family, (ranked[0], name), "score", upward=upward, items=items("score"))
        for name, family in untrained.items()
        if ranked
    )
    learned = _learned(untrained, ranked, upward=upward)
    recommended, why = recommend(done, beats, reference, learned=learned, costs=costs)
    unbeaten = [name for name in ranked if not beaten_by.get(name)]
    plan = plan_of(families["score"], reference, alpha) if "score" in families else None
    against = [
        to_reference[e.name] for e in done if e.name in to_reference and e.status == "ranked"
    ]
    return Verdict(
        **{"differs": {}, "left_out": {}, "tasks": (), **given},
        higher_is_better=upward,
        entries=tuple(done),
        pairs=pairs,
        recommended=recommended,
        why=why,
        ties=tuple(name for name in unbeaten if name != recommended),
        untrained=bare,
        learned=learned,
        ruled_out=ruled_out(against, upward=upward) if reference in ranked else None,
        optimism=optimism_of(families["score"], unbeaten) if "score" in families else None,
        design=design_of(plan, families["score"], counts["score"], matters, width)
        if plan
        else None,
    )


def _not_compared(
    entry: Entry, reference: str, outcome: Outcome, entries: Sequence[Entry]
) -> Contrast | None:
    """Return the plain difference of two rows of which one is not compared, and why it is not."""
    other = next((each for each in entries if each.name == reference), None)
    if other is None or outcome not in entry.levels or outcome not in other.levels:
        return None
    means = entry.levels[outcome].mean, other.levels[outcome].mean
    if means[0] is None or means[1] is None:
        return None
    if entry.status not in RANKED:
        why = "it trains nothing" if entry.status == "untrained" else f"{entry.status}: {entry.why}"
    elif other.status not in RANKED:
        why = f"{other.name} is {other.status}: {other.why}"
    else:
        why = "some of the runs have no value"
    n = min(entry.levels[outcome].n_seeds, other.levels[outcome].n_seeds)
    return Contrast(
        entry.name, reference, outcome, means[0] - means[1], None, None, "", n, 0, math.nan, why
    )


def _learned(
    untrained: Mapping[str, Family[str]], ranked: list[str], *, upward: bool
) -> bool | None:
    """Return whether some ranked row beats every untrained one; None if nothing can tell."""
    if not untrained or not ranked:
        return None
    tested = [f for name, f in untrained.items() if f.pair(ranked[0], name).low is not None]
    if len(tested) < len(untrained):
        return None
    return any(
        all(family.beats(row, name, higher_is_better=upward) for name, family in untrained.items())
        for row in ranked
    )
