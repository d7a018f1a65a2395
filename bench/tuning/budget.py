"""What trials cost, and how many more the budget allows; the same for every method.

A trial is begun only if all of it fits, so that no budget in trials, steps or examples is ever
exceeded. What a trial takes in seconds is known only afterwards: there the dearest so far stands
for the next, and a budget can be exceeded by what a trial takes longer than that.
"""

from collections.abc import Sequence

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Cell
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.tuning.schema import Limit, TrialRow, TrialState
from gapbench.bench.tuning.space import START

WAVE = 8
"""Most trials that are asked for together, each not knowing how the others turn out."""
_UNKNOWN_S = 1.0  # of a trial, while none has left its time: failures must not go on for ever


def planned(cell: Cell, limit: Limit, seeds: int, n_train: int) -> float:
    """Return the most that a trial can cost, in the unit of the budget; 0 if nobody can know.

    Args:
        cell: what is tuned.
        limit: names the unit.
        seeds: runs of a trial.
        n_train: training examples of the task.
    """
    steps = cell.budget.total_steps(n_train) * seeds
    method, config = registry.of_cell(cell)
    costs = {
        "trials": 1.0,
        "steps": steps,
        "examples": steps * cell.budget.batch_size * method.relative_cost(config),
        "seconds": 0.0,
    }
    return costs[limit.unit]


def spent(limit: Limit, rows: Sequence[TrialRow], each: float) -> float:
    """Return what trials have cost, in the unit of the budget.

    Those under way count in full, and so do those that failed and left no figures; others count
    with what they used.

    Args:
        limit: names the unit.
        rows: all trials so far.
        each: what `planned` gives.
    """
    known = [1.0 if limit.unit == "trials" else float(getattr(row, limit.unit)) for row in rows]
    full = max([each, *known]) or _UNKNOWN_S
    return sum(
        max(cost, full) if _unknown(row, cost) else cost
        for row, cost in zip(rows, known, strict=True)
    )


def wave(limit: Limit, rows: Sequence[TrialRow], each: float) -> int:
    """Return how many trials may be begun together now, at most `WAVE`."""
    left = limit.amount - spent(limit, rows, each)
    if limit.unit == "seconds":
        if not rows:
            return 1
        each = max(row.seconds for row in rows) or _UNKNOWN_S
    return max(0, min(WAVE, int(left / each + 1e-9)))


def check(limit: Limit, each: float, place: str) -> None:
    """Refuse a budget that ends before the first spread points.

    Raises:
        ConfigError: saying how much it takes.
    """
    least = START * each
    if limit.amount < least:
        raise ConfigError(
            f"{place}: a budget of {limit.amount:g} {limit.unit} is too small for the "
            f"{START} trials before the search proper (the method's own settings and {START - 1} "
            f"spread points); give --{limit.unit} {least:g} or more"
        )


def _unknown(row: TrialRow, cost: float) -> bool:
    """Whether what a trial will have cost, or has, is not known."""
    return row.state is TrialState.RUNNING or (row.state is TrialState.FAILED and not cost)
