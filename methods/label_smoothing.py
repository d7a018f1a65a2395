"""Label smoothing: a share of each target's probability is spread over all classes.

Source: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", section 7:
targets ``(1 - s) onehot + s / K``. Müller, Kornblith & Hinton 2019 show that it calibrates.

Deviations:
1. It acts only on LoRA's training loss; every score uses the true labels. If a task smooths its own
   targets, this method's share replaces the task's.
"""

from typing import ClassVar

from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor

from gapbench.bench.adaptation.losses import run_means, target_losses
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.head import SPAN
from gapbench.bench.config.task import Task
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.backbone import Backbone
from gapbench.methods._shared.lowrank import LowRank, LowRankConfig, Space


class LabelSmoothingConfig(LowRankConfig):
    """LoRA's settings and the smoothing share."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {"smoothing"}

    smoothing: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="share of a target's probability spread evenly over all classes (the paper's "
        "value)",
    )


class LabelSmoothing(LowRank[LabelSmoothingConfig]):
    """LoRA trained on smoothed targets."""

    name = "label_smoothing"
    reference = "Szegedy et al. 2016, arXiv:1512.00567, section 7"
    Config = LabelSmoothingConfig
    tuned: ClassVar[Space] = {"smoothing": FloatDistribution(0.01, 0.3)}

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: LabelSmoothingConfig) -> str | None:
        """Refuse real targets, and places in a text, which are no classes to spread over."""
        if task.loss == "squared_error":
            return "targets are real numbers; label smoothing needs classes"
        if task.head == SPAN:
            return "targets are places in a text; label smoothing needs classes"
        return super().supports(task, backbone, config)

    def losses(self, state: TrainState, batch: Batch) -> Tensor:
        """Return each run's mean loss on its smoothed targets, (runs,)."""
        logits = state.model(**batch.inputs).logits
        hard, spread = (
            run_means(
                target_losses(logits, batch.targets, state.task.loss, share),
                batch.targets,
                self.axis.size,
            )
            for share in (0.0, 1.0)
        )
        shares = self.axis.vector([config.smoothing for config in self.active_configs])
        return (1 - shares) * hard + shares * spread
