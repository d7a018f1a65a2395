"""IVON, a variational optimiser in place of AdamW: one update over all runs of a stack.

Source: Shen et al. 2024, "Variational Learning is Effective for Large Deep Networks",
arXiv:2402.17641, algorithm 1, and the authors' package `ivon-opt` 0.1.3 with ``rescale_lr=False``,
as their scripts for LoRA set it. The posterior of each parameter is normal with variance
``1 / (ess (h + delta))``; h is part of the bank, so that a checkpoint keeps it with the mean.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from gapbench.bench.adaptation.optim import ParameterBank, StackedAdamW
from gapbench.bench.config.run import Training
from gapbench.bench.models.run_axis import RunAxis, Stacked

GROUP = "curvature"
_BETA1 = 0.9


class Curvature(Stacked):
    """h of every trained parameter of a model, (runs, parameters); only IVON changes it."""

    groups: ClassVar[Mapping[str, str]] = {"h": GROUP}
    scratch = True

    def __init__(self, axis: RunAxis, numbers: int, first: Sequence[float]) -> None:
        super().__init__(axis)
        self.h = nn.Parameter(axis.vector(first).unsqueeze(1).repeat(1, numbers))

    def parameter_count(self, index: int) -> int:  # noqa: ARG002 - the same for all
        """Return 0: no gradient trains h."""
        return 0


class StackedIvon(StackedAdamW):
    """IVON with per-run settings, and AdamW's schedule and clipping of gradients.

    Attributes:
        STATE: names of the tensors in `state_dict`.
    """

    STATE: ClassVar[tuple[str, ...]] = ("first", "updates")

    def __init__(
        self,
        bank: ParameterBank,
        settings: Sequence[Training],
        steps: int,
        axis: RunAxis,
        *,
        ess: Sequence[float],
        beta2: Sequence[float],
        clip_radius: Sequence[float],
    ) -> None:
        """Make the optimiser of the main group for the active runs.

        Args:
            bank: all parameters, including h.
            settings: settings of each run; ``weight_decay`` is the precision of the prior, delta.
            steps: total number of updates.
            axis: the runs.
            ess: effective sample size of each run.
            beta2: decay of h.
            clip_radius: largest step of a parameter before the learning rate multiplies it.
        """
        super().__init__(bank, settings, steps, axis)
        self._curvature = bank.columns(GROUP)
        self._ess = self._column(ess, axis)
        self._beta2 = self._column(beta2, axis)
        self._radius = self._column(clip_radius, axis)

    @property
    def precisions(self) -> Tensor:
        """Return h + delta, (runs, parameters); ess times this is the posterior's precision."""
        return self._bank.values[:, self._curvature] + self._decay

    def perturb(self, noise: Tensor) -> Tensor:
        """Move the parameters to a sample of the posterior, where `step` expects the gradient.

        Args:
            noise: (runs, parameters), standard normal.

        Returns:
            (runs, parameters), the means, which must be restored before `step`.
        """
        values = self._bank.values[:, self.columns]
        means = values.clone()
        torch.mul(noise, (self._ess * self.precisions).rsqrt(), out=self._scratch)
        values.add_(self._scratch)
        return means

    def step(self, learning_rate_factors: Tensor | float = 1.0) -> Tensor:
        """Update means and h by the gradient at the latest sample; see `StackedAdamW.step`."""
        bank = self._bank
        means, grads = bank.values[:, self.columns], bank.grads[:, self.columns]
        norms = self._clip(grads)
        rate = (
            self.learning_rates * bank.learning_rate_factors(self.columns) * learning_rate_factors
        )
        self._count += 1
        h, precision, slow = bank.values[:, self._curvature], self.precisions, 1 - self._beta2
        seen = self._scratch * grads * precision * self._ess
        correction = 0.5 * slow**2 * (h - seen) ** 2 / precision
        h.mul_(self._beta2).add_(slow * seen + correction)
        self._first.mul_(_BETA1).add_(grads, alpha=1 - _BETA1)
        slope = self._first / (1 - _BETA1**self._count) + self._decay * means
        step = slope / self.precisions
        means.sub_(rate * torch.clamp(step, min=-self._radius, max=self._radius))
        grads.zero_()
        return norms

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state outside the bank that updates change, one row per active run."""
        return {name: values for name, values in super().state_dict().items() if name in self.STATE}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the state that `state_dict` returned."""
        super().load_state_dict({**tensors, "second": self._second})

    def keep_runs(self, positions: Sequence[int]) -> None:
        """Drop the state of runs that left the stack."""
        super().keep_runs(positions)
        for name in ("_ess", "_beta2", "_radius"):
            setattr(self, name, getattr(self, name)[list(positions)])
