"""From the records of a trial's runs to one row: its scores and what it cost."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.store.record import Record, Status
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
_FIELDS = {"score": "validation_score", "ece": "ece", "gap": "gap"}


def finished_row(plan: StudyPlan, started: TrialRow, records: Sequence[Record]) -> TrialRow:
    """Return the row of a trial whose runs have all ended.

    Args:
        plan: plan of the study.
        started: number, origin and params of the trial.
        records: records of its runs; fewer than its seeds if a pruner skipped the others.
    """
    worst = min(records, key=lambda record: _WORST_FIRST.index(record.status))
    known = _costs(plan, records) | {"status": worst.status.value, "detail": worst.detail}
    known |= {"seeds": tuple(record.seed for record in records), "state": TrialState.FAILED}
    if worst.status == Status.PRUNED:
        known["state"] = TrialState.PRUNED
    elif worst.status == Status.OK:
        known |= _verdict(plan, records)
    return started.model_copy(update=known)


def _verdict(plan: StudyPlan, records: Sequence[Record]) -> dict[str, Any]:
    """Return the scores of a trial with all runs ok, and its state."""
    scores = _scores(plan, records)
    values = [scores[_FIELDS[name]] for name in plan.search.objectives]
    if None in values:
        missing = plan.search.objectives[values.index(None)]
        return scores | {"detail": f"its {missing} is undefined"}
    if len(records) < len(plan.search.seeds):
        detail = f"worse than the best trial on its first {len(records)} seeds"
        return scores | {
            "state": TrialState.PRUNED,
            "status": Status.PRUNED.value,
            "detail": detail,
        }
    return scores | {"state": TrialState.COMPLETE, "values": tuple(values)}


def _scores(plan: StudyPlan, records: Sequence[Record]) -> dict[str, Any]:
    train, validation = (
        mean_of_all([record.score(split, plan.metric) for record in records])
        for split in ("train", "validation")
    )
    sign = 1 if get_metric(plan.metric).higher_is_better else -1
    gap = None if train is None or validation is None else sign * (train - validation)
    ece = mean_of_all([r.calibration.ece if r.calibration else None for r in records])
    return {"validation_score": validation, "train_score": train, "gap": gap, "ece": ece}


def _costs(plan: StudyPlan, records: Sequence[Record]) -> dict[str, Any]:
    costs = [record.cost for record in records if record.cost is not None]
    size = plan.base.budget.batch_size
    passes = sum((cost.forward_passes + cost.backward_passes) / 2 for cost in costs)
    return {
        "seconds": sum(cost.train_seconds + cost.evaluation_seconds for cost in costs),
        "steps": sum(cost.steps for cost in costs),
        "examples": round(passes * size),
        "flops": sum(cost.train_flops for cost in costs),
    }


def mean_of_all(values: Sequence[float | None]) -> float | None:
    """Return the mean, None if any value is missing."""
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None
