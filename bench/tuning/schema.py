"""A study as one value: the tuned cell, the space, the cost and every trial.

Reading it needs neither torch nor Optuna: analysis and reports use only this.
"""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from gapbench.bench.core.schema import FrozenModel

Value = float | int | bool | str
Unit = Literal["compute", "trials", "steps", "examples", "seconds"]
Objective = Literal["score", "ece", "gap"]
Pruner = Literal["none", "asha", "wilcoxon"]


class TrialState(StrEnum):
    """State of a trial."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"


class Dimension(FrozenModel):
    """One tuned setting: a range of numbers, or a choice.

    Attributes:
        where: part of a run's settings that it belongs to.
        default: value without tuning.
    """

    where: Literal["config", "training"]
    kind: Literal["float", "int", "choice"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Value | None, ...] = ()
    default: Value | None = None


class TrialRow(FrozenModel):
    """One trial. Scores are means over its seeds; costs are sums.

    All scores are those of the chosen checkpoint, in the study's metric.
    """

    number: int = Field(ge=0)
    state: TrialState
    origin: Literal["default", "quasi-random", "sampler"]
    params: dict[str, Value | None] = Field(description="settings by name of the dimension")
    values: tuple[float, ...] = Field(
        default=(),
        description="values given to the sampler, in the order of the study's objectives",
    )
    validation_score: float | None = None
    train_score: float | None = None
    gap: float | None = Field(
        default=None,
        description="train minus validation score, sign flipped where lower is better",
    )
    ece: float | None = Field(default=None, description="on validation")
    seconds: float = Field(
        default=0.0, description="training and scoring time, its share of the stack"
    )
    steps: int = 0
    examples: int = Field(
        default=0,
        description="examples trained on, times passes (forward plus backward counts as one)",
    )
    flops: float = 0.0
    seeds: tuple[int, ...] = ()
    status: str | None = Field(default=None, description="status of its worst run")
    detail: str | None = Field(default=None, description="why it failed or was pruned")


class Limit(FrozenModel):
    """The budget of a study.

    Attributes:
        unit: ``compute`` counts in trials of plain LoRA, whose examples pass once forward and once
            backward.
    """

    unit: Unit = "compute"
    amount: float = Field(default=32, gt=0)

    def charged(self, plain: float) -> "Limit":
        """Return the limit that trials are charged against, with compute as examples.

        Args:
            plain: training examples of a trial of plain LoRA.
        """
        if self.unit != "compute":
            return self
        return Limit(unit="examples", amount=self.amount * plain)


ON_SEEDS = ("default_test", "default_validation", "tuned_test")
"""Fields of a study that are known once its default and its winner were run on all seeds."""


class StudyFile(FrozenModel):
    """One study.

    Attributes:
        name: readable parts, and a hash of everything that decides the outcome except budget and
            space.
        metric: metric of `validation_score`, the first objective.
        direction: direction of the metric.
        objectives: names of `TrialRow.values`; all but the score are minimised.
        space: the dimensions, by name.
        spent: part of the budget spent, in its unit; running trials count in full.
        plain_examples: training examples of a trial of plain LoRA; None in studies of 0.1.
        default_number: number of the trial of the method's own settings.
        best_number: number of the complete trial with the best score, or None; among equal ones the
            later objectives decide, then age.
        front: numbers of the complete trials that no other trial beats in every objective.
        sampler: name in `bench.tuning.samplers`.
        start: name of the adapter that its runs start from, "" without one.
        cell_hash: of the cell before tuning; "" in studies of before it was stored.
        default_test, tuned_test, default_validation: mean scores over the suite's seeds, once those
            runs are done.
    """

    name: str
    suite: str
    task: str
    backbone: str
    method: str
    variant: str
    metric: str
    direction: Literal["maximize", "minimize"]
    objectives: tuple[Objective, ...] = ("score",)
    space: dict[str, Dimension]
    budget: Limit
    spent: float = 0.0
    plain_examples: float | None = None
    pruner: Pruner = "none"
    sampler: str = "tpe"
    default_number: int = 0
    best_number: int | None = None
    front: tuple[int, ...] = ()
    trials: tuple[TrialRow, ...] = ()
    default_test: float | None = None
    tuned_test: float | None = None
    default_validation: float | None = None
    start: str = ""
    cell_hash: str = ""


def compute(study: StudyFile) -> float | None:
    """Return the compute of all trials of a study, in trials of plain LoRA; None if unknown."""
    if study.plain_examples is None:
        return None
    return sum(trial.examples for trial in study.trials) / study.plain_examples
