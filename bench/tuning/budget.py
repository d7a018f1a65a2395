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


def plain_examples(cell: Cell, seeds: int, n_train: int) -> float:
    """Return what a trial of plain LoRA trains on, in examples.

    Args:
        cell: what is tuned.
        seeds: runs of a trial.
        n_train: training examples of the task.
    """
    return float(cell.budget.total_steps(n_train) * seeds * cell.budget.batch_size)


def planned(cell: Cell, limit: Limit, plain: float) -> float:
    """Return the most that a trial can cost, in the unit of the budget; 0 if nobody can know.

    Args:
        cell: what is tuned.
        limit: names the unit.
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
    """Return what trials have cost, in the unit of the budget.

    Those under way count in full, and so do those that failed and left no figures; others count
    with what they used.

    Args:
        limit: names the unit.
        rows: all trials so far.
        each: what `planned` gives.
    """
    dearest = _dearest(limit, rows, each)
    costs = ((row, _used(limit, row)) for row in rows)
    return sum(dearest if _unknown(row, cost) else cost for row, cost in costs)


def wave(limit: Limit, rows: Sequence[TrialRow], each: float) -> int:
    """Return how many trials may be begun together now, at most `WAVE`."""
    if limit.unit == "seconds" and not rows:
        return 1
    left = limit.amount - spent(limit, rows, each)
    return max(0, min(WAVE, int(left / _dearest(limit, rows, each) + 1e-9)))


def check(asked: Limit, plain: float, each: float, place: str) -> None:
    """Refuse a budget that ends before the first spread points.

    Args:
        asked: the budget as it was given.
        plain: training examples of a trial of plain LoRA.
        each: what `planned` gives.
        place: the study, for messages.

    Raises:
        ConfigError: saying how much it takes.
    """
    limit = asked.charged(plain)
    least = START * each * asked.amount / limit.amount
    if asked.amount < least:
        raise ConfigError(
            f"{place}: a budget of {asked.amount:g} {asked.unit} is too small for the "
            f"{START} trials before the search proper (the method's own settings and {START - 1} "
            f"spread points); give --{asked.unit} {least:g} or more"
        )


def _dearest(limit: Limit, rows: Sequence[TrialRow], each: float) -> float:
    """Return what a further trial may cost: the most that is planned, or that any has cost."""
    return max([each, *(_used(limit, row) for row in rows)]) or _UNKNOWN_S


def _used(limit: Limit, row: TrialRow) -> float:
    return 1.0 if limit.unit == "trials" else float(getattr(row, limit.unit))


def _unknown(row: TrialRow, cost: float) -> bool:
    """Whether what a trial will have cost, or has, is not known."""
    return row.state is TrialState.RUNNING or (row.state is TrialState.FAILED and not cost)
