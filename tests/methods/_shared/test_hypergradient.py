"""Hypergradient estimators on problems whose derivatives are known in closed form.

Both problems are quadratic, so that their constants follow by exact arithmetic: of the scalar one
in fractions (K = 50 is 0.29642745930), of the matrix one from its powers.
"""

import math

import pytest
import torch
from torch import Tensor

from gapbench.methods._shared.hypergradient import (
    Losses,
    LowerStep,
    first_order,
    hypergradient,
    mixed_product,
    passes,
    t1t2,
    unrolled,
)

RATE = torch.tensor([[0.1]], dtype=torch.float64)


def _row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def _scalar(target: float) -> Losses:
    return lambda v, e: 0.5 * (v * e - target).pow(2).sum(dim=1)


V, E = _row(1.5), _row(0.8)
STEPPED = _row(1.564)  # one SGD step of 0.1 on the lower loss

A = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
B = torch.tensor([[2, 1, 0], [-1, -1, -2], [-2, -2, -2], [2, 1, 2]], dtype=torch.float64)
HYPER = _row(0.5, -0.25, 1.0)


def _matrix_lower(v: Tensor, e: Tensor) -> Tensor:
    return (0.5 * A * v * v - v * (e @ B.T)).sum(dim=1)


def _matrix_upper(v: Tensor, e: Tensor) -> Tensor:  # noqa: ARG001 - it has no direct term
    return 0.5 * (v - 1).pow(2).sum(dim=1)


def test_scalar_problem_each_estimator_gives_its_constant() -> None:
    """The four estimators give four known numbers on the scalar problem."""
    lower, upper = _scalar(2), _scalar(1)
    torch.testing.assert_close(V - RATE * (V * E - 2) * E, STEPPED)
    step = LowerStep(lower, V, STEPPED, RATE)
    expected = {"first_order": 0.3928768, "darts": 0.3848384, "t1t2": 0.291914496}
    for name, value in expected.items():
        found = hypergradient(name, step, upper, E, 1)  # type: ignore[arg-type]
        torch.testing.assert_close(found, _row(value), rtol=0, atol=1e-12)
    exact = unrolled(lower, upper, V, E, RATE, 1)
    torch.testing.assert_close(exact, _row(0.3848384), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("v", "expected"), [(V, 0.080384), (STEPPED, 0.1009623040)])
def test_scalar_problem_mixed_product_is_exact_where_the_loss_is_quadratic(
    v: Tensor, expected: float
) -> None:
    """Central differences give the mixed derivative times q to rounding."""
    found = mixed_product(_scalar(2), v, E, _row(0.20096))
    torch.testing.assert_close(found, _row(expected), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(2, 0.4647656633), (5, 0.6671781044), (50, 0.2964274593), (2000, 0.0)],
)
def test_scalar_problem_unrolled_gives_the_constants_and_tends_to_zero(
    steps: int, expected: float
) -> None:
    """K exact steps give known numbers; the converged lower number makes the upper loss flat."""
    found = unrolled(_scalar(2), _scalar(1), V, E, RATE, steps)
    torch.testing.assert_close(found, _row(expected), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, (0.0425, 0.2075, 0.35)),
        (3, (0.4432105, 0.74948575, 1.253005)),
        (10, (1.2432651966, 1.6551075121, 2.8040807919)),
        (2000, (1.6284722222, 1.9565972222, 3.1909722222)),
    ],
)
def test_matrix_problem_unrolled_gives_the_constants(
    steps: int, expected: tuple[float, ...]
) -> None:
    """K exact steps from zero give known vectors; the limit is the implicit derivative."""
    found = unrolled(_matrix_lower, _matrix_upper, _row(0, 0, 0, 0), HYPER, RATE, steps)
    torch.testing.assert_close(found, _row(*expected), rtol=0, atol=1e-10)


def test_matrix_problem_limit_is_the_implicit_derivative() -> None:
    """The implicit function theorem gives the same vector as many steps do."""
    solution = (HYPER @ B.T) / A
    implicit = ((solution - 1) / A) @ B
    found = unrolled(_matrix_lower, _matrix_upper, _row(0, 0, 0, 0), HYPER, RATE, 3000)
    torch.testing.assert_close(found, implicit, rtol=0, atol=1e-12)


def test_matrix_problem_t1t2_is_another_vector_of_the_same_direction() -> None:
    """The identity for the Hessian gives a known, longer vector that still points along."""
    solution = (HYPER @ B.T) / A
    found = t1t2(_matrix_lower, _matrix_upper, solution, HYPER)
    torch.testing.assert_close(
        found, _row(4.6666666667, 5.2291666667, 7.2916666667), rtol=0, atol=1e-9
    )
    exact = ((solution - 1) / A) @ B
    assert torch.cosine_similarity(found, exact).item() > 0.9


def test_matrix_problem_first_order_is_exactly_zero() -> None:
    """Without a direct term the first-order estimate is 0: a test that tells the modes apart."""
    upper = lambda v, e: _matrix_upper(v, e) + 0 * e.sum(dim=1)  # noqa: E731 - one line
    assert torch.equal(first_order(upper, _row(0, 0, 0, 0), HYPER), _row(0, 0, 0))


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_unrolled_equals_central_differences(steps: int) -> None:
    """Exact differentiation agrees with differences of whole trajectories."""
    start = _row(0, 0, 0, 0)

    def after(e: Tensor) -> Tensor:
        v = start
        for _ in range(steps):
            v = v - RATE * (A * v - e @ B.T)
        return _matrix_upper(v, e)

    found = unrolled(_matrix_lower, _matrix_upper, start, HYPER, RATE, steps)
    for k in range(3):
        nudge = torch.zeros_like(HYPER)
        nudge[0, k] = 1e-5
        difference = (after(HYPER + nudge) - after(HYPER - nudge)) / 2e-5
        torch.testing.assert_close(found[:, k], difference, rtol=0, atol=1e-6)


