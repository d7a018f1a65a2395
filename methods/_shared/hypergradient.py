"""Hypergradients: gradients of the upper loss through the response of the lower parameters.

Both levels are functions of two matrices, (runs, n) lower and (runs, m) upper parameters, and give
one loss per run. Rows never interact, so the gradient of the sum over runs holds each run's own
gradient, and every norm is taken per run. A toy problem can be such a function directly;
`BankFunctions` makes them from a stack in training. Nothing here writes to a parameter: probes are
evaluated on copies, so nothing needs restoring.

Sources: `darts` and its finite differences, Liu et al. 2019, arXiv:1806.09055, section 2.3; `t1t2`,
Luketina et al. 2016, arXiv:1511.06727, section 2.2, with the finite differences of Betty 0.2.1
(leopard-ai/betty, mode ``darts``), which has no learning rate in front of the mixed term.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.models.bf16 import full_weights

Losses = Callable[[Tensor, Tensor], Tensor]
"""From lower parameters (runs, n) and upper parameters (runs, m) to losses (runs,)."""

Estimator = Literal["first_order", "t1t2", "darts", "unrolled"]

_PROBE = 0.01  # norm of the change of a run's lower parameters in a probe
_NORM_FLOOR = 1e-15


@dataclass(frozen=True)
class LowerStep:
    """The last lower step.

    Attributes:
        losses: objective on its batch, as a function.
        before, after: lower parameters before and after the step, (runs, n).
        learning_rates: learning rates of the step, (runs, 1).
    """

    losses: Losses
    before: Tensor
    after: Tensor
    learning_rates: Tensor


def hypergradient(
    estimator: Estimator, lower: LowerStep, upper: Losses, e: Tensor, unroll_steps: int
) -> Tensor:
    """Return an estimate of d upper / d e at the current lower parameters, (runs, m).

    Args:
        estimator: ``first_order`` keeps only the direct term; ``t1t2`` takes the identity for the
            lower Hessian; ``darts`` differentiates the last step as if it had been SGD;
            ``unrolled`` differentiates exactly through ``unroll_steps`` SGD steps ahead.
        lower: the last lower step.
        upper: the upper objective.
        e: upper parameters, (runs, m).
        unroll_steps: number of SGD steps for ``unrolled``.
    """
    if estimator == "first_order":
        return first_order(upper, lower.after, e)
    if estimator == "t1t2":
        return t1t2(lower.losses, upper, lower.after, e)
    if estimator == "darts":
        return darts(lower.losses, upper, lower.before, lower.after, e, lower.learning_rates)
    return unrolled(lower.losses, upper, lower.after, e, lower.learning_rates, unroll_steps)


def whole_batch_reason(estimator: Estimator) -> str | None:
    """Return why a step cannot take a batch part by part, None if it can."""
    if estimator != "unrolled":
        return None
    # Second derivatives need the activations of all parts.
    return "estimator 'unrolled' differentiates steps twice; set another"


def passes(estimator: Estimator, unroll_steps: int) -> int:
    """Return the number of forward passes, equal to the backward passes, of a hypergradient.

    An unrolled step counts twice: once for itself, once for its second derivatives.
    """
    return {"first_order": 1, "t1t2": 3, "darts": 3, "unrolled": 1 + 2 * unroll_steps}[estimator]


def first_order(upper: Losses, v: Tensor, e: Tensor) -> Tensor:
    """Return the partial derivative of the upper loss, as if ``v`` did not follow ``e``."""
    leaf = e.detach().requires_grad_()
    return torch.autograd.grad(upper(v.detach(), leaf).sum(), leaf)[0]


def t1t2(lower: Losses, upper: Losses, v: Tensor, e: Tensor) -> Tensor:
    """Return the direct term minus mixed derivative times q, the upper gradient in ``v``."""
    direct, q = _partials(upper, v, e)
    return direct - mixed_product(lower, v, e, q)


def darts(
    lower: Losses, upper: Losses, before: Tensor, after: Tensor, e: Tensor, learning_rates: Tensor
) -> Tensor:
    """Return the hypergradient through one SGD step from ``before`` to ``after``.

    The upper gradients are taken at ``after``, the mixed derivative at ``before``.
    """
    direct, q = _partials(upper, after, e)
    return direct - learning_rates * mixed_product(lower, before, e, q)


def unrolled(
    lower: Losses, upper: Losses, v: Tensor, e: Tensor, learning_rates: Tensor, steps: int
) -> Tensor:
    """Return the exact derivative of the upper loss ``steps`` SGD steps ahead of ``v``."""
    leaf = e.detach().requires_grad_()
    ahead = v.detach().requires_grad_()
    # The fused attention kernels have no second derivatives.
    with sdpa_kernel(SDPBackend.MATH):
        for _ in range(steps):
            losses = lower(ahead, leaf).sum()
            (gradient,) = torch.autograd.grad(losses, ahead, create_graph=True)
            ahead = ahead - learning_rates * gradient
        return torch.autograd.grad(upper(ahead, leaf).sum(), leaf)[0]


def mixed_product(lower: Losses, v: Tensor, e: Tensor, q: Tensor) -> Tensor:
    """Return the mixed derivative d2 lower / (de dv) times ``q`` by central differences, (runs, m).

    The probes change each run's ``v`` by 0.01 in norm, whatever the norm of ``q``: a change in
    proportion to a small ``q`` would be lost in rounding.
    """
    norms: Tensor = torch.linalg.vector_norm(q, dim=1, keepdim=True)
    epsilon = _PROBE / (norms + _NORM_FLOOR)
    high = first_order(lower, torch.addcmul(v, epsilon, q), e)
    low = first_order(lower, torch.addcmul(v, epsilon, q, value=-1), e)
    return (high - low) / (2 * epsilon)


def _partials(upper: Losses, v: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
    """Return the upper loss's partial derivatives in ``e`` and in ``v``; 0 where it has none."""
    v, e = v.detach().requires_grad_(), e.detach().requires_grad_()
    found = torch.autograd.grad(
        upper(v, e).sum(), (e, v), allow_unused=True, materialize_grads=True
    )
    return found[0], found[1]


