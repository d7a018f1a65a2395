"""AdaLoRA's budget: when triplets are pruned, and how many and which are kept.

Source: Zhang et al. 2023, arXiv:2303.10512, sections 3.2 and 3.3. Every run
has its own budget, schedule and smoothing; all runs of a stack are computed at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gapbench.bench.adaptation.optim import ParameterBank
from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.adalora_layer import StackedAdaLora


@dataclass(frozen=True)
class Schedule:
    """Number of triplets that one run keeps, by step (equation 12; steps count from 1).

    Attributes:
        initial, target: triplets of all layers together, before and after pruning.
        warmup: last step before pruning begins.
        end: step of the last allocation; the same triplets stay pruned after it.
        interval: steps between two allocations.
    """

    initial: int
    target: int
    warmup: int
    end: int
    interval: int

    def budget(self, step: int) -> int | None:
        """Return the number of triplets to keep at ``step``, None if the step allocates nothing."""
        if step == self.end:
            return self.target
        if not self.warmup < step < self.end or step % self.interval:
            return None
        left = 1 - (step - self.warmup) / (self.end - self.warmup)
        return math.floor(self.target + (self.initial - self.target) * left**3)


class Allocation:
    """Importance of every parameter and the triplets kept, for all runs that began."""

    def __init__(
        self,
        axis: RunAxis,
        layers: Sequence[StackedAdaLora],
        schedules: Sequence[Schedule],
        betas: tuple[Sequence[float], Sequence[float]],
        numbers: int,
    ) -> None:
        self._axis = axis
        self._layers = list(layers)
        self._schedules = list(schedules)
        self._betas = [axis.vector(beta) for beta in betas]
        self._ends = axis.vector([schedule.end for schedule in schedules])
        self._last_end = max(schedule.end for schedule in schedules)
        shape = len(schedules), numbers
        self._sensitivity = torch.zeros(shape, device=axis.device, dtype=axis.dtype)
        self._uncertainty = torch.zeros_like(self._sensitivity)
        rank = layers[0].lora_A.shape[1]
        positions = torch.arange(rank, device=axis.device)
        ranks = torch.tensor([layer.ranks for layer in layers], device=axis.device).T
        self._own = positions < ranks.unsqueeze(2)  # (all runs, layers, rank)
        self._kept = torch.ones_like(self._own)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state that steps change, one row per run that began."""
        return {
            "sensitivity": self._sensitivity,
            "uncertainty": self._uncertainty,
            "kept": self._kept,
        }

    def observes(self, step: int) -> bool:
        """Whether a run still needs gradients at ``step``: none does after its last allocation."""
        return any(step < self._schedules[index].end for index in self._axis.active)

    def observe(self, values: Tensor, grads: Tensor, step: int) -> None:
        """Smooth sensitivity |value * gradient| and its uncertainty (equations 8 to 10).

        Args:
            values: all parameters of the active runs, (runs, parameters).
            grads: their gradients.
            step: counted from 1.
        """
        slow, slower = (
            self._axis.select(torch.where(self._ends > step, 1 - beta, 0)).unsqueeze(1)
            for beta in self._betas
        )
        now = (values * grads).abs_()
        rows = list(self._axis.active)
        mean = self._axis.select(self._sensitivity).lerp(now, slow)
        spread = self._axis.select(self._uncertainty).lerp((now - mean).abs_(), slower)
        self._sensitivity[rows], self._uncertainty[rows] = mean, spread

    def prune(self, bank: ParameterBank, step: int) -> None:
        """Set the singular values of the triplets that a run does not keep to zero.

        Args:
            bank: parameter bank of the stack; the layers' parameters are views of it.
            step: counted from 1.
        """
        schedules = [self._schedules[index] for index in self._axis.active]
        budgets = [schedule.budget(step) for schedule in schedules]
        if any(budget is not None for budget in budgets):
            self._allocate(bank, budgets)
        pruned = [
            budget is not None or step > schedule.end
            for budget, schedule in zip(budgets, schedules, strict=True)
        ]
        if not any(pruned):
            return
        now = torch.tensor(pruned, device=self._axis.device).view(-1, 1, 1)
        lost = now & ~self._axis.select(self._kept)
        for number, layer in enumerate(self._layers):
            layer.lora_E.data.masked_fill_(lost[:, number].unsqueeze(2), 0.0)

    def _allocate(self, bank: ParameterBank, budgets: Sequence[int | None]) -> None:
        """Keep the most important triplets of all layers of each run that has a budget now."""
        axis = self._axis
        own = axis.select(self._own)
        scores = torch.where(own, self._scores(bank), math.inf)
        flat = scores.flatten(1)
        cuts = [
            0 if budget is None else self._schedules[index].initial - budget
            for index, budget in zip(axis.active, budgets, strict=True)
        ]
        cut = torch.tensor(cuts, device=axis.device).unsqueeze(1)
        last = flat.sort(dim=1).values.gather(1, (cut - 1).clamp(min=0))
        kept = (scores > last.unsqueeze(2)) | (cut == 0).unsqueeze(2)
        for position, index in enumerate(axis.active):
            if budgets[position] is not None:
                self._kept[index] = kept[position]

    def _scores(self, bank: ParameterBank) -> Tensor:
        """Return the importance of every triplet (equations 7 and 11), (runs, layers, rank)."""
        importance = self._axis.select(self._sensitivity * self._uncertainty)

        def of(parameter: nn.Parameter) -> Tensor:
            # Parameters are views of the bank's rows, so their offset is their first column.
            start = parameter.storage_offset() - bank.values.storage_offset()
            shape = parameter.shape
            return importance[:, start : start + shape[1:].numel()].view(shape)

        scores = [
            of(layer.lora_E).squeeze(2) + of(layer.lora_A).mean(2) + of(layer.lora_B).mean(1)
            for layer in self._layers
        ]
        return torch.stack(scores, dim=1)
