"""TFB: LoRA with the widest posterior that its predictions bear, found without training.

Source: Shi et al. 2024, "Training-Free Bayesianization for Low-Rank Adapters of Large Language
Models", arXiv:2412.05723, and the authors' code (Wang-ML-Lab/bayesian-peft, commit bc6a4a7,
``modelwrappers/tfblora.py``). With ``B = U diag(d) V'``, row i of ``V' A`` gets normal noise of
deviation ``sigma / (d_i + 1e-6)``, so that the update varies by ``sigma U E``: alike in all
directions that B has. After training, bisection looks for the largest sigma at which the loss on
the answers of the mean model changes by no more than a tolerance. Predictions average probabilities
over samples.

Of the paper only the abstract was available; equations and settings come from the code.

Deviations:
1. The search reads the validation split, without its labels. Their scripts search on 500 training
   examples (``train_train_val``), with validation as an option; trained on a few hundred examples,
   LoRA answers these with a loss near zero, which no relative tolerance suits.
2. ``tolerance`` is the relative change of the loss, 0.5. Theirs is divided by the number of
   examples: 0.003 of 500 makes 1.5, with a search that ends at 0.015 (deviation 4). Where the
   search can go on to 1.5, a small encoder lost four points of accuracy.
3. The result is the largest sigma within the tolerance; theirs is the smallest that was tried and
   exceeded it.
4. The search goes up to 0.2, the parser's default, in 6 rounds; scripts for an 8B model, whose
   layers have far more inputs for sigma to act on, go up to 0.015 in 5.
5. One sample serves all examples and tokens (`methods.blob`, deviation 1), and keeps its noise
   during the search; the code draws anew for each pass.
6. The run trains by itself, to the parameters of `lora` with the same seed; theirs reads a finished
   adapter. The head is not adapted by LoRA. The runs of a stack share ranks.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor, nn

from gapbench.bench.adaptation.losses import target_losses
from gapbench.bench.adaptation.train_state import Batches, TrainState
from gapbench.bench.config.task import Task
from gapbench.bench.data.batching import Batch
from gapbench.bench.data.encoded import IGNORED
from gapbench.bench.models.backbone import Backbone
from gapbench.methods._shared.lowrank import LowRankConfig, Space, StackedLora
from gapbench.methods._shared.posterior_samples import SampledConfig, SampledLora, samples

_EPS = 1e-6  # beside singular values, as in the code


class TfbConfig(SampledConfig):
    """LoRA's settings and those of the search."""

    PER_RUN: ClassVar[frozenset[str]] = (LowRankConfig.PER_RUN - {"rank"}) | {
        *("tolerance", "largest_deviation")
    }

    samples: int = samples(10, also=" and in each round of the search")
    tolerance: float = Field(
        default=0.5, gt=0, description="largest relative change of the loss on the mean's answers"
    )
    largest_deviation: float = Field(
        default=0.2, gt=0, description="upper end of the search for sigma"
    )
    rounds: int = Field(default=6, ge=1, le=30, description="halvings of the range of sigma")


class TfbLayer(StackedLora):
    """A low-rank layer whose samples vary in the directions of its B.

    Attributes:
        sample: number of the sample in use; None for the mean.
        deviations: sigma of each active run, (runs,).
    """

    sample: int | None = None
    deviations: Tensor
    _sides: Sequence[Tensor]  # U, (runs, out, rank); diag(d) V' A, (runs, rank, in); d, (..., 1)

    @torch.no_grad()
    def decompose(self) -> None:
        """Write B A as ``U (diag(d) V' A)``; the largest entry of each column of U is positive."""
        left, sizes, right = torch.linalg.svd(self.lora_B.double(), full_matrices=False)
        largest = left.abs().argmax(dim=1, keepdim=True)
        signs = left.gather(1, largest).sign()
        rows = signs.mT * sizes.unsqueeze(2) * (right @ self.lora_A.double())
        kept = (left * signs, rows, sizes.unsqueeze(2))
        self._sides = [each.to(self.lora_B.dtype) for each in kept]

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Return A and B of the mean, or of the sample in use, written as A' and U."""
        if self.training or self.sample is None:
            return super().matrices()
        left, rows, sizes = self._sides
        unit = self.axis.normal(f"posterior.{self.site}", self.lora_A.shape[1:], self.sample)
        return rows + self.deviations.view(-1, 1, 1) * sizes / (sizes + _EPS) * unit, left


