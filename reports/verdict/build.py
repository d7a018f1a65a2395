"""Verdicts of a results folder: on every task, and on all tasks of a suite together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from gapbench.reports.results.load import Results
from gapbench.reports.stats.estimates import Estimate, averaged
from gapbench.reports.stats.pairwise import Family, averaged_family
from gapbench.reports.stats.planning import Plan, flattery
from gapbench.reports.stats.simultaneous import WITH_REFERENCE, floored
from gapbench.reports.tables.leaderboard import BLOCK, rows
from gapbench.reports.tables.standing import OUTCOMES, RANKED, Outcome, Standing
from gapbench.reports.tables.suite_summary import SuiteSummary, suite_summaries
from gapbench.reports.verdict.contrasts import Items, contrast, every, to_best
from gapbench.reports.verdict.model import Contrast, Design, Entry, Level, Verdict
from gapbench.reports.verdict.recommend import recommend, ruled_out
from gapbench.reports.verdict.settings import differing

MATTERS = 0.01
"""Difference that matters if the reader names none, as a share of the best possible score."""
MATTERS_OF_WAY = 0.05
"""Likewise where scores have no best: a share of the reference's, or of the way to the best."""

_COSTS = ("train_flops", "evaluation_seconds", "peak_memory_bytes")


def verdicts(
    results: Results,
    summary: pd.DataFrame,
    matters: float | None = None,
    together: Sequence[SuiteSummary] | None = None,
) -> list[Verdict]:
    """Return what a results folder says: of suites of several tasks, then of other single tasks.

    Args:
        results: the folder.
        summary: the table of `reports.tables.summary.summarise`, which also holds the reference.
        matters: least difference in score that matters; None for a default by metric.
        together: what `suite_summaries` returns, if it is known.
    """
    blocks = [block for _, block in summary.groupby(BLOCK, sort=False)]
    tasks = {tuple(block[BLOCK].iloc[0]): _task(results, block, matters) for block in blocks}
    for key, differs in differing(results, blocks).items():
        tasks[key] = replace(tasks[key], differs=differs)
    found = []
    for suite in suite_summaries(results, summary) if together is None else together:
        own = [key for key, each in tasks.items() if _belongs(each, suite)]
        parts = tuple(tasks.pop(key) for key in own)
        found.append(_overall(suite, parts, matters))
    return [*found, *tasks.values()]


def _belongs(task: Verdict, suite: SuiteSummary) -> bool:
    return (task.suite, task.start, task.protocol) == (
        suite.suite,
        suite.start,
        suite.protocol,
    ) and (suite.backbone in ("", task.backbone))


def _task(results: Results, block: pd.DataFrame, matters: float | None) -> Verdict:
    """Return the verdict on the rows of one block."""
    first = next(rows(block))
    found: Standing = first.standing
    command = results.commands.get(first.suite, "")
    shown = {row.name: row for row in rows(block)}
    entries = [
        Entry(
            name=name,
            method=row.method,
            variant=row.variant,
            config_hash=row.config_hash,
            settings=_settings(results, row.config_hash),
            status=found.status[name],
            why=found.why[name],
            command=command if row.pending else "",
            levels={outcome: _level(found, outcome, name) for outcome in OUTCOMES},
            n_failed=row.n_failed + row.n_unscored,
        )
        for name, row in shown.items()
    ]
    return _verdict(
        entries=entries,
        families=found.families,
        untrained=found.untrained,
        ranked=found.ranked,
        upward=found.upward,
        beaten_by=found.beaten_by(),
        alpha=found.alpha,
        counts=found.counts,
        costs={name: _costs(row) for name, row in found.rows.items()},
        machines={name: row.machine for name, row in found.rows.items()},
        matters=_matters(found, matters),
        width=found.possible[1] - found.possible[0],
        given={
            "suite": first.suite,
            "task": first.task,
            "backbone": first.backbone,
            "start": first.start,
            "setting": first.setting,
            "protocol": first.protocol,
            "metric": first.metric,
            "reference": found.reference,
        },
    )