def test_unrolled_with_rate_zero_equals_first_order() -> None:
    """Lower numbers that stay put leave the direct term alone."""
    lower, upper = _scalar(2), _scalar(1)
    found = unrolled(lower, upper, V, E, torch.zeros_like(RATE), 3)
    assert torch.equal(found, first_order(upper, V, E))


def test_estimators_where_upper_ignores_the_lower_numbers_return_the_direct_term() -> None:
    """A zero q gives neither NaN nor a mixed term."""
    upper = lambda v, e: e.pow(2).sum(dim=1)  # noqa: ARG005, E731 - v is ignored on purpose
    step = LowerStep(_scalar(2), V, STEPPED, RATE)
    for name in ("t1t2", "darts", "unrolled"):
        found = hypergradient(name, step, upper, E, 2)  # type: ignore[arg-type]
        torch.testing.assert_close(found, 2 * E, rtol=0, atol=1e-12)


def _network(batch: Tensor, target: Tensor) -> Losses:
    """A two-layer tanh network, hidden widths scaled by e: 5 inputs, 3 hidden, 2 outputs."""

    def losses(v: Tensor, e: Tensor) -> Tensor:
        first, second = v.split([15, 6], dim=1)
        hidden = torch.tanh(batch @ first.view(-1, 5, 3)) * e.unsqueeze(1)
        return (hidden @ second.view(-1, 3, 2) - target).pow(2).mean(dim=(1, 2))

    return losses


def _networks(runs: int) -> tuple[Losses, Losses, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    lower, upper = (_network(draw(runs, 8, 5), draw(runs, 8, 2)) for _ in range(2))
    return lower, upper, draw(runs, 21), draw(runs, 3)


def test_network_t1t2_minus_first_order_is_minus_the_mixed_product() -> None:
    """On a network, differences agree with double backward to 1e-4 of the mixed term."""
    lower, upper, v, e = _networks(1)
    v, e = v.requires_grad_(), e.requires_grad_()
    q = torch.autograd.grad(upper(v, e).sum(), v)[0]
    inner = torch.autograd.grad(lower(v, e).sum(), v, create_graph=True)[0]
    exact = torch.autograd.grad((inner * q).sum(), e)[0]
    found = first_order(upper, v, e) - t1t2(lower, upper, v, e)
    assert (found - exact).norm() < 1e-4 * exact.norm()


def test_network_mixed_product_converges_as_the_square_of_the_probe() -> None:
    """The error of central differences is of second order: it is the method, not a slip."""
    lower, upper, v, e = _networks(1)
    v, e = v.requires_grad_(), e.requires_grad_()
    q = torch.autograd.grad(upper(v, e).sum(), v)[0].detach()
    inner = torch.autograd.grad(lower(v, e).sum(), v, create_graph=True)[0]
    exact = torch.autograd.grad((inner * q).sum(), e)[0]
    v, e = v.detach(), e.detach()
    errors = []
    for size in (0.04, 0.02, 0.01):
        epsilon = size / q.norm()
        high, low = (first_order(lower, v + sign * epsilon * q, e) for sign in (1, -1))
        errors.append(((high - low) / (2 * epsilon) - exact).norm().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.05)
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.05)
    torch.testing.assert_close(
        (mixed_product(lower, v, e, q) - exact).norm().item(), errors[2], rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("name", ["first_order", "t1t2", "darts", "unrolled"])
def test_estimators_never_mix_runs(name: str) -> None:
    """A run's hypergradient is the same alone and beside runs of other sizes and rates."""
    lower, upper, v, e = _networks(3)
    v = v * torch.tensor([[1.0], [10.0], [0.1]], dtype=torch.float64)
    rates = torch.tensor([[0.1], [0.01], [0.3]], dtype=torch.float64)
    after = v + 0.1

    def alone(losses: Losses, run: int) -> Losses:
        def one(own_v: Tensor, own_e: Tensor) -> Tensor:
            others_v, others_e = v.clone(), e.clone()
            mask = torch.zeros(3, 1, dtype=torch.bool)
            mask[run] = True
            others_v = torch.where(mask, own_v, others_v)
            others_e = torch.where(mask, own_e, others_e)
            return losses(others_v, others_e)[run : run + 1]

        return one

    step = LowerStep(lower, v, after, rates)
    together = hypergradient(name, step, upper, e, 2)  # type: ignore[arg-type]
    for run in range(3):
        rows = slice(run, run + 1)
        own = LowerStep(alone(lower, run), v[rows], after[rows], rates[rows])
        found = hypergradient(name, own, alone(upper, run), e[rows], 2)  # type: ignore[arg-type]
        torch.testing.assert_close(found, together[rows], rtol=1e-11, atol=1e-11)


def test_passes_are_counted() -> None:
    """Upper pass; two probes; two for every unrolled step."""
    assert [passes(name, 3) for name in ("first_order", "t1t2", "darts", "unrolled")] == [
        1,
        3,
        3,
        7,
    ]
