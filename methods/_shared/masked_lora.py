"""Masked copies of a low-rank update: LoRA Dropout for any low-rank method.

Source: Lin et al. 2024, arXiv:2404.09610, equations 2 to 8; `methods.lora_dropout` numbers the
deviations. A mask zeroes columns of A and rows of B, never inner features. The copies of a run form
one wide batch, ``(runs * copies * batch, ...)``: there is no loop over them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar, Literal, Self, TypeVar, Unpack

import torch
from optuna.distributions import FloatDistribution
from pydantic import Field, model_validator
from torch import Tensor, nn

from gapbench.bench.adaptation.train_state import StepReport, TrainState
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import MergeError
from gapbench.bench.data.batching import Batch
from gapbench.bench.models import masks
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.run_axis import RunAxis
from gapbench.bench.store.diagnostic import Drop
from gapbench.methods._shared.lowrank import (
    LayerSettings,
    LowRank,
    LowRankConfig,
    Space,
    StackedLora,
    dropped,
)
from gapbench.methods._shared.mean_prediction import mean_prediction

_EVALUATION = -1  # used as the step: copies for evaluation never change


class MaskingConfig(LowRankConfig):
    """Settings of LoRA Dropout. Defaults: the paper's rate and number of instances."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {"rate"}

    rate: float = Field(
        default=0.5, ge=0, le=1, description="probability that a column of A or row of B is zeroed"
    )
    instances: int = Field(default=4, ge=1, description="masked copies per training step")
    test_instances: int | None = Field(
        default=None,
        ge=1,
        description="masked copies in the ensemble; None: same as instances",
    )
    rescale: bool = Field(
        default=False,
        description="whether kept entries of A and of B are divided by 1 - rate",
    )
    inference: Literal["ensemble", "expected", "raw"] = Field(
        default="ensemble",
        description="how a trained run is scored: by the mean of masked copies, by the expected "
        "update, or by the unmasked update",
    )
    average: Literal["logits", "probabilities"] = Field(
        default="logits", description="what the ensemble averages; regression allows logits only"
    )

    @model_validator(mode="after")
    def _something_to_rescale(self) -> Self:
        if self.rescale and self.rate == 1:
            raise ValueError("rescale needs a rate below 1; at 1 nothing is kept")
        return self

    @property
    def ensemble_size(self) -> int:
        """Number of masked copies that score a run together."""
        return self.instances if self.test_instances is None else self.test_instances


class Masking:
    """The masks of one stack: the copies in the current pass, and their draws.

    Attributes:
        copies: masked copies of each run in the current pass; 0 for a plain pass without masks.
        factor: (all runs, 1, 1), factor on the update in a plain pass.
        ensemble_size: masked copies that score a run together, None if a plain pass scores it.
    """

    def __init__(self, axis: RunAxis, configs: Sequence[MaskingConfig]) -> None:
        first = configs[0]
        self.copies = 0
        self.ensemble_size = first.ensemble_size if first.inference == "ensemble" else None
        drop_rates = axis.vector([config.rate for config in configs])
        plain = first.rescale or first.inference == "raw"
        kept = torch.ones_like(drop_rates) if plain else 1 - drop_rates
        self.factor = kept.square().view(-1, 1, 1)
        self._axis = axis
        self._step: int | None = None
        axis.varies(self, "copies", "_step")
        self._rescale = first.rescale
        # A draw needs a rate below 1; at rate 1 everything is zeroed afterwards.
        self._some = (drop_rates < 1).to(axis.dtype).view(-1, 1, 1)
        self._drop_rates = torch.where(drop_rates < 1, drop_rates, 0)

    @contextmanager
    def running(self, copies: int, step: int | None = None) -> Iterator[None]:
        """Run masked copies in passes inside the block, drawn at ``step`` or the current step."""
        before = self.copies, self._step
        self.copies, self._step = copies, step
        try:
            yield
        finally:
            self.copies, self._step = before

    def draw(self, site: str, features: int) -> Tensor:
        """Return the factors on the features of each copy at a site, (runs, copies, features)."""
        shape = (self.copies, features)
        keep, scale = self._axis.keep_mask(
            self._drop_rates, site, shape, self._step, by_example=False
        )
        some = self._axis.select(self._some)
        return keep * (some * scale if self._rescale else some)