def _overall(suite: SuiteSummary, tasks: tuple[Verdict, ...], matters: float | None) -> Verdict:
    """Return the verdict on all tasks of a suite."""
    standings = [task.standing for task in suite.tasks]
    ranked = list(suite.ranked) if suite.averageable else []
    names = [*suite.means, *(name for name in suite.names if name not in suite.means)]
    counts = {
        outcome: {
            name: tuple(np.min([each.counts[outcome][name] for each in standings], axis=0).tolist())
            for name in names
            if all(name in each.counts[outcome] for each in standings)
        }
        for outcome in OUTCOMES
    }
    entries = [_row_over_tasks(suite, name, counts) for name in names]
    bare = [name for name in standings[0].untrained if all(name in s.untrained for s in standings)]
    untrained = {
        name: averaged_family(
            [each.untrained[name] for each in standings],
            suite.factors,
            suite.alpha / len(bare),
            name,
            share=1.0,
        )
        for name in (bare if suite.averageable else ())
    }
    share = suite.scale == "share"
    return _verdict(
        entries=entries,
        families=suite.families,
        untrained=untrained,
        ranked=ranked,
        upward=True,
        beaten_by=suite.beaten_by,
        alpha=suite.alpha,
        counts=counts,
        costs={
            name: tuple(
                float(np.sum([cost[place] for cost in _over(standings, name)]))
                for place in range(len(_COSTS))
            )
            for name in names
        },
        machines={name: _one({each.rows[name].machine for each in standings}) for name in names},
        matters=matters if matters is not None else MATTERS_OF_WAY if share else MATTERS,
        width=suite.possible[1] - suite.possible[0],
        given={
            "suite": suite.suite,
            "task": "",
            "backbone": suite.backbone,
            "start": suite.start,
            "setting": "",
            "protocol": suite.protocol,
            "metric": _mean_of(suite),
            "reference": suite.reference,
            "left_out": suite.left_out,
            "tasks": tasks,
        },
    )


def _mean_of(suite: SuiteSummary) -> str:
    if suite.glue:
        return "mean of GLUE"
    if suite.scale == "score":
        return f"mean {suite.tasks[0].metric}"
    return "mean share of the way from untrained to best" if suite.scale else ""


def _over(standings: list[Standing], name: str) -> list[tuple[float, ...]]:
    return [_costs(each.rows[name]) for each in standings]


def _one(values: set[str]) -> str:
    return values.pop() if len(values) == 1 else ""


def _row_over_tasks(suite: SuiteSummary, name: str, counts: Mapping[Outcome, Any]) -> Entry:
    standings = [task.standing for task in suite.tasks]
    first = standings[0].rows[name]
    statuses = [each.status[name] for each in standings]
    bad = [place for place, each in enumerate(statuses) if each not in RANKED][:1]
    reasons = [(suite.tasks[place].name, standings[place].why[name]) for place in bad]
    levels: dict[Outcome, Level] = {}
    if name in suite.means:
        n_seeds, n_items = counts["score"][name]
        levels["score"] = _known(suite.means[name], n_seeds, n_items, suite.possible)
    for outcome in OUTCOMES[1:]:
        if name in counts[outcome] and (outcome != "gap" or suite.scale == "score"):
            estimates = [each.estimates[outcome][name] for each in standings]
            n_seeds, n_items = counts[outcome][name]
            levels[outcome] = _known(averaged(estimates), n_seeds, n_items, (-np.inf, np.inf))
    return Entry(
        name=name,
        method=first.method,
        variant=first.variant,
        config_hash="",
        settings={},
        status=statuses[bad[0]] if bad else statuses[0],
        why="; ".join(f"{task}: {why}" for task, why in reasons if why),
        levels=levels,
        n_failed=sum(each.rows[name].n_failed for each in standings),
    )


