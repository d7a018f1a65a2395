"""Cost of trials, and how many more the budget allows; the same for every method.

A trial begins only if all of it fits, so a budget in trials, steps or examples is never exceeded,
except by runs that are made again because they failed.
The seconds of a trial are known only afterwards: the most expensive trial so far is the estimate
for the next, and a budget in seconds is exceeded if the next takes longer.
"""

import math
from collections.abc import Sequence

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Cell
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.tuning.schema import Limit, TrialRow, TrialState
from gapbench.bench.tuning.space import START

WAVE = 8
"""Largest number of trials in a wave; none knows the results of the others."""
_UNKNOWN_S = 1.0  # for a trial, while no time is known: failures must not go on for ever


def plain_examples(cell: Cell, seeds: int, n_train: int) -> float:
    """Return the number of training examples of a trial of plain LoRA.

    Args:
        cell: cell to tune.
        seeds: number of runs in a trial.
        n_train: training examples of the task.
    """
    return float(cell.budget.total_steps(n_train) * seeds * cell.budget.batch_size)


def planned(cell: Cell, limit: Limit, plain: float) -> float:
    """Return the largest cost of a trial, in the unit of the budget; 0 if unknown.

    Args:
        cell: cell to tune.
        limit: limit with the unit.
        plain: training examples of a trial of plain LoRA.
    """
    costs = {
        "trials": 1.0,
        "steps": plain / cell.budget.batch_size,
        "examples": plain * relative_cost(cell),
        "seconds": 0.0,
    }
    return costs[limit.unit]


def relative_cost(cell: Cell) -> float:
    """Return the compute of a trial, in trials of plain LoRA."""
    method, config = registry.of_cell(cell)
    return float(method.relative_cost(config))


def spent(limit: Limit, rows: Sequence[TrialRow], each: float) -> float:
    """Return the cost of trials so far, in the unit of the budget.

    Running trials and failed trials without records count in full; others count with their actual
    use.

    Args:
        limit: limit with the unit.
        rows: all trials so far.
        each: result of `planned`.
    """
    another = _cost_of_another(limit, rows, each)
    costs = ((row, _used(limit, row)) for row in rows)
    return sum(another if _unknown(row, cost) else cost for row, cost in costs)


def wave(limit: Limit, rows: Sequence[TrialRow], each: float, *, known: bool = True) -> int:
    """Return how many trials may begin together now, at most `WAVE`.

    Args:
        limit: limit with the unit.
        rows: all trials so far.
        each: result of `planned`.
        known: whether that is all that a trial takes; if not, the first one shows it alone.
    """
    if not rows and (limit.unit == "seconds" or (limit.unit == "examples" and not known)):
        return 1
    left = limit.amount - spent(limit, rows, each)
    return max(0, min(WAVE, int(left / _cost_of_another(limit, rows, each) + 1e-9)))


def check(asked: Limit, plain: float, each: float, place: str) -> None:
    """Refuse a budget that ends before the first spread points.

    Args:
        asked: the budget as given.
        plain: training examples of a trial of plain LoRA.
        each: result of `planned`.
        place: name of the study in messages.

    Raises:
        ConfigError: naming the smallest budget.
    """
    limit = asked.charged(plain)
    least = START * each * asked.amount / limit.amount
    if asked.amount < least:
        raise ConfigError(
            f"{place}: a budget of {asked.amount:.15g} {asked.unit} is too small for the "
            f"{START} trials before the search proper (the method's own settings and {START - 1} "
            f"spread points); give --{asked.unit} {math.ceil(least)} or more"
        )


def _cost_of_another(limit: Limit, rows: Sequence[TrialRow], each: float) -> float:
    """Return the assumed cost of another trial: planned, or the largest so far if higher."""
    return max([each, *(_used(limit, row) for row in rows)]) or _UNKNOWN_S


def _used(limit: Limit, row: TrialRow) -> float:
    return 1.0 if limit.unit == "trials" else float(getattr(row, limit.unit))


def _unknown(row: TrialRow, cost: float) -> bool:
    """Whether the cost of a trial is unknown."""
    return row.state is TrialState.RUNNING or (row.state is TrialState.FAILED and not cost)
