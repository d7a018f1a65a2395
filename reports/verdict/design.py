"""What a study of some size could tell, and how far its best mean flatters."""

import math
from collections.abc import Mapping

import numpy as np

from gapbench.reports.stats.pairwise import Family
from gapbench.reports.stats.planning import Plan, optimism_of_best
from gapbench.reports.stats.simultaneous import WITH_REFERENCE, floored
from gapbench.reports.tables.standing import Standing
from gapbench.reports.verdict.model import Design

MATTERS = 0.01
"""Difference that matters if the reader names none, as a share of the best possible score."""
MATTERS_OF_WAY = 0.05
"""Likewise where scores have no best: a share of the reference's, or of the way to the best."""


def least_that_matters(found: Standing, given: float | None) -> float:
    """Return the least difference that matters: given, or a share of the best score or a row's."""
    if given is not None:
        return given
    best = found.possible[1]
    if found.upward and math.isfinite(best):
        return MATTERS * best
    name = found.reference or next(iter(found.ranked), "")
    own = found.estimates["score"].get(name)
    return MATTERS_OF_WAY * abs(float(own.mean)) if own is not None else math.nan


def optimism_of(family: Family[str], unbeaten: list[str]) -> float | None:
    """Return by how much the best mean flatters, if all rows that nothing beats are equal."""
    places = sorted({family.places[name] for name in unbeaten})
    if len(places) < 2:
        return 0.0 if places else None
    index = np.ix_(places, places)
    seeds = floored(family.estimate, family.n_seeds)[index] + family.estimate.item_variance[index]
    variance = float(seeds[np.triu_indices(len(places), 1)].mean())
    return optimism_of_best(len(places), variance) if math.isfinite(variance) else None


def plan_of(family: Family[str], reference: str, alpha: float) -> Plan | None:
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
        seed_variance=float((own.seed_variance / (1 / n + family.excess)).mean()),
        df=df * max(methods - 1, 1),
        item_variance=float(own.item_variance.mean()),
        item_df=float(own.item_df.min()),
        methods=methods,
        alpha=alpha * (WITH_REFERENCE if methods > 2 else 1.0),
        strata=df / (float(n.min()) - 1),
        excess=family.excess,
    )
    return plan if plan.seed_variance > 0 or plan.item_variance > 0 else None


def design_of(
    plan: Plan,
    family: Family[str],
    counts: Mapping[str, tuple[int, int]],
    matters: float,
    width: float,
) -> Design:
    """Return what such a study can tell."""
    names = list(family.places)
    n_seeds = min(counts[name][0] for name in names)
    low, high = (end if end <= width else math.inf for end in plan.detectable(n_seeds))
    items = min(counts[name][1] for name in names)
    return Design(matters, n_seeds, items, (low, high), plan.seeds(matters))
