"""Per-run AdamW: one fused update over all runs of a stack, with vectors of settings.

`ParameterBank` stores the parameters of all runs in one matrix (runs, parameters); the modules'
parameters and gradients are views of it. A step is then a handful of matrix operations for any
number of layers, a run's gradient norm is a row norm, and a checkpoint is a row.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gapbench.bench.config.run import Training
from gapbench.bench.models.run_axis import RunAxis, Stacked

# Views of one matrix have the matrix's strides; accumulation into them is intended.
warnings.filterwarnings("ignore", message="grad and param do not obey the gradient layout")

_ADAM_BETAS = (0.9, 0.999)
_ADAM_EPS = 1e-8
_CLIP_EPS = 1e-6  # as in torch.nn.utils.clip_grad_norm_


@dataclass(frozen=True, eq=False)
class _Slot:
    parameter: nn.Parameter
    owner: nn.Module
    name: str
    group: str
    shape: torch.Size  # of one run
    stacked: bool
    start: int
    stop: int


class ParameterBank:
    """All trainable parameters of a model as one matrix, one row per run.

    Parameters of one optimiser group are neighbours, so that each group is a range of columns.

    Attributes:
        values, grads: (runs, parameters).
        decayed: (parameters,), 1 where weight decay applies: to matrices, not to vectors.

    Raises:
        ValueError: if a trainable parameter has no run axis although there are several runs.
    """

    def __init__(self, model: nn.Module, axis: RunAxis) -> None:
        self._model = model
        self._axis = axis
        self._slots: list[_Slot] = []
        rows = []
        position = 0
        for module, name, parameter in sorted(_trainable(model), key=_main_group_first):
            stacked = isinstance(module, Stacked)
            if not stacked and axis.size > 1:
                raise ValueError(f"parameter {name!r} of {type(module).__name__} has no run axis")
            shape = parameter.shape[1:] if stacked else parameter.shape
            row = parameter.detach().reshape(axis.size, -1)
            stop = position + row.shape[1]
            group = _group(module, name)
            slot = _Slot(parameter, module, name, group, shape, stacked, position, stop)
            self._slots.append(slot)
            rows.append(row)
            position = stop
        empty = torch.zeros(axis.size, 0, device=axis.device, dtype=axis.dtype)
        self.values = torch.cat(rows, dim=1) if rows else empty
        self.grads = torch.zeros_like(self.values)
        self.decayed = torch.zeros(position, device=axis.device, dtype=axis.dtype)
        for slot in self._slots:
            self.decayed[slot.start : slot.stop] = float(len(slot.shape) > 1)
        self._learning_rate_factors = self._collect_rate_factors()
        self._bind()

    def columns(self, group: str) -> slice:
        """Return the range of columns that an optimiser group owns; empty if there is none."""
        own = [slot for slot in self._slots if slot.group == group]
        return slice(own[0].start, own[-1].stop) if own else slice(0, 0)

    def parameters(self, group: str) -> list[nn.Parameter]:
        """Return the parameters of an optimiser group, in the order of their columns."""
        return [slot.parameter for slot in self._slots if slot.group == group]

    def columns_of(self, parameter: nn.Parameter) -> slice:
        """Return the range of columns that holds a parameter."""
        slot = next(slot for slot in self._slots if slot.parameter is parameter)
        return slice(slot.start, slot.stop)

    def learning_rate_factors(self, columns: slice) -> Tensor | float:
        """Return the factor on the learning rate of each parameter, (runs, parameters) or 1."""
        if self._learning_rate_factors is None:
            return 1.0
        return self._axis.select(self._learning_rate_factors)[:, columns]

    def load(self, values: Tensor) -> None:
        """Set all parameters, (runs, parameters), from any device; active runs may have changed."""
        self.values = values.to(self._axis.device, copy=True)
        self.grads = torch.zeros_like(self.values)
        self._bind()

    def keep_runs(self, positions: Sequence[int]) -> None:
        """Drop the rows of runs that left the stack."""
        self.load(self.values[list(positions)])

    def trained_count(self, index: int) -> int:
        """Return the number of trained parameters of run ``index``, without rank padding."""
        stacked = {id(slot.parameter) for slot in self._slots if slot.stacked}
        plain = sum(slot.stop - slot.start for slot in self._slots if not slot.stacked)
        return plain + sum(
            module.parameter_count(index)
            for module in self._model.modules()
            if isinstance(module, Stacked)
            and any(id(p) in stacked for p in module.parameters(recurse=False))
        )

    def _collect_rate_factors(self) -> Tensor | None:
        """Join the factors of all parameters; None if every factor is 1."""
        runs = len(self._axis.seeds)
        found = {
            slot: factor
            for slot in self._slots
            if isinstance(slot.owner, Stacked)
            and (factor := slot.owner.learning_rate_factor(slot.name)) is not None
        }
        if not found:
            return None
        factors = torch.ones(runs, self.values.shape[1], device=self._axis.device)
        for slot, factor in found.items():
            factors[:, slot.start : slot.stop] = factor.view(runs, 1)
        return factors.to(self._axis.dtype)

    def _bind(self) -> None:
        if not len(self.values):
            return  # every run has left the stack, and a single run may have no run axis to shrink
        for slot in self._slots:
            shape = (len(self.values), *slot.shape) if slot.stacked else slot.shape
            slot.parameter.data = self.values[:, slot.start : slot.stop].view(shape)
            slot.parameter.grad = self.grads[:, slot.start : slot.stop].view(shape)


class StackedAdamW:
    """AdamW (Loshchilov & Hutter 2019) with all settings and the schedule per run.

    It updates one group of the bank's columns; gradients of the others stay as they are.

    Attributes:
        STATE: names of the tensors in `state_dict`.
    """

    STATE: ClassVar[tuple[str, ...]] = ("first", "second", "updates")

    def __init__(
        self,
        bank: ParameterBank,
        settings: Sequence[Training],
        steps: int,
        axis: RunAxis,
        group: str = "main",
    ) -> None:
        self._bank = bank
        self._settings = list(settings)
        self._total_steps = steps
        self._count = 0
        self.columns = bank.columns(group)
        self._first = torch.zeros_like(bank.values[:, self.columns])
        self._second = torch.zeros_like(self._first)
        self._scratch = torch.empty_like(self._first)  # reused: allocating large ones is slow
        self._decays = any(s.weight_decay for s in settings)
        self._decay = self._column([s.weight_decay for s in settings], axis)
        norms = [s.max_grad_norm or math.inf for s in settings]
        self._max_norm = self._column(norms, axis)

    @property
    def learning_rates(self) -> Tensor:
        """Learning rate of the next update, (runs, 1)."""
        now = [learning_rate_at(self._count, self._total_steps, s) for s in self._settings]
        return self._bank.values.new_tensor(now).unsqueeze(1)

    def step(self, learning_rate_factors: Tensor | float = 1.0) -> Tensor:
        """Update the group's parameters of every run and clear their gradients.

        Args:
            learning_rate_factors: of each parameter in this step, on top of the bank's own factors,
                (runs, parameters) or one number.

        Returns:
            (runs,) gradient norm of each run before clipping.
        """
        bank, columns = self._bank, self.columns
        values, grads = bank.values[:, columns], bank.grads[:, columns]
        norms = self._clip(grads)
        rate = self.learning_rates * bank.learning_rate_factors(columns) * learning_rate_factors
        self._count += 1
        beta1, beta2 = _ADAM_BETAS
        if self._decays:
            values.mul_(1 - rate * self._decay * bank.decayed[columns])
        self._first.lerp_(grads, 1 - beta1)
        self._second.mul_(beta2).addcmul_(grads, grads, value=1 - beta2)
        change = torch.sqrt(self._second, out=self._scratch)
        change.div_(math.sqrt(1 - beta2**self._count)).add_(_ADAM_EPS)
        torch.div(self._first, change, out=change).mul_(rate / (1 - beta1**self._count))
        values.sub_(change)
        grads.zero_()
        return norms

    def _clip(self, grads: Tensor) -> Tensor:
        """Clip the gradient of each run; return its norm before clipping, (runs,)."""
        norms: Tensor = torch.linalg.vector_norm(grads, dim=1, keepdim=True)
        grads.mul_((self._max_norm / (norms + _CLIP_EPS)).clamp_(max=1.0))
        return norms.squeeze(1)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state that updates change, one row per active run."""
        updates = torch.full((len(self._first),), self._count)
        return {"first": self._first, "second": self._second, "updates": updates}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the state that `state_dict` returned."""
        self._first.copy_(tensors["first"])
        self._second.copy_(tensors["second"])
        self._count = max(tensors["updates"].tolist(), default=0)

    def keep_runs(self, positions: Sequence[int]) -> None:
        """Drop the state of runs that left the stack (the bank drops its own rows)."""
        rows = list(positions)
        self._settings = [self._settings[row] for row in rows]
        for name in ("_first", "_second", "_scratch", "_decay", "_max_norm"):
            setattr(self, name, getattr(self, name)[rows])

    @staticmethod
    def _column(values: Sequence[float], axis: RunAxis) -> Tensor:
        return torch.tensor(values, device=axis.device, dtype=axis.dtype).unsqueeze(1)


def learning_rate_at(step: int, total: int, settings: Training) -> float:
    """Return the learning rate of update ``step`` (counted from 0) of ``total``.

    Linear warm-up from 0 over ``ceil(total * warmup_fraction)`` updates, then linear or cosine
    decay to 0 at ``total``, or none: the model library's schedules.
    """
    warmup = math.ceil(total * settings.warmup_fraction)
    if step < warmup:
        return settings.learning_rate * step / max(1, warmup)
    progress = (step - warmup) / max(1, total - warmup)
    shapes = {
        "constant": 1.0,
        "linear": max(0.0, 1.0 - progress),
        "cosine": max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress))),
    }
    return settings.learning_rate * shapes[settings.schedule]


def _trainable(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Yield (owner, name, parameter), each parameter once even if modules share it."""
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield module, name, parameter


def _group(module: nn.Module, name: str) -> str:
    return module.groups.get(name, "main") if isinstance(module, Stacked) else "main"


def _main_group_first(found: tuple[nn.Module, str, nn.Parameter]) -> tuple[bool, str]:
    group = _group(found[0], found[1])
    return group != "main", group
