"""AdaLoRA's settings and training step, shared by the methods that prune triplets.

Source: Zhang et al. 2023, "Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning",
arXiv:2303.10512. The layer is in `methods._shared.adalora_layer`, the budget in
`methods._shared.rank_allocation`; `methods.adalora` numbers the deviations.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from gapbench.bench.adaptation.train_state import Phase, StepReport, TrainState
from gapbench.bench.config.run import Training
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.store.diagnostic import Diagnostic
from gapbench.methods._shared.adalora_layer import StackedAdaLora
from gapbench.methods._shared.lowrank import (
    ORTHOGONALITY,
    LayerSettings,
    LowRank,
    LowRankConfig,
    Space,
    StackedLora,
)
from gapbench.methods._shared.rank_allocation import Allocation, Schedule

_RANK_EPS = 1e-5  # as in the authors' code and PEFT
_SHORTEST = 2  # steps: the last allocation needs importance from at least one step


class AdaLoraConfig(LowRankConfig):
    """Settings of AdaLoRA. Defaults: the authors' code and script for RTE, unless noted."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {
        "init_rank",
        "tinit",
        "tfinal",
        "delta_t",
        "beta1",
        "beta2",
        "orthogonality",
    }

    rank: int = Field(default=8, ge=1, description="average rank per layer after pruning (target)")
    alpha: float = Field(
        default=16.0, gt=0, description="numerator of scaling = alpha / (init_rank + 1e-5)"
    )
    init_rank: int | None = Field(
        default=None, ge=1, description="rank before pruning; None means 1.5 x rank, rounded up"
    )
    tinit: float = Field(
        default=0.15,
        ge=0,
        description="warm-up before pruning: below 1 a share of the steps, else a number of steps",
    )
    tfinal: float = Field(
        default=0.45,
        ge=0,
        description="tuning after pruning: below 1 a share of the steps, else a number of steps",
    )
    delta_t: int = Field(default=1, ge=1, description="steps between two allocations")
    beta1: float = Field(default=0.85, gt=0, lt=1, description="smoothing of the sensitivity")
    beta2: float = Field(default=0.85, gt=0, lt=1, description="smoothing of its uncertainty")
    orthogonality: float = Field(
        default=0.1,
        ge=0,
        description="weight of the orthogonality penalty on P and Q (gamma)",
    )

    @field_validator("tinit", "tfinal")
    @classmethod
    def _whole_steps(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError("a value of 1 or more is a number of steps and must be whole")
        return value

    @model_validator(mode="after")
    def _room_to_prune(self) -> Self:
        if self.first_rank < self.rank:
            raise ValueError(f"init_rank must be at least rank = {self.rank}")
        if max(self.tinit, self.tfinal) < 1 and self.tinit + self.tfinal >= 1:
            raise ValueError("tinit and tfinal leave no steps for pruning; their sum must be < 1")
        return self

    @property
    def first_rank(self) -> int:
        """Rank of every layer before pruning."""
        return math.ceil(1.5 * self.rank) if self.init_rank is None else self.init_rank

    def schedule(self, layers: int, steps: int) -> Schedule:
        """Return the budget of a training of ``steps`` updates.

        Raises:
            ConfigError: if warm-up and final tuning leave no step for pruning.
        """
        warmup, final = (
            int(length * steps) if length < 1 else int(length)
            for length in (self.tinit, self.tfinal)
        )
        if warmup >= steps - final or steps - final < _SHORTEST:
            raise ConfigError(
                f"tinit = {warmup} and tfinal = {final} steps leave none for pruning in {steps} "
                "steps of training; lower them, give them as shares below 1, or train longer"
            )
        return Schedule(
            initial=self.first_rank * layers,
            target=self.rank * layers,
            warmup=warmup,
            end=steps - final,
            interval=self.delta_t,
        )


ConfigT = TypeVar("ConfigT", bound=AdaLoraConfig)


class AdaptiveRank(LowRank[ConfigT]):
    """A method whose layers share a budget of triplets that shrinks during training.

    Attributes:
        layers: the injected layers in the order of `adapters`.
        allocation: the triplets that each run keeps; created at the start of training.
    """

    no_initial_adapter: ClassVar[str | None] = (
        "its updates have singular values, which an adapter does not"
    )
    tuned: ClassVar[Space] = {"orthogonality": ORTHOGONALITY}
    layers: list[StackedAdaLora]
    allocation: Allocation
    _schedule_errors: dict[int, str]  # why a run's schedule does not fit the steps, by index

    diagnostics: ClassVar[tuple[Diagnostic, ...]] = (
        Diagnostic(
            kind="kept",
            field="kept_ranks",
            figure="kept-ranks",
            title="Rank that each layer keeps after training",
            noun="rank",
        ),
    )

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: ConfigT) -> str | None:
        """Refuse an initial rank above the width of a target layer."""
        widest = config.model_copy(update={"rank": config.first_rank})
        reason = super().supports(task, backbone, widest)
        return None if reason is None else f"initial {reason}"

    @classmethod
    def scaling(cls, config: ConfigT) -> float:
        """Return the factor on the update; pruning does not change it."""
        return config.alpha / (config.first_rank + _RANK_EPS)

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Add a stacked update to every target layer."""
        model = super().adapt(model, backbone)
        self.layers = [m for m in self.adapters.values() if isinstance(m, StackedAdaLora)]
        return model

    def layer(self, base: nn.Module, site: str) -> StackedLora:
        """Return the layer that replaces ``base``."""
        return StackedAdaLora(self.axis, base, site, **self.layer_settings())

    def layer_settings(self) -> LayerSettings:
        """Return the arguments of a layer, with the ranks before pruning."""
        settings = super().layer_settings()
        settings["ranks"] = [config.first_rank for config in self.configs]
        return settings

    def begin(
        self, state: TrainState, phase: Phase, trainings: Sequence[Training], steps: int
    ) -> None:
        """Make the optimiser, and lay out the budget over the steps."""
        super().begin(state, phase, trainings, steps)
        self._schedule_errors = {}
        schedules = [self._schedule(index, steps) for index in range(len(self.configs))]
        betas = [c.beta1 for c in self.configs], [c.beta2 for c in self.configs]
        numbers = state.bank.values.shape[1]
        self.allocation = Allocation(self.axis, self.layers, schedules, betas, numbers)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the importance of all parameters and the triplets kept."""
        return super().state_dict() | self.allocation.state_dict()

    def _schedule(self, index: int, steps: int) -> Schedule:
        """Return a run's budget by step; without one, note the reason and prune nothing."""
        config, layers = self.configs[index], len(self.layers)
        try:
            return config.schedule(layers, steps)
        except ConfigError as error:
            self._schedule_errors[index] = str(error)
            every = config.first_rank * layers
            return Schedule(initial=every, target=every, warmup=steps, end=steps + 1, interval=1)

    def stopped(self, state: TrainState) -> Mapping[int, str]:  # noqa: ARG002
        """Return the runs whose settings leave no step for pruning, with the reason."""
        places = enumerate(self.axis.active)
        return {
            position: self._schedule_errors[i]
            for position, i in places
            if i in self._schedule_errors
        }

    def penalty(self, state: TrainState) -> Tensor:  # noqa: ARG002
        """Return the weighted mean distance of all P and Q from orthogonality, (runs,)."""
        distances = torch.cat([layer.skewness() for layer in self.layers]).mean(0)
        weights = self.axis.vector([config.orthogonality for config in self.active_configs])
        return weights * distances

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Update all parameters, then the importance of triplets, then prune."""
        losses = self.batch_losses(state, batches["train"])
        (losses + self.penalty(state)).sum().backward()
        number = self.axis.step + 1
        observed = self.allocation.observes(number)
        grads = state.bank.grads.clone() if observed else None  # the optimiser clears them
        norms = state.optimizers["main"].step()
        if grads is not None:
            self.allocation.observe(state.bank.values, grads, number)
        self.allocation.prune(state.bank, number)
        return StepReport(losses.detach(), norms)

    def diagnostic_values(self, state: TrainState, position: int) -> dict[str, Any]:
        """Return the rank of each layer in the scored checkpoint."""
        ranks = {
            name: layer.kept_rank(position)
            for name, layer in zip(self.adapters, self.layers, strict=True)
        }
        return super().diagnostic_values(state, position) | {"kept_ranks": ranks}
