"""SWAG-LoRA: a normal posterior from the last iterates of LoRA, and predictions over its samples.

Source: Onal et al. 2024, "Gaussian Stochastic Weight Averaging for Bayesian Low-Rank Adaptation of
Large Language Models", arXiv:2405.03425, and the authors' code (fortuinlab/swag-lora, commit
82a188b), after Maddox et al. 2019, arXiv:1902.02476, algorithm 1. From a share of training on, the
learning rate is constant, and some iterates enter the mean, the mean square and the latest K
deviations from the mean. A sample is ``mean + scale^(1/2) (var^(1/2) e + D u / (K - 1)^(1/2))``
with e and u standard normal and ``var = mean square - mean^2``.

The paper's text was not available; equations and settings come from the code.

Deviations:
1. The rate becomes constant at once; theirs nears it over five epochs.
2. Training goes on from the latest parameters; theirs returns to those of the lowest validation
   loss (``swag_start_with_lowest_loss``). Ours are the suite's evaluation points, each scored with
   the iterates so far: before ``start`` a sample is LoRA's parameters.
3. Seven iterates at equal distances, whatever the budget. Theirs are one for each epoch, which
   makes seven too (15 epochs, of which the first 8 do not count).
4. The mean of squares is kept as the mean square deviation (Welford), which float32 does not
   cancel; theirs subtracts and clamps at 1e-30.
5. The runs of a stack share ranks.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor, nn

from gapbench.bench.adaptation.optim import learning_rate_at
from gapbench.bench.adaptation.train_state import Phase, StepReport, TrainState
from gapbench.bench.config.run import Training
from gapbench.bench.config.task import Task
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.run_axis import RunAxis, Stacked
from gapbench.methods._shared.lowrank import LowRankConfig, Space
from gapbench.methods._shared.posterior_samples import SampledConfig, SampledLora, samples

_GROUP = "iterates"


class SwagConfig(SampledConfig):
    """LoRA's settings and those of the iterates. Defaults: the code's for RoBERTa."""

    PER_RUN: ClassVar[frozenset[str]] = (LowRankConfig.PER_RUN - {"rank"}) | {
        *("start", "rate_share", "scale")
    }

    samples: int = samples(15)
    start: float = Field(
        default=0.53, ge=0, le=1, description="share of the updates before the first iterate counts"
    )
    iterates: int = Field(
        default=7, ge=2, description="iterates that count, at equal distances to the last update"
    )
    columns: int = Field(
        default=5, ge=2, le=20, description="deviations kept, K: rank of the covariance"
    )
    rate_share: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="constant learning rate from `start` on, as a share of the peak",
    )
    scale: float = Field(
        default=1.0, ge=0, description="factor on the covariance; 0.5 in Maddox et al. 2019"
    )


class Iterates(Stacked):
    """Moments of the iterates of all parameters; the bank keeps them with the parameters.

    ``mean`` and ``variance`` are (runs, parameters), ``deviations`` (runs, K, parameters), latest
    last.
    """

    groups: ClassVar[Mapping[str, str]] = dict.fromkeys(("mean", "variance", "deviations"), _GROUP)
    scratch = True

    def __init__(self, axis: RunAxis, numbers: int, columns: int) -> None:
        super().__init__(axis)
        empty = torch.zeros(axis.size, numbers, device=axis.device, dtype=axis.dtype)
        self.mean, self.variance = nn.Parameter(empty), nn.Parameter(empty.clone())
        self.deviations = nn.Parameter(empty.unsqueeze(1).repeat(1, columns, 1))

    def parameter_count(self, index: int) -> int:  # noqa: ARG002 - the same for all
        """Return 0: no gradient trains them."""
        return 0

    @torch.no_grad()
    def add(self, position: int, values: Tensor, before: int) -> None:
        """Add a run's parameters, (parameters,), to its moments of ``before`` iterates."""
        mean, variance = self.mean[position], self.variance[position]
        change = values - mean
        mean.add_(change / (before + 1))
        deviation = values - mean
        variance.lerp_(change * deviation, 1 / (before + 1))
        kept = self.deviations[position]
        kept.copy_(torch.cat([kept[1:], deviation.unsqueeze(0)]))

    @torch.no_grad()
    def follow(self, position: int, values: Tensor) -> None:
        """Make a run's parameters its mean, with nothing around it."""
        self.mean[position].copy_(values)


