"""One verdict from rows and their comparisons, for single tasks and means over tasks alike."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gapbench.reports.verdict.compared_rows import ComparedRows
from gapbench.reports.verdict.costs import multiples_of
from gapbench.reports.verdict.design import design_of, optimism_of, plan_of
from gapbench.reports.verdict.model import Design, Entry, Verdict
from gapbench.reports.verdict.recommend import recommend, room, ruled_out


def assemble(rows: ComparedRows, matters: float, **labels: Any) -> Verdict:
    """Return the verdict that follows.

    Args:
        rows: what is known of them.
        matters: least difference in score that matters.
        labels: fields of the verdict that say what it is about, such as suite, task and metric.
    """
    entries = _compared(rows)
    learners = rows.learners
    learned = None if learners is None else bool(learners)
    beats = [row.name for row in entries if _score_claim(row) == "better"]
    recommended, why = recommend(entries, beats, rows.reference, learned=learned, costs=rows.costs)
    beaten = rows.beaten_by
    unbeaten = [name for name in rows.ranked if not beaten.get(name)]
    shown = {row.name for row in entries}
    bound, vacuous = _bound(rows, entries)
    scores = rows.families.get("score")
    return Verdict(
        **labels,
        reference=rows.reference,
        higher_is_better=rows.upward,
        entries=tuple(entries),
        pairs=rows.pairs,
        recommended=recommended,
        why=why,
        ties=tuple(name for name in unbeaten if name != recommended),
        hidden=tuple(name for name, better in beaten.items() if not better and name not in shown),
        untrained=tuple(
            rows.gains[row, name]
            for row in (learners or rows.ranked)[:1]
            for name in rows.untrained
        ),
        gains=rows.gains,
        learned=learned,
        ruled_out=bound,
        vacuous=vacuous,
        optimism=None if scores is None else optimism_of(scores, unbeaten),
        design=_design(rows, matters),
    )


def _compared(rows: ComparedRows) -> list[Entry]:
    """Return the rows with what compares them: ranked ones first, best first."""
    place = {name: number for number, name in enumerate(rows.ranked)}
    ordered = sorted(rows.entries, key=lambda row: place.get(row.name, len(place)))
    return [_beside_others(rows, row) for row in ordered]


def _beside_others(rows: ComparedRows, row: Entry) -> Entry:
    base = rows.reference
    if base not in rows.costs:
        base = next(iter(rows.ranked), "")
    multiples = multiples_of(row.name, base, rows.costs, rows.places)
    return replace(
        row,
        to_reference=rows.to_reference(row),
        to_best=rows.to_best(row.name),
        beaten_by=rows.beaten_by.get(row.name, ()),
        training=multiples["training"],
        passes=multiples["passes"],
        scoring=multiples["scoring"],
        memory=multiples["memory"],
    )


def _score_claim(row: Entry) -> str:
    # Absent over tasks whose scores have no common mean.
    return row.to_reference["score"].claim if "score" in row.to_reference else ""


def _bound(rows: ComparedRows, entries: Sequence[Entry]) -> tuple[float | None, bool]:
    """Return the advantage over the reference that no row has, and whether that says nothing."""
    others = [row.to_reference.get("score") for row in entries if row.status == "ranked"]
    known = [found for found in others if found is not None]
    if rows.reference not in rows.ranked or len(known) < len(others):
        return None, False
    most = ruled_out(known, upward=rows.upward)
    if most is None:
        return None, False
    lowest, highest = rows.possible
    level = None if rows.own is None else rows.own.levels.get("score")
    left = (
        math.inf
        if level is None or level.mean is None
        else room(level.mean, rows.possible, upward=rows.upward)
    )
    return min(most, left), most >= min(left, (highest - lowest) / 2)


def _design(rows: ComparedRows, matters: float) -> Design | None:
    if "score" not in rows.families:
        return None
    family = rows.families["score"]
    plan = plan_of(family, rows.reference, rows.alpha)
    if plan is None:
        return None
    lowest, highest = rows.possible
    return design_of(plan, family, rows.counts["score"], matters, highest - lowest)
