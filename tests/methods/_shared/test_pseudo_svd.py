"""The update of BiLoRA in the form of a singular value decomposition, and its two penalties."""

import math

import pytest
import torch
from torch import nn

from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.pseudo_svd import Form, StackedPseudoSvd, skewness
from tests.support.small_stack import CPU


def _layer(
    form: Form = "softmax", ranks: tuple[int, ...] = (3,), shape: tuple[int, int] = (7, 5)
) -> StackedPseudoSvd:
    """Return a layer of 7 inputs and 5 outputs with random numbers in all its parts."""
    runs = len(ranks)
    axis = RunAxis(range(runs), CPU, torch.float64)
    torch.manual_seed(0)
    layer = StackedPseudoSvd(
        axis,
        nn.Linear(*shape).double(),
        "site",
        form=form,
        factors=torch.ones(runs),
        rate=torch.ones(runs),
        ranks=ranks,
        scalings=[7 / rank for rank in ranks],
        dropouts=[0.0] * runs,
        members=1,
    )
    for parameter in (layer.lora_A, layer.lora_B, layer.lora_E):
        parameter.data.normal_()
    for run, rank in enumerate(ranks):
        layer.lora_A.data[run, rank:] = 0
        layer.lora_B.data[run, :, rank:] = 0
    return layer


@pytest.mark.parametrize("form", ["softmax", "real", "binary"])
def test_update_equals_the_dense_product(form: Form) -> None:
    """The layer's output is that of ``W + s P diag(values) Q`` made explicitly, and of `plain`."""
    layer = _layer(form)
    x = torch.randn(2, 4, 7, dtype=torch.float64)
    q, p, e = layer.lora_A[0], layer.lora_B[0], layer.lora_E[0]
    values = {"softmax": e.exp() / e.exp().sum(), "real": e, "binary": 1 / (1 + (-e).exp())}[form]
    dense = layer.weight + 7 / 3 * p @ torch.diag(values) @ q
    expected = x @ dense.T + layer.base.get_parameter("bias")
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.plain(0)["weight"], dense, rtol=0, atol=1e-12)


def test_softmax_values_are_a_distribution_that_ignores_shifts() -> None:
    """They lie in (0, 1), sum to 1 within a run's own rank, and their gradient sums to 0."""
    layer = _layer(ranks=(3, 1, 2))
    values = layer.values()
    assert ((values > 0) == layer.own).all()
    torch.testing.assert_close(values.sum(1), torch.ones(3, dtype=torch.float64))
    (values**2).sum().backward()
    torch.testing.assert_close(layer.lora_E.grad.sum(1), torch.zeros(3, dtype=torch.float64))
    layer.lora_E.data += 2.5
    torch.testing.assert_close(layer.values(), values)
    assert torch.equal(_layer().values().isfinite(), torch.ones(1, 3, dtype=torch.bool))


def test_other_values_are_sigmoids_or_the_raw_numbers() -> None:
    """Binary values lie in (0, 1) and start at one half; real ones are what they are."""
    binary, real = _layer("binary"), _layer("real")
    assert ((binary.values() > 0) & (binary.values() < 1)).all()
    binary.lora_E.data.zero_()
    assert (binary.values() == 0.5).all()
    assert torch.equal(real.values(), real.lora_E)


def test_orthogonality_is_zero_for_orthonormal_factors_and_ignores_rotations() -> None:
    """R1 sees lengths and angles alone."""
    layer = _layer()
    before = skewness(layer.gram_errors(), "squared")
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    layer.lora_B.data[0] = rotation @ layer.lora_B.data[0]
    torch.testing.assert_close(skewness(layer.gram_errors(), "squared"), before)
    layer.lora_A.data[0] = torch.linalg.qr(layer.lora_A.data[0].T)[0].T
    layer.lora_B.data[0] = torch.linalg.qr(layer.lora_B.data[0])[0]
    assert skewness(layer.gram_errors(), "squared").item() < 1e-12


@pytest.mark.parametrize(("form", "expected"), [("squared", 9.0), ("norm", 3.0)])
def test_orthogonality_of_a_known_factor(form: str, expected: float) -> None:
    """P = [[1, 0], [0, 2], [0, 0]] is 9 squared or 3 away; the mean is over both factors."""
    layer = _layer(ranks=(2,), shape=(4, 3))
    layer.lora_B.data[0] = torch.tensor([[1, 0], [0, 2], [0, 0]])
    layer.lora_A.data[0] = torch.eye(2, 4)
    found = skewness(layer.gram_errors(), form)  # type: ignore[arg-type]
    assert found.item() == pytest.approx(expected / 2)


def test_orthogonality_ignores_rank_padding() -> None:
    """A run of a lower rank has the penalty it has alone."""
    together, alone = _layer(ranks=(4, 2)), _layer(ranks=(2,))
    alone.lora_A.data[0] = together.lora_A.data[1, :2]
    alone.lora_B.data[0] = together.lora_B.data[1, :, :2]
    for form in ("squared", "norm"):
        found = skewness(together.gram_errors(), form)[1:]  # type: ignore[arg-type]
        expected = skewness(alone.gram_errors(), form)  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected)


def test_binary_penalty_has_its_known_values() -> None:
    """It is log 2 at one half, its maximum; 1.2493460068 for (0, 2, -3); finite at extremes."""
    layer = _layer("binary")
    for raw, expected in [((0, 2, -3), 1.2493460068), ((0, 0, 0), 3 * math.log(2))]:
        layer.lora_E.data[0] = torch.tensor(raw, dtype=torch.float64)
        assert layer.entropy().item() == pytest.approx(expected, abs=1e-9)
    layer.lora_E.data[0] = torch.tensor([100.0, -100.0, -1000.0])
    assert 0 <= layer.entropy().item() < 1e-4
    (gradient,) = torch.autograd.grad(layer.entropy().sum(), layer.lora_E)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("width", "blocks", "rank", "lora", "values"),
    [(768, 12, 8, 294_912, 192), (1024, 24, 8, 786_432, 384), (1536, 48, 16, 4_718_592, 1536)],
)
def test_parameters_are_those_of_lora_and_a_value_for_each_rank(
    width: int, blocks: int, rank: int, lora: int, values: int
) -> None:
    """RoBERTa-base, RoBERTa-large and DeBERTa-XXL, query and value, as the paper counts them."""
    layer = _layer(ranks=(rank,), shape=(width, width))
    assert 2 * blocks * layer.parameter_count(0) == lora + values
