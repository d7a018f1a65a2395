"""The arms of a race as rows of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gapbench.bench.advice.blocks import BlockReader, raced_metric, seconds
from gapbench.bench.advice.race import relative_cost
from gapbench.bench.advice.state import Departure, Rules, State
from gapbench.bench.config.run import Cell
from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.store.record import Record, Status


@dataclass(frozen=True)
class ArmRow:
    """An arm in the race: means over the blocks that it took part in, on their folds.

    Attributes:
        settings: its config, its optimiser settings and the epochs or steps of a run.
        gap: score on training rows minus that on the fold, sign flipped where lower is better.
        cost: time of training and scoring as a multiple of plain LoRA's.
        left_at: block after which it left, None if it is in the race.
        why: why it left, "" if it did not.
    """

    arm: str
    settings: Mapping[str, Any]
    blocks: int
    score: float | None
    gap: float | None
    ece: float | None
    seconds: float | None
    cost: float | None
    left_at: int | None
    why: str

    @classmethod
    def of(
        cls,
        arm: str,
        cell: Cell,
        records: Sequence[Record],
        score: float | None,
        cost: float | None,
        gone: Departure | None,
    ) -> "ArmRow":
        """Return the row of an arm with these records."""
        ok = [record for record in records if record.status == Status.OK]
        return cls(
            arm=arm,
            settings=cell.config
            | cell.training.model_dump()
            | cell.budget.model_dump(include={"epochs", "steps"}),
            blocks=len(records),
            score=score,
            gap=_mean([record.generalization_gap for record in ok]),
            ece=_mean([r.calibration.ece for r in ok if r.calibration is not None]),
            seconds=_mean([seconds(record) for record in ok]),
            cost=cost,
            left_at=gone.block if gone else None,
            why=gone.reason if gone else "",
        )


def rows(reader: BlockReader, state: State, rules: Rules) -> list[ArmRow]:
    """Return a row for every arm, in the order of the design."""
    blocks, gone = (
        reader.blocks()[: state.blocks],
        {departure.arm: departure for departure in state.out},
    )
    metric = raced_metric(reader.arms[0].cell.task)
    return [
        ArmRow.of(
            arm.name,
            arm.cell,
            reader.records(arm.name, state.blocks),
            _score(state.losses.get(arm.name), metric),
            relative_cost(arm.name, blocks, rules.reference),
            gone.get(arm.name),
        )
        for arm in reader.arms
    ]


def _score(loss: float | None, metric: str) -> float | None:
    """Return a mean loss of the race as a score."""
    if loss is None:
        return None
    return -loss if get_metric(metric).higher_is_better else loss


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