class MaskedLora(StackedLora):
    """A stacked update that can run in several masked copies per pass.

    Masking A and B equals masking the input and output features of the update, with one mask for
    all tokens and examples of a copy, but touches only ``rank * (in + out)`` values.
    """

    def __init__(
        self,
        axis: RunAxis,
        base: nn.Module,
        site: str,
        *,
        masking: Masking,
        **settings: Unpack[LayerSettings],
    ) -> None:
        super().__init__(axis, base, site, **settings)
        self.masking = masking

    @property
    def models(self) -> int:
        """Number of models in the current pass: the active runs, times their copies."""
        return super().models * max(self.masking.copies, 1)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Return A, (runs * copies, rank, in), and B, (runs * copies, out, rank), of this pass."""
        a, b = super().matrices()
        if not self.masking.copies:
            return a, b
        columns = self.masking.draw(f"{self.site}.input", self.in_features)
        rows = self.masking.draw(f"{self.site}.output", self.out_features)
        masked_a = a.unsqueeze(1) * columns.unsqueeze(2)
        masked_b = b.unsqueeze(1) * rows.unsqueeze(3)
        return masked_a.flatten(0, 1), masked_b.flatten(0, 1)

    def strength(self) -> Tensor:
        """Return the factors on the inner features of every copy, or of the plain pass."""
        strength = super().strength()
        if self.masking.copies:
            return strength.repeat_interleave(self.masking.copies, dim=0)
        return strength * self.axis.select(self.masking.factor)

    def factors(self, position: int) -> tuple[Tensor, Tensor]:
        """Return A and B of the plain pass.

        Raises:
            MergeError: if an ensemble of masked copies scores the run.
        """
        if self.masking.ensemble_size is not None:
            raise MergeError(
                f"the run is scored by an ensemble of {self.masking.ensemble_size} masked models, "
                "which cannot be written as one model; train with 'inference: expected'"
            )
        return super().factors(position)


ConfigT = TypeVar("ConfigT", bound=MaskingConfig)


class MaskedLowRank(LowRank[ConfigT]):
    """A low-rank method that averages each step over masked copies of its updates.

    Attributes:
        masking: the masks, shared with the layers.
    """

    tuned: ClassVar[Space] = {"rate": FloatDistribution(0.05, 0.8)}

    def __init__(self, full_name: str, configs: Sequence[ConfigT], axis: RunAxis) -> None:
        super().__init__(full_name, configs, axis)
        self.masking = Masking(axis, configs)
        self._continues = False  # from an adapter

    @property
    def starts_at_backbone(self) -> bool:
        """Whether a plain pass begins with all of the adapter that the runs start from, if any."""
        return not self._continues or bool((self.masking.factor == 1).all())

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Add masked updates to the target layers."""
        self._continues = backbone.start is not None
        return super().adapt(model, backbone)

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: ConfigT) -> str | None:
        """Refuse to zero all of every update, and to score a run by equal copies."""
        if config.rate == 1:
            return "rate is 1, so every update is zeroed and none can train; give a rate below 1"
        copies = cls.predicting_members(config)
        if copies > 1 and not masks.drops(config.rate):
            return (
                f"rate is {config.rate:g}, so the {copies} masked copies that score a run are "
                "equal; give a rate above 0 (1/131,072 and less count as 0), or set inference to "
                "'expected'"
            )
        return super().supports(task, backbone, config)

    @classmethod
    def undropped_reason(cls, config: ConfigT) -> str | None:
        """Refuse several copies of a step that are equal."""
        if config.instances == 1:
            return None
        return (
            f"instances is {config.instances}, but rate, dropout and the suite's backbone_dropout "
            "are 0 (or below 1/131,072), so that all copies of a step are equal; give a rate above "
            "0, or set instances to 1"
        )

    @classmethod
    def relative_cost(cls, config: ConfigT) -> float:
        """Return one forward and one backward pass for every copy."""
        return float(config.instances)

    @classmethod
    def predicting_members(cls, config: ConfigT) -> int:
        """Return the number of masked copies in the ensemble, if one predicts."""
        return config.ensemble_size if config.inference == "ensemble" else 1

    @classmethod
    def drops(cls, config: ConfigT) -> tuple[Drop, ...]:
        """Return the masks of A and B, after the dropout of the update's input."""
        own = ("rows", "rows and columns of the update", config.rate, "row, column")
        return super().drops(config) + dropped(own)

    def layer(self, base: nn.Module, site: str) -> StackedLora:
        """Return the layer that replaces ``base``."""
        return MaskedLora(self.axis, base, site, masking=self.masking, **self.layer_settings())

    def losses(self, state: TrainState, batch: Batch) -> Tensor:
        """Return each run's loss, averaged over masked copies of one batch (equation 7)."""
        copies = self.configs[0].instances
        with self.masking.running(copies):
            return super().losses(state, batch.replicated(self.axis.size, copies))

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Make one update, and count a pass for every copy."""
        copies = self.configs[0].instances
        report = super().step(state, batches)
        return replace(report, forward_passes=copies, backward_passes=copies)

    def predict(self, state: TrainState, batch: Batch) -> Tensor:
        """Return the mean logits of the ensemble (equation 8), or those of the plain pass."""
        if self.masking.ensemble_size is None:
            return super().predict(state, batch)
        copies = state.few_of(self.masking.ensemble_size)
        with self.masking.running(copies, _EVALUATION):
            wide = super().predict(state, batch.replicated(self.axis.size, copies))
        logits = wide.view(self.axis.size, copies, -1, *wide.shape[1:])
        if self.configs[0].average == "probabilities":
            return mean_prediction(logits, state.task.loss)
        return logits.mean(dim=1).flatten(0, 1)

    def _refuse_own_predictions(self) -> None:
        """Do nothing: the layers refuse if an ensemble scores the run."""
