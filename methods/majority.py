"""The best constant prediction: class frequencies or mean of the training set. No training."""

from typing import ClassVar

from torch import Tensor, nn

from gapbench.bench.adaptation.losses import constant_logits
from gapbench.bench.adaptation.method import Method, MethodConfig
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.config.task import Task
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.backbone import Backbone


class Majority(Method[MethodConfig]):
    """Predict the training set's class frequencies, or its mean."""

    name = "majority"
    reference = "baseline"
    trains = False
    no_initial_adapter: ClassVar[str | None] = None  # it uses no model

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: MethodConfig) -> str | None:  # noqa: ARG003
        """Refuse tasks whose answers are not classes or values."""
        if task.head != SEQUENCE_CLASSIFICATION:
            return f"a {task.kind} task has no answer that is the same for all examples"
        if task.tests_only:
            return "the task has no training rows whose classes it could count"
        return None

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:  # noqa: ARG002
        """Return the model unchanged; it is never called."""
        return model

    def predict(self, state: TrainState, batch: Batch) -> Tensor:
        """Return the same logits for every example; (runs * batch, outputs)."""
        row = constant_logits(state.train_targets, state.task.n_outputs)
        return row.to(state.axis.dtype).expand(len(batch.targets), -1)