class BankFunctions:
    """The losses of a stack as functions of its lower (main) and upper parameters.

    Args:
        state: state of a stack with the optimiser groups ``main`` and ``upper``.
    """

    def __init__(self, state: TrainState) -> None:
        self._state = state
        names = {id(p): name for name, p in state.model.named_parameters()}
        self._parameters = [*state.bank.parameters("main"), *state.bank.parameters("upper")]
        self._names = [f"model.{names[id(p)]}" for p in self._parameters]

    def numbers(self, group: str) -> Tensor:
        """Return a view of the current parameters of an optimiser group; (runs, parameters)."""
        bank = self._state.bank
        return bank.values[:, bank.columns(group)]

    def of(self, losses: Callable[[], Tensor], *, exact: bool = False) -> Losses:
        """Return ``losses``, (runs,), as a function of the model's parameters.

        Args:
            losses: computes them with the model.
            exact: whether to use the full weights of the backbone, whatever the precision.
        """
        view = _Evaluation(self._state.model, losses)
        frozen = cache(lambda: full_weights(view) if exact else {})  # few estimators evaluate

        def evaluate(v: Tensor, e: Tensor) -> Tensor:
            tensors = dict(zip(self._names, self._shaped(v, e), strict=True))
            result: Tensor = functional_call(view, frozen() | tensors, (), tie_weights=False)
            return result

        return evaluate

    def _shaped(self, v: Tensor, e: Tensor) -> list[Tensor]:
        """Split the values into tensors of the parameters' shapes.

        One split does it all: the gradients of many slices would be as many full matrices.
        """
        numbers = torch.cat([v, e], dim=1)
        sizes = [p[0].numel() for p in self._parameters]
        pieces = numbers.split(sizes, dim=1)
        return [piece.view(p.shape) for piece, p in zip(pieces, self._parameters, strict=True)]


class _Evaluation(nn.Module):
    """A computation with a model in the form of a module, as `functional_call` needs it."""

    def __init__(self, model: nn.Module, losses: Callable[[], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.losses = losses

    def forward(self) -> Tensor:
        """Compute the losses, (runs,)."""
        return self.losses()


@contextmanager
def frozen(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Record no gradients for ``parameters`` inside the block."""
    for parameter in parameters:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad = True
