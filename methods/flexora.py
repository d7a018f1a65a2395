"""Flexora: search for the blocks that are worth adapting, then train LoRA on those only.

Source: Wei, Shu, He, Yu, "Flexora: Flexible Low-Rank Adaptation for Large Language Models", ACL
2025, arXiv:2408.10774; code kithib/Flexora. The code was available, the paper's text was not.

Search: the update of block l is multiplied by ``N softmax(alpha_hat)_l``. LoRA and head train on
one part of the training set, ``alpha_hat`` on the other with Adam. Then blocks with alpha_hat > 0
are kept, all other parameters are reset to their initial values, and LoRA trains on those blocks.

Deviations and choices:
1. Unrolling: the paper's text differentiates through the inner steps; its code and the default
   here ('first_order') do not. 'unrolled' does, through SGD steps ahead on one inner batch.
2. Held out for the search: 200 of 5000 examples (0.04) in the code; here 0.2, since 0.04 of a
   small training set is too little.
3. Length of the search: one epoch of search and three of training in the code; here a quarter of
   the steps, so that the budget equals that of other methods.
4. The multiplier acts once, as in the formula (`power` 1); the code's hooks act on three
   submodules, which amounts to the cube (`power` 3).
5. Validation gradient: the sum over 8 batches of 1 in the code; here the mean over one batch of the
   suite's size, reshuffled every pass. For Adam, sum and mean are equivalent.
6. The inner optimiser keeps its state; the code clears it at every step.
7. Inner rate and schedule: 1e-4 and cosine in the code; here the suite's, run once over the search
   and once over the training. The search has no warm-up, in the code and here.
8. A run whose search selects nothing ends without a result; with random or all blocks it would
   not be Flexora.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor, nn

from gapbench.bench.adaptation.optim import StackedAdamW
from gapbench.bench.adaptation.train_state import DataPartition, Phase, StepReport, TrainState
from gapbench.bench.config.run import Training
from gapbench.bench.config.task import Task
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.gates import Block, BlockLowRank, Gates, block_path
from gapbench.methods._shared.hypergradient import (
    BankFunctions,
    LowerStep,
    frozen,
    hypergradient,
    passes,
    whole_batch_reason,
)
from gapbench.methods._shared.lowrank import LowRankConfig, Space

_log = logging.getLogger(__name__)


class FlexoraConfig(LowRankConfig):
    """Settings of Flexora. Defaults: the authors' code, unless noted above."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {"outer_learning_rate", "blocks"}

    search_share: float = Field(
        default=0.25, gt=0, lt=1, description="share of the steps spent on the search"
    )
    lower_share: float = Field(
        default=0.8,
        gt=0,
        lt=1,
        description="share of the training set that LoRA sees in the search; the rest moves "
        "alpha_hat",
    )
    estimator: Literal["first_order", "unrolled"] = Field(
        default="first_order",
        description="whether alpha_hat's gradient includes LoRA's response",
    )
    unroll_steps: int = Field(
        default=1, ge=1, description="SGD steps that 'unrolled' looks ahead on the inner batch"
    )
    upper_every: int = Field(
        default=1, ge=1, description="inner steps per outer step; the first outer step follows one"
    )
    outer_learning_rate: float = Field(
        default=0.01, gt=0, le=1, description="Adam's rate for alpha_hat"
    )
    power: Literal[1, 3] = Field(
        default=1, description="power of the multiplier; 3 is what the authors' code amounts to"
    )
    granularity: Literal["block", "module"] = Field(
        default="block", description="unit that has a multiplier: a block, or each target layer"
    )
    selection: Literal["sign", "top_k"] = Field(
        default="sign", description="keep blocks with alpha_hat > 0, or the largest `blocks`"
    )
    blocks: int | None = Field(
        default=None,
        ge=1,
        description="blocks that 'top_k' keeps; None means half, rounded up",
    )
    reuse_held_out: bool = Field(
        default=True, description="whether the training after the search uses held-out examples"
    )


