"""One verdict from rows and their comparisons, for single tasks and means over tasks alike."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gapbench.reports.stats.pairwise import Family
from gapbench.reports.tables.outcomes import OUTCOMES, Outcome
from gapbench.reports.verdict.contrasts import Items, contrast, every, to_best, withheld
from gapbench.reports.verdict.costs import Place, multiples_of
from gapbench.reports.verdict.design import design_of, optimism_of, plan_of
from gapbench.reports.verdict.model import IDENTICAL, SAME, Contrast, Entry, Verdict, uncompared
from gapbench.reports.verdict.recommend import recommend, room, ruled_out


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
    places: Mapping[str, Place],
    matters: float,
    possible: tuple[float, float],
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

    gains = {
        (row, name): contrast(family, (row, name), "score", upward=upward, items=items("score"))
        for row in ranked
        for name, family in untrained.items()
    }
    own = next((each for each in entries if each.name == reference), None)  # if it has runs

    known = {**pairs, "score": pairs.get("score", {}) | gains}

    def against(entry: Entry, other: Entry, outcome: Outcome) -> Contrast:
        found = known.get(outcome, {})
        if flipped := found.get((other.name, entry.name)):
            return flipped.reversed()
        return found.get((entry.name, other.name)) or uncompared(entry, other, outcome)

    def beside_reference(entry: Entry) -> dict[Outcome, Contrast]:
        if own is None or own.name == entry.name:
            return {}
        found = {outcome: against(entry, own, outcome) for outcome in OUTCOMES}
        return {outcome: each for outcome, each in found.items() if each.difference is not None}

    base = reference if reference in costs else next(iter(ranked), "")

    def filled(entry: Entry) -> Entry:
        multiples = multiples_of(entry.name, base, costs, places)
        best = (
            to_best(entry.name, ranked, pairs["score"], upward=upward)
            if entry.name in ranked
            else None
        )
        return replace(
            entry,
            to_reference=beside_reference(entry),
            to_best=best,
            beaten_by=beaten_by.get(entry.name, ()),
            training=multiples["training"],
            passes=multiples["passes"],
            scoring=multiples["scoring"],
            memory=multiples["memory"],
        )

    order = [*ranked, *(each.name for each in entries if each.name not in ranked)]
    done = sorted(map(filled, entries), key=lambda each: order.index(each.name))
    # Absent over tasks whose scores have no common mean.
    to_reference = {e.name: e.to_reference["score"] for e in done if "score" in e.to_reference}
    compared = [
        to_reference[e.name] for e in done if e.name in to_reference and e.status == "ranked"
    ]
    beats = [name for name, found in to_reference.items() if found.claim == "better"]
    learners = _learners(untrained, ranked, upward=upward)
    learned = None if learners is None else bool(learners)
    recommended, why = recommend(done, beats, reference, learned=learned, costs=costs)
    unbeaten = [name for name in ranked if not beaten_by.get(name)]
    plan = plan_of(families["score"], reference, alpha) if "score" in families else None
    most = (
        ruled_out(compared, upward=upward)
        if reference in ranked and len(compared) == sum(e.status == "ranked" for e in done)
        else None
    )
    width = possible[1] - possible[0]
    level = own.levels["score"].mean if own is not None and "score" in own.levels else None
    left = math.inf if level is None else room(level, possible, upward=upward)
    return Verdict(
        **{"differs": "", "left_out": {}, "tasks": (), **given},
        higher_is_better=upward,
        entries=tuple(done),
        pairs=pairs,
        recommended=recommended,
        why=why,
        ties=tuple(name for name in unbeaten if name != recommended),
        hidden=tuple(n for n, better in beaten_by.items() if not better and n not in order),
        untrained=tuple(gains[row, name] for row in (learners or ranked)[:1] for name in untrained),
        gains=gains,
        learned=learned,
        ruled_out=None if most is None else min(most, left),
        vacuous=most is not None and most >= min(left, width / 2),
        optimism=optimism_of(families["score"], unbeaten) if "score" in families else None,
        design=design_of(plan, families["score"], counts["score"], matters, width)
        if plan
        else None,
    )


def _learners(
    untrained: Mapping[str, Family[str]], ranked: list[str], *, upward: bool
) -> list[str] | None:
    """Return the ranked rows that beat every untrained one; None if nothing can tell."""
    if not untrained or not ranked:
        return None
    for name, family in untrained.items():
        if withheld(family, (ranked[0], name)) not in {"", SAME, IDENTICAL}:
            return None
    return [
        row
        for row in ranked
        if all(f.beats(row, name, higher_is_better=upward) for name, f in untrained.items())
    ]