class SwagLora(SampledLora[SwagConfig]):
    """LoRA with a normal posterior from its last iterates."""

    name = "swag_lora"
    reference = "Onal et al. 2024, arXiv:2405.03425; fortuinlab/swag-lora, commit 82a188b"
    Config = SwagConfig
    tuned: ClassVar[Space] = {"scale": FloatDistribution(0.1, 10.0, log=True)}

    _iterates: Iterates
    _schedules: Mapping[int, Training] = {}  # by run
    _steps = 0

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: SwagConfig) -> str | None:
        """Refuse to average samples that are all the mean."""
        if config.samples > 0 and (config.scale == 0 or config.start == 1):
            why = "scale is 0" if config.scale == 0 else "start is 1, so no iterate counts"
            return (
                f"{why}: all {config.samples} samples are the mean; change it, or set samples to 0"
            )
        return super().supports(task, backbone, config)

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Add updates to the target layers, and the moments of all parameters to the model."""
        model = super().adapt(model, backbone)
        numbers = sum(p[0].numel() for p in model.parameters() if p.requires_grad)
        self._iterates = Iterates(self.axis, numbers, self.configs[0].columns)
        model.add_module(_GROUP, self._iterates)
        return model

    def begin(
        self, state: TrainState, phase: Phase, trainings: Sequence[Training], steps: int
    ) -> None:
        """Store the schedules, which say at what rate the iterates are made."""
        super().begin(state, phase, trainings, steps)
        self._steps, self._schedules = steps, dict(zip(self.axis.active, trainings, strict=True))

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Make LoRA's update, from `start` on at a constant rate, and add it if it counts."""
        losses = self.batch_losses(state, batches["train"])
        losses.sum().backward()
        factors = self.axis.vector(
            [self._learning_rate_factor(index) for index in self.axis.active]
        )
        norms = state.optimizers["main"].step(factors.unsqueeze(1))
        values = state.bank.values[:, state.bank.columns("main")]
        for position, index in enumerate(self.axis.active):
            before, now = (self._counted(index, self.axis.step + done) for done in (0, 1))
            if before < now:
                self._iterates.add(position, values[position], before)
            elif now == 0:
                self._iterates.follow(position, values[position])
        return StepReport(losses.detach(), norms)

    @contextmanager
    def scoring(self, state: TrainState) -> Iterator[None]:
        """Put the means in place, which exist after the first update."""
        if self.axis.step == 0:
            yield
            return
        values = state.bank.values[:, state.bank.columns("main")]
        latest = values.clone()
        values.copy_(self._iterates.mean.detach())
        try:
            yield
        finally:
            values.copy_(latest)

    def predict(self, state: TrainState, batch: Batch) -> Tensor:
        """Return logits at the mean, or the log of the mean probabilities of samples."""
        if self.configs[0].samples == 0 or not self._steps:
            return super().predict(state, batch)
        values = state.bank.values[:, state.bank.columns("main")]
        means = values.clone()

        def move_to(number: int) -> None:
            values.copy_(means + self.deviation(number))

        try:
            return self.mean_of_samples(state, batch, move_to)
        finally:
            values.copy_(means)

    def deviation(self, number: int) -> Tensor:
        """Return a sample minus the mean, (runs, parameters)."""
        kept = self._iterates
        own = self.axis.normal("diagonal", kept.mean.shape[1:], number)
        common = self.axis.normal("columns", kept.deviations.shape[1:2], number)
        across = torch.bmm(common.unsqueeze(1), kept.deviations).squeeze(1)
        scales = self.axis.vector([config.scale for config in self.active_configs])
        drawn: Tensor = kept.variance.sqrt() * own
        drawn = drawn + across / math.sqrt(self.configs[0].columns - 1)
        return scales.sqrt().unsqueeze(1) * drawn

    def _counted(self, index: int, updates: int) -> int:
        """Return the number of a run's iterates that count among its first ``updates`` ones."""
        config = self.configs[index]
        first = int(config.start * self._steps)
        left = max(1, self._steps - first)
        return max(0, updates - first) * min(config.iterates, left) // left

    def _learning_rate_factor(self, index: int) -> float:
        """Return what makes a run's scheduled rate constant from `start` on."""
        config, training = self.configs[index], self._schedules[index]
        if self.axis.step < int(config.start * self._steps):
            return 1.0
        scheduled = learning_rate_at(self.axis.step, self._steps, training)
        return config.rate_share * training.learning_rate / scheduled if scheduled else 0.0