class SearchedGates(Gates):
    """Gates that follow ``alpha_hat`` (runs, blocks) until blocks are chosen; it starts at zero.

    Attributes:
        searching: whether the search is still running.
    """

    groups: ClassVar[Mapping[str, str]] = {"alpha_hat": "upper"}

    def __init__(self, axis: RunAxis, blocks: int, power: int) -> None:
        super().__init__(axis, blocks)
        self.alpha_hat = nn.Parameter(
            torch.zeros(len(axis.seeds), blocks, device=axis.device, dtype=axis.dtype)
        )
        self.power = power
        self.searching = True

    def multipliers(self) -> Tensor:
        """Return ``(N softmax(alpha_hat))^power`` in the search, then 1 or 0; (runs, blocks)."""
        if not self.searching:
            return super().multipliers()
        return (self.alpha_hat.softmax(dim=1) * self.alpha_hat.shape[1]) ** self.power

    def parameter_count(self, index: int) -> int:  # noqa: ARG002 - the same for all runs
        """Count alpha_hat during the search; the training after it has no such parameter."""
        return self.alpha_hat.shape[1] if self.searching else 0


class Flexora(BlockLowRank[FlexoraConfig]):
    """LoRA on the blocks that a search on held-out training data selects."""

    name = "flexora"
    reference = "Wei et al. 2025, arXiv:2408.10774; code kithib/Flexora"
    Config = FlexoraConfig
    tuned: ClassVar[Space] = {"outer_learning_rate": FloatDistribution(0.001, 0.1, log=True)}

    gates: SearchedGates
    functions: BankFunctions
    first_values: Tensor

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: FlexoraConfig) -> str | None:
        """Refuse a search that has no choice."""
        names = backbone.target_layers(config.targets)
        by_block = config.granularity == "block"
        present = len({block_path(name) for name in names}) if by_block else len(names)
        if present == 1:
            return f"there is only one {config.granularity} to choose from; add target layers"
        if config.selection == "top_k" and config.blocks is not None and config.blocks >= present:
            return f"blocks is {config.blocks}, but 'top_k' chooses 1 to {present - 1} of {present}"
        return super().supports(task, backbone, config)

    @classmethod
    def accumulation_unsupported_reason(cls, config: FlexoraConfig) -> str | None:
        """Refuse to differentiate a step twice."""
        return whole_batch_reason(config.estimator)

    @classmethod
    def relative_cost(cls, config: FlexoraConfig) -> float:
        """Count the passes of a search step and of a training step."""
        outer = passes(config.estimator, config.unroll_steps) / config.upper_every
        return 1.0 + config.search_share * outer

    @classmethod
    def phases(cls, config: FlexoraConfig) -> tuple[Phase, ...]:
        """Return search and training."""
        inner = DataPartition(0.0, config.lower_share)
        outer = DataPartition(config.lower_share, 1.0, every=config.upper_every)
        after = DataPartition() if config.reuse_held_out else inner
        return (
            Phase(
                "search", config.search_share, {"train": inner, "held out": outer}, eligible=False
            ),
            Phase("train", 1.0 - config.search_share, {"train": after}),
        )

    def make_gates(self, blocks: int) -> SearchedGates:
        """Return the gates of a new model."""
        return SearchedGates(self.axis, blocks, self.configs[0].power)

    def group(self, names: Sequence[str]) -> tuple[dict[str, int], list[Block]]:
        """Return each layer's group: its block, or itself."""
        if self.configs[0].granularity == "block":
            return super().group(names)
        return {name: place for place, name in enumerate(names)}, [*names]

    def begin(
        self, state: TrainState, phase: Phase, trainings: Sequence[Training], steps: int
    ) -> None:
        """Make the optimisers; after the search, choose blocks and reset everything else."""
        self.gates.searching = "held out" in phase.parts
        if not self.gates.searching:
            super().begin(state, phase, trainings, steps)
            self._choose()
            main = state.bank.columns("main")
            state.bank.values[:, main] = self.axis.select(self.first_values)[:, main]
            return
        inner = [t.model_copy(update={"warmup_fraction": 0.0}) for t in trainings]
        super().begin(state, phase, inner, steps)
        self.functions = BankFunctions(state)
        self.first_values = state.bank.values.clone()
        updates = math.ceil(steps / phase.parts["held out"].every)
        adam = [_adam(config.outer_learning_rate) for config in self.active_configs]
        state.optimizers["upper"] = StackedAdamW(state.bank, adam, updates, self.axis, "upper")

    def _choose(self) -> None:
        alpha_hat = self.gates.alpha_hat.detach()
        for position, index in enumerate(self.axis.active):
            count = self.configs[index].blocks or (len(self.labels) + 1) // 2
            top_k = self.configs[0].selection == "top_k"
            kept = select(alpha_hat[position], count if top_k else None)
            self.gates.chosen[index] = kept
            if kept.all():
                _log.warning("seed %d: flexora selected all blocks", self.axis.seeds[index])

    def state_dict(self) -> dict[str, Tensor]:
        """Return the chosen blocks."""
        return super().state_dict() | {"chosen": self.gates.chosen}

    def stopped(self, state: TrainState) -> Mapping[int, str]:  # noqa: ARG002
        """Return the runs without a selected block, with the reason."""
        chosen = self.axis.select(self.gates.chosen).any(dim=1).tolist()
        reason = (
            "the search selected no block, so nothing is left to train; raise "
            "outer_learning_rate or search_share, or set selection to 'top_k'"
        )
        return {position: reason for position, some in enumerate(chosen) if not some}

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Make an inner step and, in the search when an outer batch is due, an outer step."""
        learning_rates = state.optimizers["main"].learning_rates
        with frozen(state.bank.parameters("upper")):
            report = super().step(state, batches)
        if "held out" not in batches:
            return report
        objective = self.functions.of(
            lambda: self.batch_losses(state, batches["train"]), exact=True
        )
        now = self.functions.numbers("main")
        self._outer_step(state, LowerStep(objective, now, now, learning_rates), batches["held out"])
        config = self.configs[0]
        spent = 1 + passes(config.estimator, config.unroll_steps)
        return StepReport(report.losses, report.gradient_norms, spent, spent)

    def _outer_step(self, state: TrainState, inner: LowerStep, batch: Batch) -> None:
        """Update only alpha_hat, from losses in evaluation mode."""

        def objective() -> Tensor:
            state.model.eval()
            losses = self.batch_losses(state, batch)
            state.model.train()
            return losses

        config, bank = self.configs[0], state.bank
        upper, e = self.functions.of(objective), self.functions.numbers("upper")
        bank.grads[:, bank.columns("upper")] = hypergradient(
            config.estimator, inner, upper, e, config.unroll_steps
        )
        state.optimizers["upper"].step()

    def diagnostic_values(self, state: TrainState, position: int) -> dict[str, Any]:
        """Return the selected blocks and alpha_hat of every block."""
        alpha_hat = self.gates.alpha_hat.detach()[position].double()
        found = {
            "alpha_hat": alpha_hat.tolist(),
            "alpha_hat_sum": float(alpha_hat.sum()),
        }
        return super().diagnostic_values(state, position) | found


def select(alpha_hat: Tensor, count: int | None = None) -> Tensor:
    """Return the mask of blocks to keep, (blocks,) bool: those above 0, or the ``count`` largest.

    Among equal values, earlier blocks come first.
    """
    if count is None:
        return alpha_hat > 0
    order = alpha_hat.argsort(descending=True, stable=True)
    kept = torch.zeros_like(alpha_hat, dtype=torch.bool)
    kept[order[:count]] = True
    return kept


def _adam(learning_rate: float) -> Training:
    """Return the settings of plain Adam at a constant rate."""
    return Training(
        learning_rate=learning_rate,
        weight_decay=0.0,
        warmup_fraction=0.0,
        schedule="constant",
        max_grad_norm=None,
    )
