"""Two levels of training on two parts of the training set, shared by `bilora` and `bidora`.

A step fits the lower parameters (optimiser group ``main``) on the lower part of the data, then
moves the upper parameters (group ``upper``) by their hypergradient on the upper part. The method
assigns parameters to levels and defines the penalties of both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from pydantic import Field
from torch import Tensor

from gapbench.bench.adaptation.optim import StackedAdamW
from gapbench.bench.adaptation.train_state import DataPartition, Phase, StepReport, TrainState
from gapbench.bench.config.run import Training
from gapbench.bench.data.batching import Batch
from gapbench.methods._shared.hypergradient import (
    BankFunctions,
    Estimator,
    LowerStep,
    frozen,
    hypergradient,
    passes,
    whole_batch_reason,
)
from gapbench.methods._shared.lowrank import LowRank, LowRankConfig


class BilevelConfig(LowRankConfig):
    """Settings of two-level training. Defaults: the public code of BiDoRA, unless noted."""

    estimator: Estimator = Field(
        default="t1t2",
        description="hypergradient: 'first_order' (direct term), 't1t2' (identity for the lower "
        "Hessian), 'darts' (one step ahead), 'unrolled' (exact, unroll_steps ahead)",
    )
    unroll_steps: int = Field(
        default=1, ge=1, description="SGD steps that 'unrolled' looks ahead on the lower batch"
    )
    upper_every: int = Field(
        default=1, ge=1, description="lower steps per upper step; the first upper step follows one"
    )
    split: bool = Field(
        default=True,
        description="whether the levels see disjoint parts of the training set; if not, both see "
        "all of it in the same batches (a control)",
    )
    lower_share: float = Field(
        default=0.8, gt=0, lt=1, description="share of the training set for the lower level"
    )
    retrain: bool = Field(
        default=False,
        description="whether to refit the lower level from scratch on all data, upper level frozen",
    )
    retrain_share: float = Field(
        default=0.5, gt=0, lt=1, description="share of the steps for this refit"
    )


ConfigT = TypeVar("ConfigT", bound=BilevelConfig)


class Bilevel(LowRank[ConfigT]):
    """A low-rank method with a second level; its layers put parameters in the group ``upper``.

    Attributes:
        functions: the losses of the stack as functions of the parameters of both levels.
        first_values: all parameters before the first step, (all runs, parameters).
    """

    functions: BankFunctions
    first_values: Tensor

    @classmethod
    def phases(cls, config: ConfigT) -> tuple[Phase, ...]:
        """Return the two-level phase, and the refit if there is one."""
        lower, upper = (
            DataPartition(0.0, config.lower_share),
            DataPartition(config.lower_share, 1.0),
        )
        if not config.split:
            lower = upper = DataPartition()
        parts = {"train": lower, "upper": replace(upper, every=config.upper_every)}
        if not config.retrain:
            return (Phase("two levels", 1.0, parts),)
        share = config.retrain_share
        return (
            Phase("two levels", 1.0 - share, parts, eligible=False),
            Phase("retrain", share),
        )

    @classmethod
    def accumulation_unsupported_reason(cls, config: ConfigT) -> str | None:
        """Refuse to differentiate a step twice."""
        return whole_batch_reason(config.estimator)

    @classmethod
    def relative_cost(cls, config: ConfigT) -> float:
        """Count the passes of a lower step and of its share of an upper step."""
        upper = passes(config.estimator, config.unroll_steps) / config.upper_every
        return 1.0 + upper * (1.0 - config.retrain_share if config.retrain else 1.0)

    def begin(
        self, state: TrainState, phase: Phase, trainings: Sequence[Training], steps: int
    ) -> None:
        """Make the optimisers; before the refit, restore the initial lower parameters."""
        super().begin(state, phase, trainings, steps)
        if "upper" in phase.parts:
            updates = math.ceil(steps / phase.parts["upper"].every)
            state.optimizers["upper"] = StackedAdamW(
                state.bank, trainings, updates, self.axis, group="upper"
            )
            self.functions = BankFunctions(state)
            self.first_values = state.bank.values.clone()
            return
        lower = state.bank.columns("main")
        state.bank.values[:, lower] = self.axis.select(self.first_values)[:, lower]

    def upper_penalty(self) -> Tensor | float:
        """Return the penalty added to the upper task loss of each run, (runs,)."""
        return 0.0

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Make a lower step and, when an upper batch is due, an upper step."""
        config, values = self.configs[0], self.functions.numbers("main")
        before = values.clone() if config.estimator == "darts" else values
        learning_rates = state.optimizers["main"].learning_rates
        with frozen(state.bank.parameters("upper")):
            report = super().step(state, batches)
        if "upper" not in batches:
            return report
        objective = self.functions.of(
            lambda: self.batch_losses(state, batches["train"]) + self.penalty(state), exact=True
        )
        lower = LowerStep(objective, before, values, learning_rates)
        # Parts that are equal are counted through at different speeds.
        self._upper_step(state, lower, batches["upper" if config.split else "train"])
        spent = 1 + passes(config.estimator, config.unroll_steps)
        return replace(report, forward_passes=spent, backward_passes=spent)

    def _upper_step(self, state: TrainState, lower: LowerStep, batch: Batch) -> None:
        """Update only the upper parameters."""

        def objective() -> Tensor:
            with self.axis.branch("upper"):
                return self.batch_losses(state, batch) + self.upper_penalty()

        config, bank = self.configs[0], state.bank
        bank.grads[:, bank.columns("upper")] = hypergradient(
            config.estimator,
            lower,
            self.functions.of(objective),
            self.functions.numbers("upper"),
            config.unroll_steps,
        )
        state.optimizers["upper"].step()
