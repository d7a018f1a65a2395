"""Shared base of methods that predict with samples of a posterior over their weights."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.head import LANGUAGE_MODEL
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import MergeError
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.backbone import Backbone
from gapbench.methods._shared.lowrank import LowRank, LowRankConfig
from gapbench.methods._shared.mean_prediction import mean_prediction


def samples(default: int, of: str = "samples", also: str = "") -> Any:
    """Return the field with the number of samples of a prediction."""
    return Field(
        default=default,
        ge=0,
        le=100,
        description=f"{of} to average probabilities over, each one a pass at inference{also}; 0 "
        "predicts at the mean",
    )


class SampledConfig(LowRankConfig):
    """LoRA's settings and the number of samples of a prediction."""

    samples: int = samples(0, "number of posterior samples")


ConfigT = TypeVar("ConfigT", bound=SampledConfig)


class SampledLora(LowRank[ConfigT]):
    """LoRA with a posterior; a subclass defines how to move to a sample."""

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: ConfigT) -> str | None:
        """Refuse samples for text generation: one cache serves one set of weights."""
        if config.samples > 0 and task.head == LANGUAGE_MODEL:
            return f"samples is {config.samples}, but text is generated at the mean; set it to 0"
        return super().supports(task, backbone, config)

    @classmethod
    def predicting_members(cls, config: ConfigT) -> int:
        """Return the number of samples of a prediction."""
        return config.samples or 1

    def mean_of_samples(
        self, state: TrainState, batch: Batch, move_to: Callable[[int], None]
    ) -> Tensor:
        """Return the log of the mean probabilities, or the mean of real values.

        Args:
            state: the stack in evaluation mode.
            batch: batch to predict.
            move_to: puts the sample with a given index into the model.
        """
        drawn = []
        for number in range(state.few_of(self.configs[0].samples)):
            move_to(number)
            logits = state.model(**batch.inputs).logits
            drawn.append(logits.unflatten(0, (self.axis.size, -1)))
        return mean_prediction(torch.stack(drawn, dim=1), state.task.loss)

    def _refuse_own_predictions(self) -> None:
        samples = self.configs[0].samples
        if samples > 0:
            raise MergeError(
                f"method {self.name!r}: the mean prediction of {samples} samples cannot be written "
                "as one model; train with samples = 0"
            )
