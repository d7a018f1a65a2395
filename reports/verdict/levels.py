"""What single rows reach in an outcome, each with its own interval."""

import numpy as np

from gapbench.reports.stats.estimates import Estimate
from gapbench.reports.tables.outcomes import Outcome
from gapbench.reports.tables.standing import Standing
from gapbench.reports.verdict.model import Level


def level(found: Standing, outcome: Outcome, name: str) -> Level:
    """Return what a row of one task reaches."""
    own = found.level(outcome, name)
    n_seeds, n_items = found.counts[outcome].get(name, (0, 0))
    estimate = found.estimates[outcome].get(name)
    over = estimate is not None and bool(np.isfinite(estimate.item_df))
    why = ""
    if own.low is None:
        collapsed = found.status[name] == "collapsed"
        why = found.why[name] if collapsed else _no_interval(n_seeds, n_items)
    return Level(own.mean, own.low, own.high, n_seeds, n_items if over else 0, why)


def mean_level(
    mean: Estimate, n_seeds: int, n_items: int, possible: tuple[float, float], why: str
) -> Level:
    """Return what an estimated mean says.

    Args:
        mean: the estimate.
        n_seeds: the fewest of any task.
        n_items: likewise.
        possible: lowest and highest possible mean.
        why: what is wrong with the row on some task; "" if nothing.
    """
    own = mean.interval(n_seeds, possible)
    over = n_items if np.isfinite(mean.item_df) else 0
    withheld = (why or _no_interval(n_seeds, n_items)) if own.low is None else ""
    return Level(own.mean, own.low, own.high, n_seeds, over, withheld)


def _no_interval(n_seeds: int, n_items: int) -> str:
    if n_seeds < 2:
        return "one seed" if n_seeds else "no seed has a value"
    if not n_items:
        return "no values of single items are known"
    return "equal on every seed, which is no certainty"
