"""What is known of a study, as one value: who is tuned, over what, at what cost, trial by trial.

Neither torch nor Optuna is needed to read it: analysis and reports work on this alone.
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
    """How far a trial is."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"


class Dimension(FrozenModel):
    """One tuned setting: a range of numbers, or a choice.

    Attributes:
        where: the part of a run's settings that it belongs to.
        default: what the method has without tuning.
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

    All scores are of the checkpoint that validation chose, in the study's metric.
    """

    number: int = Field(ge=0)
    state: TrialState
    origin: Literal["default", "quasi-random", "sampler"]
    params: dict[str, Value | None] = Field(description="by name of the dimension")
    values: tuple[float, ...] = Field(
        default=(), description="as told to the sampler, in the order of the study's objectives"
    )
    validation_score: float | None = None
    train_score: float | None = None
    gap: float | None = Field(
        default=None,
        description="train minus validation score, sign flipped where lower is better",
    )
    ece: float | None = Field(default=None, description="on validation")
    seconds: float = Field(default=0.0, description="of training and scoring, its stack's share")
    steps: int = 0
    examples: int = Field(
        default=0, description="trained on, times passes: one forward and backward pass is one"
    )
    flops: float = 0.0
    seeds: tuple[int, ...] = ()
    status: str | None = Field(default=None, description="of its worst run")
    detail: str | None = Field(default=None, description="why it failed or was pruned")


class Limit(FrozenModel):
    """What a study may spend.

    Attributes:
        unit: ``compute`` is what trials of plain LoRA train on: examples, each once forward and
            once backward.
    """

    unit: Unit = "compute"
    amount: float = Field(default=32, gt=0)

    def charged(self, plain: float) -> "Limit":
        """Return the limit that trials are charged against: compute as examples.

        Args:
            plain: training examples of a trial of plain LoRA.
        """
        if self.unit != "compute":
            return self
        return Limit(unit="examples", amount=self.amount * plain)


class StudyFile(FrozenModel):
    """One study.

    Attributes:
        name: readable parts, and a hash of all that decides the outcome but budget and space.
        metric: what `validation_score` is; the first objective.
        direction: of the metric.
        objectives: what `TrialRow.values` holds; all but the score are minimised.
        space: the dimensions, by name.
        spent: of the budget, in its unit; trials under way count in full.
        plain_examples: training examples of a trial of plain LoRA; None in studies of 0.1.
        default_number: the trial of the method's own settings.
        best_number: the complete trial with the best score (ties: the earliest); None without any.
        front: numbers of the complete trials that no other one beats in every objective.
        start: name of the adapter that its runs start from, "" if none.
        default_test, tuned_test: mean test score over the suite's seeds, once those runs are done.
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
    default_number: int = 0
    best_number: int | None = None
    front: tuple[int, ...] = ()
    trials: tuple[TrialRow, ...] = ()
    default_test: float | None = None
    tuned_test: float | None = None
    start: str = ""


def compute(study: StudyFile) -> float | None:
    """Return what all trials of a study trained on, in trials of plain LoRA; None if unknown."""
    if study.plain_examples is None:
        return None
    return sum(trial.examples for trial in study.trials) / study.plain_examples


def tuned_label(variant: str) -> str:
    """Return what the winner of a variant's study is called in tables."""
    return "tuned" if variant == "default" else f"{variant} tuned"