class Tfb(SampledLora[TfbConfig]):
    """LoRA with a posterior that is fitted after training."""

    name = "tfb"
    reference = "Shi et al. 2024, arXiv:2412.05723; Wang-ML-Lab/bayesian-peft, commit bc6a4a7"
    Config = TfbConfig
    fits_on: ClassVar[tuple[Literal["train", "validation"], ...]] = ("validation",)
    tuned: ClassVar[Space] = {"tolerance": FloatDistribution(0.05, 5.0, log=True)}

    deviations: Tensor | None = None  # (runs,) of the fit

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: TfbConfig) -> str | None:
        """Refuse tasks without probabilities, whose loss on their own answers is zero."""
        if task.loss != "cross_entropy":
            return f"the loss of a {task.kind} task on the model's own answers is always zero"
        return super().supports(task, backbone, config)

    def layer(self, base: nn.Module, site: str) -> StackedLora:
        """Return the layer that replaces ``base``."""
        return TfbLayer(self.axis, base, site, **self.layer_settings())

    @torch.no_grad()
    def fit(self, state: TrainState, batches: Batches) -> None:
        """Look for the largest deviation of each run that stays within its tolerance."""
        if self.configs[0].samples == 0:
            return
        for layer in self._layers:
            layer.decompose()
        self.deviations = None  # predictions are those of the mean, until the search is done
        answers = [super(Tfb, self).predict(state, b).argmax(-1) for b in batches("validation")]
        ends = self._of_active("largest_deviation")
        low, high, tolerances = torch.zeros_like(ends), ends, self._of_active("tolerance")
        before = self._loss(state, batches, answers)
        for _ in range(self.configs[0].rounds):
            self.deviations = (low + high) / 2
            change = (self._loss(state, batches, answers) - before).abs()
            fits = change <= tolerances * before
            low = torch.where(fits, self.deviations, low)
            high = torch.where(fits, high, self.deviations)
        self.deviations = low

    def predict(self, state: TrainState, batch: Batch) -> Tensor:
        """Return the log of the mean probabilities of samples; until the fit, LoRA's logits."""
        if self.deviations is None:
            return super().predict(state, batch)
        for layer in self._layers:
            layer.deviations = self.deviations
        try:
            return self.mean_of_samples(state, batch, self._move_to)
        finally:
            self._move_to(None)

    def diagnostic_values(self, state: TrainState, position: int) -> dict[str, Any]:
        """Return the deviation that was found."""
        found = {} if self.deviations is None else {"deviation": float(self.deviations[position])}
        return super().diagnostic_values(state, position) | found

    @property
    def _layers(self) -> list[TfbLayer]:
        return [layer for layer in self.adapters.values() if isinstance(layer, TfbLayer)]

    def _of_active(self, field: str) -> Tensor:
        return self.axis.vector([getattr(config, field) for config in self.active_configs])

    def _move_to(self, number: int | None) -> None:
        for layer in self._layers:
            layer.sample = number

    def _loss(self, state: TrainState, batches: Batches, answers: Sequence[Tensor]) -> Tensor:
        """Return each run's loss on its answers, summed over all targets, (runs,)."""
        total = torch.zeros(self.axis.size, device=self.axis.device, dtype=torch.float64)
        for batch, answer in zip(batches("validation"), answers, strict=True):
            targets = answer.masked_fill(batch.targets == IGNORED, IGNORED)
            losses = target_losses(self.predict(state, batch), targets, state.task.loss)
            total += losses.double().view(self.axis.size, -1).sum(dim=1)
        return total