def _verdict(
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
        multiples = _multiples(entry.name, reference, costs, machines)
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
    plan = _plan(families["score"], reference, alpha) if "score" in families else None
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
        optimism=_optimism(families["score"], unbeaten) if "score" in families else None,
        design=_design(plan, families["score"], counts["score"], matters, width) if plan else None,
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


def _level(found: Standing, outcome: Outcome, name: str) -> Level:
    own = found.level(outcome, name)
    n_seeds, n_items = found.counts[outcome].get(name, (0, 0))
    estimate = found.estimates[outcome].get(name)
    over = estimate is not None and bool(np.isfinite(estimate.item_df))
    why = ""
    if own.low is None:
        why = found.why[name] if found.status[name] == "collapsed" else _no_interval(n_seeds)
    return Level(own.mean, own.low, own.high, n_seeds, n_items if over else 0, why)


def _known(mean: Estimate, n_seeds: int, n_items: int, possible: tuple[float, float]) -> Level:
    own = mean.interval(n_seeds, possible)
    over = n_items if np.isfinite(mean.item_df) else 0
    return Level(
        own.mean, own.low, own.high, n_seeds, over, _no_interval(n_seeds) if own.low is None else ""
    )


def _no_interval(n_seeds: int) -> str:
    if not n_seeds:
        return "no seed has a value"
    return "one seed" if n_seeds == 1 else "equal on every seed, which is no certainty"


def _settings(results: Results, config_hash: str) -> dict[str, Any]:
    record = results.cells.get(config_hash)
    if record is None:
        return {}
    return {**record.cell.config, "learning_rate": record.cell.training.learning_rate}


def _costs(row: Any) -> tuple[float, ...]:
    values = (getattr(row, name) for name in _COSTS)
    return tuple(math.inf if pd.isna(value) else float(value) for value in values)


def _multiples(
    name: str, reference: str, costs: Mapping[str, tuple[float, ...]], machines: Mapping[str, str]
) -> dict[str, float | None]:
    """Return costs as multiples of the reference's; seconds and memory on one machine alone."""
    fields = ("training", "scoring", "memory")
    if name not in costs or reference not in costs:
        return dict.fromkeys(fields)
    same = machines[name] == machines[reference] != ""
    found: dict[str, float | None] = {}
    for field, own, other in zip(fields, costs[name], costs[reference], strict=True):
        known = math.isfinite(own) and math.isfinite(other) and other > 0
        found[field] = own / other if known and (same or field == "training") else None
    return found


def _matters(found: Standing, given: float | None) -> float:
    """Return the least difference that matters: given, or a share of the best score or a row's."""
    if given is not None:
        return given
    best = found.possible[1]
    if found.upward and math.isfinite(best):
        return MATTERS * best
    name = found.reference or next(iter(found.ranked), "")
    own = found.estimates["score"].get(name)
    return MATTERS_OF_WAY * abs(float(own.mean)) if own is not None else math.nan


def _optimism(family: Family[str], unbeaten: list[str]) -> float | None:
    """Return by how much the best mean flatters, if all rows that nothing beats are equal."""
    places = sorted({family.places[name] for name in unbeaten})
    if len(places) < 2:
        return 0.0 if places else None
    index = np.ix_(places, places)
    seeds = floored(family.estimate, family.n_seeds)[index] + family.estimate.item_variance[index]
    variance = float(seeds[np.triu_indices(len(places), 1)].mean())
    return flattery(len(places), variance) if math.isfinite(variance) else None


def _plan(family: Family[str], reference: str, alpha: float) -> Plan | None:
    """Return the comparisons with the reference as a plan, by the means of their variances."""
    if reference not in family.places:
        return None
    row = family.places[reference]
    others = [place for place in range(len(family.n_seeds)) if place != row]
    n = family.n_seeds[row, others] if others else np.zeros(1)
    own = family.estimate[row, others] if others else None
    if own is None or n.min() < 2 or not np.isfinite(own.seed_variance).all():
        return None
    methods, df = len(others) + 1, float(own.seed_df.min())
    plan = Plan(
        seed_variance=float((own.seed_variance * n).mean()),
        df=df * max(methods - 1, 1),
        item_variance=float(own.item_variance.mean()),
        item_df=float(own.item_df.min()),
        methods=methods,
        alpha=alpha * (WITH_REFERENCE if methods > 2 else 1.0),
        strata=df / (float(n.min()) - 1),
    )
    return plan if plan.seed_variance > 0 or plan.item_variance > 0 else None


def _design(
    plan: Plan,
    family: Family[str],
    counts: Mapping[str, tuple[int, int]],
    matters: float,
    width: float,
) -> Design:
    names = list(family.places)
    n_seeds = min(counts[name][0] for name in names)
    low, high = (end if end <= width else math.inf for end in plan.detectable(n_seeds))
    items = min(counts[name][1] for name in names)
    return Design(matters, n_seeds, items, (low, high), plan.seeds(matters))
