"""The cells of one block beside each other: intervals of scores, tests of all pairs, tie groups."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from gapbench.reports.results.items import Scored, samples
from gapbench.reports.results.load import Results
from gapbench.reports.stats.estimates import Sample, estimate
from gapbench.reports.stats.groups import tie_groups
from gapbench.reports.stats.pairwise import Family, family

OVER_ITEMS = "seeds and items"
OVER_SEEDS = "seeds"
"""What the interval of a score may be over."""

Key = tuple[str, str, str]
"""Method, variant and hash of a cell, which tell it from the others."""


def key_of(row: Any) -> Key:
    """Return what a row of `summarise` is called in its family."""
    return row.method, row.variant, row.config_hash


def compared(results: Results, block: pd.DataFrame) -> pd.DataFrame:
    """Fill in what the rows of one block have from standing beside each other, and sort them.

    Baselines that train nothing are not ranked: each would add a comparison with every method, and
    so cost the others power. What is ranked has two seeds or more. Rows of one configuration, such
    as a tuned one that kept its default, are ranked as one under several names.

    Args:
        results: where predictions are stored.
        block: rows that may be compared, each with its `by_seed`.

    Returns:
        The rows by rank group, then score, those without at the end.
    """
    up = bool(block["higher_is_better"].fillna(value=True).all())
    rows: list[Any] = list(block.itertuples(index=False))
    known = samples(results, {key_of(row): scored(row) for row in rows})
    ranked = [key_of(row) for row in rows if row.n_seeds > 1 and trains(row)]
    pairs = _family({key: known[key] for key in ranked})
    means = {key: float(np.mean(list(known[key].scores.values()))) for key in ranked}
    groups = tie_groups(means, pairs, higher_is_better=up)
    best = sorted(means, key=means.__getitem__, reverse=up)[:1]
    content = [
        _uncertainty(known[key], row.n_seeds)
        | _possible_gap(row, known[key].width)
        | {
            "family": pairs,
            "rank_group": groups.get(key),
            "min_detectable_effect": _detectable(pairs, best, key),
        }
        for row, key in zip(rows, map(key_of, rows), strict=True)
    ]
    block = block.assign(**pd.DataFrame(content, index=block.index, dtype=object))
    block = block.sort_values(["method", "variant"], kind="stable")
    block = block.sort_values("score", ascending=not up, kind="stable")
    return block.sort_values("rank_group", kind="stable")


def trains(row: Any) -> bool:
    """Return whether the runs of a row train anything; where that is unknown, they may."""
    return bool(pd.isna(row.trainable_params) or row.trainable_params)


def scored(row: Any) -> Scored:
    """Return the runs of a row that have a main score."""
    return Scored(row.config_hash, {seed: {row.metric: one} for seed, one in row.by_seed.items()})


def _family(ranked: Mapping[Key, Sample]) -> Family[Key]:
    """Compare what is ranked, of one configuration only the row that has the most seeds."""
    fullest: dict[str, Key] = {}
    for key in sorted(ranked, key=lambda key: -len(ranked[key].scores)):
        fullest.setdefault(key[2], key)
    chosen = {key: fullest[key[2]] for key in ranked}
    pairs = family({key: ranked[key] for key in dict.fromkeys(chosen.values())})
    return replace(pairs, places={key: pairs.places[own] for key, own in chosen.items()})


def _possible_gap(row: Any, width: float) -> dict[str, float | None]:
    """Return the ends of the gap's interval, no further out than two scores can lie apart."""
    names = ("gap_ci_low", "gap_ci_high")
    return {name: float(np.clip(getattr(row, name), -width, width)) for name in names}


def _uncertainty(sample: Sample, n: int) -> dict[str, Any]:
    """Return the estimate of a score, its ends, and what they are over, "" without any."""
    score = estimate(sample)
    ends = score.interval(n, sample.possible)
    over = OVER_ITEMS if np.isfinite(score.item_df) else OVER_SEEDS
    return {
        "estimate": score,
        "score_ci_low": ends.low,
        "score_ci_high": ends.high,
        "score_ci_over": "" if ends.low is None else over,
    }


def _detectable(pairs: Family[Key], best: list[Key], key: Key) -> float | None:
    """Return the least true difference to the best one that such a study would find, if any."""
    if key not in pairs.places or key in best:
        return None
    found = pairs.compare(best[0], key).detectable
    return found if found is not None and np.isfinite(found) else None
