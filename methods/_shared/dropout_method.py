"""LoRA that drops in training, with an optional consistency loss: base class of all presets.

Settings are in `methods._shared.dropout_config`, positions in `methods._shared.dropout_hooks`, the
losses in `methods._shared.consistency`; sources and deviations in `methods.unified_dropout`.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import torch
from optuna.distributions import FloatDistribution
from torch import Tensor, nn

from gapbench.bench.adaptation.losses import run_losses, run_means, run_sums, target_counts
from gapbench.bench.adaptation.train_state import StepReport, TrainState
from gapbench.bench.config.task import Task
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.store.diagnostic import Drop
from gapbench.methods._shared import consistency
from gapbench.methods._shared.dropout_config import DroppingConfig
from gapbench.methods._shared.dropout_hooks import Droppings, unsupported_reason
from gapbench.methods._shared.lowrank import LowRank, dropped

_PASSES = {"none": (1, 1), "kl": (2, 1), "kl_both": (2, 2), "js": (2, 1)}  # forward, backward

RATE = FloatDistribution(0.01, 0.3)
"""Range of a rate (appendix E)."""
WEIGHT = FloatDistribution(0.01, 10.0, log=True)
"""Range of the weight of the consistency loss (appendix E)."""

ConfigT = TypeVar("ConfigT", bound=DroppingConfig)


class DroppingLora(LowRank[ConfigT]):
    """LoRA that drops in training, with an optional consistency loss between two passes."""

    @classmethod
    def relative_cost(cls, config: ConfigT) -> float:
        """Count the second pass of a consistency loss."""
        return sum(_PASSES[config.consistency]) / 2

    @classmethod
    def drops(cls, config: ConfigT) -> tuple[Drop, ...]:
        """Return the positions whose rate is above zero."""
        found = dropped(
            ("logit", "attention before softmax", config.logit_rate, config.logit_pattern),
            ("weight", "attention after softmax", config.weight_rate, config.weight_pattern),
            ("embedding", "word embeddings", config.embedding_rate, config.embedding_pattern),
            ("head", "input of the head", config.head_rate, "element"),
            ("ffn", "feed-forward output", config.ffn, config.ffn_pattern),
        )
        return found + super().drops(config)

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: ConfigT) -> str | None:
        """Refuse ranks that do not fit, and positions that the backbone lacks."""
        return super().supports(task, backbone, config) or unsupported_reason(backbone, config)

    @classmethod
    def undropped_reason(cls, config: ConfigT) -> str | None:
        """Refuse to compare equal passes."""
        if config.consistency == "none":
            return None
        return (
            f"consistency is {config.consistency!r}, but every rate, the suite's backbone_dropout "
            "too, is 0 (or below 1/131,072), so that both passes of a step are equal; give a rate "
            "above 0, or set consistency to 'none'"
        )

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Add updates to the target layers and hooks at the positions."""
        model = super().adapt(model, backbone)
        self._droppings = Droppings(model, backbone.head, self.axis, self.configs)
        self._weights = self.axis.vector([c.consistency_weight for c in self.configs])
        return model

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Make one update on the task loss plus the weighted consistency loss."""
        kind = self.configs[0].consistency
        if kind == "none":
            return super().step(state, batches)
        batch, weights = batches["train"], self.axis.select(self._weights)
        counts = target_counts(batch.targets, self.axis.size)
        tasks: list[Tensor] = []

        def losses(part: Batch) -> Tensor:
            own = target_counts(part.targets, self.axis.size)
            task, divergence = self._two_passes(state, part)
            if self.configs[0].reduction == "sum":
                # A part of the batch counts by its targets.
                divergence = divergence * (counts.to(divergence.dtype) / own)
            tasks.append(task.detach() * (own.to(task.dtype) / counts))
            return task + weights * divergence

        self.batch_losses(state, batch, losses).sum().backward()
        forward, backward = _PASSES[kind]
        norms = state.optimizers["main"].step()
        return StepReport(torch.stack(tasks).sum(dim=0), norms, forward, backward)

    def _two_passes(self, state: TrainState, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the task loss and the divergence of two passes, (runs,) each."""
        first, compared = self._pass(state, batch)
        with self._other_pass(state):
            second, reference = self._pass(state, batch)
        kind, runs = self.configs[0].consistency, self.axis.size
        task = run_losses(first, batch.targets, state.task, runs)
        if kind == "kl_both":
            other = run_losses(second, batch.targets, state.task, runs)
            task = (task + other) / 2
        reduce = run_sums if self.configs[0].reduction == "sum" else run_means
        each = self._divergence(state, compared, reference)
        return task, reduce(each, batch.targets, runs)

    def _pass(self, state: TrainState, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits and the values compared between passes, (rows, ..., values) each."""
        logits: Tensor = state.model(**batch.inputs).logits
        if not self._compares_features(state):
            return logits, logits
        return logits, self._droppings.take_features()

    def _other_pass(self, state: TrainState) -> AbstractContextManager[object]:
        """Enter the state of the second pass: other masks or none, gradient only with `kl_both`."""
        kind = self.configs[0].consistency
        entered = ExitStack()
        entered.enter_context(self.axis.branch("second pass"))
        if kind != "kl_both":
            entered.enter_context(torch.no_grad())
        if kind == "js":
            state.model.eval()
            entered.callback(state.model.train)
        return entered

    def _divergence(self, state: TrainState, first: Tensor, second: Tensor) -> Tensor:
        """Return the consistency loss of each target, (rows, ...)."""
        if state.task.loss == "squared_error" and not self._compares_features(state):
            return consistency.squared_distance(first, second)
        if self.configs[0].consistency == "js":
            return consistency.kl_to_reference(first, second)
        return consistency.symmetric_kl(first, second)

    def _compares_features(self, state: TrainState) -> bool:
        chosen = self.configs[0].regression_consistency == "features"
        return state.task.loss == "squared_error" and chosen
