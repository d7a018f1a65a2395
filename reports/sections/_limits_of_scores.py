"""What limits scores: few seeds or test items, unsteady rows, training cut short."""

import numpy as np
import pandas as pd

from gapbench.reports.document.context import Evidence
from gapbench.reports.results.rows import CURVE
from gapbench.reports.tables.leaderboard import BOARD, rows
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import listed

SMALL = 1000
"""Test examples below which chance moves an accuracy by 0.03 and more (binomial, 95 %)."""

UNSTEADY = 3.0
"""Standard deviations between seeds, in those of the usual row, from which a row is named."""

FEW_SEEDS = 5
"""Below this many seeds a tie says more about the study than about the methods."""

FEW_WRONG = 5
"""Below this many wrong answers a run, and with few seeds, intervals of accuracies are cautious."""


def ok_runs(evidence: Evidence) -> pd.DataFrame:
    """Return the runs that ended well."""
    runs = evidence.results.runs
    return runs[runs["status"] == "ok"]


def scored_rows(evidence: Evidence) -> pd.DataFrame:
    """Return the rows with any score."""
    return evidence.summary[evidence.summary["n_seeds"] > 0]


def few_seeds(evidence: Evidence) -> str:
    """Say how many rows have few seeds."""
    seeds = scored_rows(evidence)["n_seeds"]
    few = seeds[seeds < FEW_SEEDS]
    if few.empty:
        return ""
    return (
        f"{len(few)} of {len(seeds)} rows have fewer than {FEW_SEEDS} seeds, the fewest "
        f"{few.min()}: their intervals are wide or missing, and a tie between them says more "
        "about the study than about the methods."
    )


def small_tests(evidence: Evidence) -> str:
    """Name the small test sets, and what their draw moves."""
    runs = ok_runs(evidence)
    sizes = runs.groupby("task", sort=False)["test_examples"].min().dropna()
    small = sizes[sizes < SMALL].sort_values()
    if small.empty:
        return ""
    each = listed([f"{task} ({size})" for task, size in small.items()])
    said = f"Some test sets are small: {each}. Which examples were drawn moves their scores"
    shares = small[small.index.isin(runs.loc[runs["metric"] == "accuracy", "task"])]
    if shares.empty:
        return f"{said}."
    n = int(shares.iloc[0])
    margin = number(1.96 * np.sqrt(0.25 / n), 2)
    return (
        f"{said}: with {n} examples, an accuracy near 0.5 by up to {margin} either way (95 %), and "
        "one near 0 or 1 by less."
    )


def unknown_items(evidence: Evidence) -> str:
    """Name the tasks whose rows have no values of single items."""
    tasks = [
        row.task
        for row in rows(scored_rows(evidence))
        if row.n_seeds > 1 and not row.standing.counts["score"][row.name][1]
    ]
    if not tasks:
        return ""
    return (
        f"Some rows of {listed(list(dict.fromkeys(tasks)))} have no interval and are not compared, "
        "as no values of single test items are known."
    )


def few_wrong(evidence: Evidence) -> str:
    """Name the rows whose counts are too small for an interval that covers 95 % and no more."""
    named = []
    for row in rows(scored_rows(evidence)):
        low, high = row.standing.possible
        n_seeds, n_items = row.standing.counts["score"][row.name]
        counted = row.metric == "accuracy" and pd.notna(row.score_ci_low) and n_seeds < FEW_SEEDS
        if counted and min(row.score - low, high - row.score) * n_items < FEW_WRONG:
            named.append(f"{row.name} on {row.task}")
    if not named:
        return ""
    return (
        f"Intervals of scores next to a bound are wider than they had to be: {listed(named)}, "
        f"with fewer than {FEW_WRONG} wrong answers a run, or right ones, and fewer than "
        f"{FEW_SEEDS} seeds. In simulations of three seeds they hold the truth in 98 to "
        "99 % of studies."
    )


def unsteady(evidence: Evidence) -> str:
    """Name the rows that widen the intervals of all others: two or more of one board."""
    ranked = scored_rows(evidence)[scored_rows(evidence)["rank_group"].notna()]
    named = []
    for _, board in ranked.groupby(BOARD, sort=False):
        spreads = {
            row.name: float(np.std(list(row.by_seed.values()), ddof=1)) for row in rows(board)
        }
        usual = float(np.median(list(spreads.values())))
        unsteady = [
            f"{name} on {board['task'].iloc[0]} ({spread / usual:.0f} times as much)"
            for name, spread in spreads.items()
            if usual > 0 and spread > UNSTEADY * usual
        ]
        named += unsteady if len(unsteady) > 1 else []
    if not named:
        return ""
    return (
        f"Several rows vary far more between seeds than the usual one: {listed(named)}. No "
        "difference is held to vary less than half of what differences do on average, the row that "
        "varies most left out, so that the intervals of all methods there are wider for it."
    )


def last_checkpoints(evidence: Evidence) -> str:
    """Count the runs that still improved when training ended."""
    curves = evidence.results.curves
    ends = {name: curve[-1, CURVE.index("step")] for name, curve in curves.items() if len(curve)}
    trained = ok_runs(evidence)
    trained = trained[trained["run_hash"].isin(list(ends)) & (trained["trainable_params"] > 0)]
    trained = trained.drop_duplicates("run_hash")  # two labels may share a run
    last = trained["checkpoint_step"] == trained["run_hash"].map(ends)
    if not last.any():
        return ""
    return (
        f"In {int(last.sum())} of {len(trained)} runs the chosen checkpoint is the last one: "
        "longer training might have changed their scores and their order."
    )
