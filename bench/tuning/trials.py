"""From the records of a trial's runs to one row: its scores and what it cost."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.store.record import Cost, Record, Status
from gapbench.bench.tuning.schema import TrialRow, TrialState
from gapbench.bench.tuning.study_plan import StudyPlan

_WORST_FIRST = (
    Status.FAILED,
    Status.OUT_OF_MEMORY,
    Status.SKIPPED,
    Status.DIVERGED,
    Status.PRUNED,
    Status.OK,
)


def finished_row(plan: StudyPlan, started: TrialRow, records: Sequence[Record]) -> TrialRow:
    """Return the row of a trial whose runs have all ended.

    Args:
        plan: the study.
        started: number, origin and params of the trial.
        records: of its runs; fewer than its seeds where a pruner spared the others.
    """
    worst = min(records, key=lambda record: _WORST_FIRST.index(record.status))
    known = _costs(plan, records) | {"status": worst.status.value, "detail": worst.detail}
    known |= {"seeds": tuple(record.seed for record in records)}
    if worst.status != Status.OK:
        pruned = worst.status == Status.PRUNED
        state = TrialState.PRUNED if pruned else TrialState.FAILED
        return started.model_copy(update=known | {"state": state})
    scores = _scores(plan, records)
    values = [scores[_FIELDS[name]] for name in plan.search.objectives]
    if None in values:
        missing = plan.search.objectives[values.index(None)]
        known |= {"state": TrialState.FAILED, "detail": f"its {missing} is undefined"}
        return started.model_copy(update=known | scores)
    if len(records) < len(plan.search.seeds):
        detail = f"worse than the best trial on its first {len(records)} seeds"
        known |= {"state": TrialState.PRUNED, "status": Status.PRUNED.value, "detail": detail}
        return started.model_copy(update=known | scores)
    known |= {"state": TrialState.COMPLETE, "values": tuple(values)}
    return started.model_copy(update=known | scores)


_FIELDS = {"score": "validation_score", "ece": "ece", "gap": "gap"}


def _scores(plan: StudyPlan, records: Sequence[Record]) -> dict[str, float | None]:
    train, validation = (
        mean_of_all([record.score(split, plan.metric) for record in records])
        for split in ("train", "validation")
    )
    sign = 1 if get_metric(plan.metric).higher_is_better else -1
    gap = None if train is None or validation is None else sign * (train - validation)
    ece = mean_of_all(
        [record.calibration.ece if record.calibration else None for record in records]
    )
    return {"validation_score": validation, "train_score": train, "gap": gap, "ece": ece}


def _costs(plan: StudyPlan, records: Sequence[Record]) -> dict[str, Any]:
    costs = [record.cost for record in records if record.cost is not None]
    size = plan.base.budget.batch_size
    return {
        "seconds": sum(cost.train_seconds + cost.evaluation_seconds for cost in costs),
        "steps": sum(cost.steps for cost in costs),
        "examples": round(sum(_passes(cost) for cost in costs) * size),
        "flops": sum(cost.train_flops for cost in costs),
    }


def _passes(cost: Cost) -> float:
    return (cost.forward_passes + cost.backward_passes) / 2


def mean_of_all(values: Sequence[float | None]) -> float | None:
    """Return the mean, None where any value is missing."""
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None
