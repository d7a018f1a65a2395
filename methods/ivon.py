"""IVON-LoRA: LoRA trained by variational learning, with a normal posterior per parameter.

Source: Cong et al. 2025, "Improving LoRA with Variational Learning", arXiv:2506.14280 (Cong et al.
2024, arXiv:2411.04421), and the authors' code (team-approx-bayes/ivon-lora, commit 043ce23). The
optimiser is in `methods._shared.ivon_optimizer`. It predicts at the posterior mean, or with
the mean probability over several samples.

Only the papers' abstracts were available; equations and settings come from the code.

Deviations:
1. A step of a parameter is at most ``clip_radius`` 0.1 times the learning rate; theirs is 0.001,
   for 10,000 steps at learning rate 0.03. Runs here have a few hundred.
2. The head is part of the posterior; their tasks use the language model's own.
3. Gradients are clipped as the suite says; theirs are not.
4. One sample per step, as in theirs; the runs of a stack share ranks.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor, nn

from gapbench.bench.adaptation.train_state import Phase, StepReport, TrainState
from gapbench.bench.config.run import Training
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.backbone import Backbone
from gapbench.methods._shared.ivon_optimizer import GROUP, Curvature, StackedIvon
from gapbench.methods._shared.lowrank import LowRankConfig, Space
from gapbench.methods._shared.posterior_samples import SampledConfig, SampledLora


class IvonConfig(SampledConfig):
    """LoRA's settings and those of the optimiser. Defaults: the code's for its small tasks."""

    PER_RUN: ClassVar[frozenset[str]] = (LowRankConfig.PER_RUN - {"rank"}) | {
        *("ess", "hess_init", "beta2", "clip_radius")
    }

    ess: float = Field(
        default=1e6,
        gt=0,
        description="effective sample size: the posterior's variance is 1 / (ess (h + decay))",
    )
    hess_init: float = Field(default=1e-3, gt=0, description="initial value of h")
    beta2: float = Field(default=0.99999, ge=0, lt=1, description="decay of h per update")
    clip_radius: float = Field(
        default=0.1,
        gt=0,
        description="largest step of a parameter before the learning rate multiplies it",
    )


class Ivon(SampledLora[IvonConfig]):
    """LoRA trained by IVON."""

    name = "ivon"
    reference = "Cong et al. 2025, arXiv:2506.14280; team-approx-bayes/ivon-lora, commit 043ce23"
    Config = IvonConfig
    training: ClassVar[Mapping[str, Any]] = {"learning_rate": 0.03}
    learning_rates: ClassVar[tuple[float, float]] = (1e-2, 1.0)
    tuned: ClassVar[Space] = {"ess": FloatDistribution(1e5, 1e8, log=True)}

    _decays: Tensor | None = None  # (all runs,), precision of the prior; None before a phase

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Add updates to the target layers, and h of every trained parameter to the model."""
        model = super().adapt(model, backbone)
        numbers = sum(p[0].numel() for p in model.parameters() if p.requires_grad)
        first = [config.hess_init for config in self.configs]
        model.add_module(GROUP, Curvature(self.axis, numbers, first))
        return model

    def begin(
        self,
        state: TrainState,
        phase: Phase,  # noqa: ARG002 - there is one
        trainings: Sequence[Training],
        steps: int,
    ) -> None:
        """Make the optimiser."""
        configs = self.active_configs
        state.optimizers = {
            "main": StackedIvon(
                state.bank,
                trainings,
                steps,
                self.axis,
                ess=[c.ess for c in configs],
                beta2=[c.beta2 for c in configs],
                clip_radius=[c.clip_radius for c in configs],
            )
        }
        decays = [0.0] * len(self.configs)
        for index, training in zip(self.axis.active, trainings, strict=True):
            decays[index] = training.weight_decay
        self._decays = self.axis.vector(decays)

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Take the gradient at a sample of the posterior, and make the update at its mean."""
        optimizer = state.optimizers["main"]
        assert isinstance(optimizer, StackedIvon)  # noqa: S101 - `begin` has made it
        means = optimizer.perturb(self._noise(state, "sample"))
        losses = self.batch_losses(state, batches["train"])
        losses.sum().backward()
        state.bank.values[:, optimizer.columns] = means
        return StepReport(losses.detach(), optimizer.step())

    def predict(self, state: TrainState, batch: Batch) -> Tensor:
        """Return logits at the mean, or the log of the mean probabilities of samples."""
        samples = self.configs[0].samples
        if samples == 0 or self._decays is None:
            return super().predict(state, batch)
        bank = state.bank
        values = bank.values[:, bank.columns("main")]
        means = values.clone()
        ess = self.axis.vector([config.ess for config in self.active_configs]).unsqueeze(1)
        decay = self.axis.select(self._decays).unsqueeze(1)
        deviations = (ess * (bank.values[:, bank.columns(GROUP)] + decay)).rsqrt()

        def move_to(number: int) -> None:
            values.copy_(means + deviations * self._noise(state, "posterior", number))

        predicted = self.mean_of_samples(state, batch, move_to)
        values.copy_(means)
        return predicted

    def _noise(self, state: TrainState, site: str, step: int | None = None) -> Tensor:
        """Return standard normal noise for every trained parameter, (runs, parameters)."""
        names = {id(p): name for name, p in state.model.named_parameters()}
        drawn = [
            self.axis.normal(f"{site}.{names[id(p)]}", p.shape[1:], step).flatten(1)
            for p in state.bank.parameters("main")
        ]
        return torch.cat(drawn, dim=1)
