"""Consistency between two passes: the divergences, their gradients, and what they compare."""

import pytest
import torch
from torch import Tensor

from gapbench.bench.adaptation.losses import run_losses
from gapbench.methods._shared.consistency import kl_to_reference, squared_distance, symmetric_kl
from tests.support.dropping_run import ready
from tests.support.small_stack import MakeBackbone, make_task


def test_symmetric_kl_is_a_symmetric_divergence() -> None:
    """It is non-negative, zero at equality, symmetric, and half of both directions."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(50, 4, generator=generator).double() for _ in range(2))
    p, q = a.softmax(1), b.softmax(1)
    both = ((p * (p / q).log()).sum(1) + (q * (q / p).log()).sum(1)) / 2
    torch.testing.assert_close(symmetric_kl(a, b), both)
    torch.testing.assert_close(symmetric_kl(a, b), symmetric_kl(b, a))
    assert (symmetric_kl(a, b) > 0).all()
    assert (symmetric_kl(a, a) == 0).all()
    assert symmetric_kl(a.bfloat16(), b.bfloat16()).dtype == torch.float32


def test_js_of_the_paper_is_one_sided() -> None:
    """KL from the pass without dropping is the textbook sum, and not symmetric."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(50, 4, generator=generator).double() for _ in range(2))
    p, q = a.softmax(1), b.softmax(1)
    torch.testing.assert_close(kl_to_reference(a, b), (p * (p / q).log()).sum(1))
    assert not torch.allclose(kl_to_reference(a, b), kl_to_reference(b, a))
    assert kl_to_reference(a, a).abs().max() < 1e-15


@pytest.mark.parametrize("consistency", ["kl", "kl_both", "js"])
@pytest.mark.parametrize("outputs", [3, 1])
def test_passes_differ_by_dropping_alone(
    outputs: int, consistency: str, make_backbone: MakeBackbone
) -> None:
    """Without dropping the divergence is 0; with it the passes have different masks."""
    for rate in (0.0, 0.3):
        method, state, batch = ready(
            make_backbone,
            "hiddenkey",
            outputs=outputs,
            logit_rate=rate,
            consistency=consistency,
        )
        _, divergence = method._two_passes(state, batch)
        assert bool(divergence.abs().max() < 1e-15) == (rate == 0)


def test_gradient_of_one_branch_treats_the_second_pass_as_constant(
    make_backbone: MakeBackbone,
) -> None:
    """With `kl` the gradient is that of the first pass held to fixed numbers; with both it is not.

    The second pass is computed here by hand, in the branch that the method names.
    """
    gradients = {}
    for kind in ("kl", "kl_both"):
        method, state, batch = ready(
            make_backbone, "hiddenkey", consistency=kind, consistency_weight=2.0, logit_rate=0.3
        )
        task, divergence = method._two_passes(state, batch)
        (task + 2.0 * divergence).sum().backward()
        gradients[kind] = state.bank.grads.clone()
        state.bank.grads.zero_()
    with torch.no_grad(), state.axis.branch("second pass"):
        constant = state.model(**batch.inputs).logits
    first = state.model(**batch.inputs).logits
    loss = run_losses(first, batch.targets, make_task(), 1)
    (loss + 2.0 * symmetric_kl(first, constant).mean()).sum().backward()
    torch.testing.assert_close(gradients["kl"], state.bank.grads, rtol=0, atol=1e-14)
    assert not torch.allclose(gradients["kl_both"], gradients["kl"])


@pytest.mark.parametrize(("settings", "alpha"), [({}, 1.0), ({"consistency_weight": 3.0}, 6.0)])
def test_both_branches_share_the_task_loss_and_the_gradient(
    make_backbone: MakeBackbone, settings: dict[str, float], alpha: float
) -> None:
    """R-Drop's loss is half of that of the paper, whose weight alpha is 1 by default."""
    method, state, batch = ready(make_backbone, "r_drop", **settings)
    (weight,) = method.axis.select(method._weights).tolist()
    assert weight == alpha / 2
    first = state.model(**batch.inputs).logits
    with state.axis.branch("second pass"):
        second = state.model(**batch.inputs).logits
    losses = [run_losses(x, batch.targets, make_task(), 1) for x in (first, second)]
    (sum(losses) / 2 + weight * symmetric_kl(first, second).mean()).sum().backward()
    expected = state.bank.grads.clone()
    state.bank.grads.zero_()
    task, divergence = method._two_passes(state, batch)
    (task + weight * divergence).sum().backward()
    torch.testing.assert_close(task, sum(losses) / 2)
    torch.testing.assert_close(state.bank.grads, expected, rtol=0, atol=1e-14)
    assert not torch.equal(first, second)
    paper = sum(losses) + alpha * symmetric_kl(first, second).mean()  # equation 3
    torch.testing.assert_close(2 * (task + weight * divergence), paper)


def test_js_pass_is_one_without_dropping(make_backbone: MakeBackbone) -> None:
    """The reference is the evaluation mode's output, and training mode is back afterwards."""
    method, state, batch = ready(make_backbone, "hiddenkey", consistency="js", logit_rate=0.3)
    first = state.model(**batch.inputs).logits
    reference = state.model.eval()(**batch.inputs).logits
    state.model.train()
    _, divergence = method._two_passes(state, batch)
    torch.testing.assert_close(divergence, kl_to_reference(first, reference).mean(0, keepdim=True))
    assert state.model.training


def test_sum_over_examples_is_the_mean_times_their_number(make_backbone: MakeBackbone) -> None:
    """The other reduction is R-Drop's code's: a sum over the batch."""
    divergences = []
    for reduction in ("mean", "sum"):
        method, state, batch = ready(make_backbone, "hiddenkey", reduction=reduction)
        divergences.append(method._two_passes(state, batch)[1])
    torch.testing.assert_close(divergences[0] * 8, divergences[1])


@pytest.mark.parametrize("family", ["bert", "roberta", "llama"])
def test_regression_compares_what_the_head_gets(family: str, make_backbone: MakeBackbone) -> None:
    """Features are those of the first token, in a causal model of the last; or predictions."""
    method, state, batch = ready(make_backbone, "hiddenkey", family, outputs=1)
    head = state.model.get_submodule("score" if family == "llama" else "classifier")
    seen: list[Tensor] = []
    head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    _, divergence = method._two_passes(state, batch)
    last = batch.inputs["attention_mask"].sum(1) - 1
    place = {"roberta": 0, "llama": last}.get(family)
    if place is not None:
        seen = [x[torch.arange(8), place] for x in seen]
    torch.testing.assert_close(divergence, symmetric_kl(*seen).mean(0, keepdim=True))

    method, state, batch = ready(
        make_backbone, "hiddenkey", family, outputs=1, regression_consistency="predictions"
    )
    first = state.model(**batch.inputs).logits
    with state.axis.branch("second pass"):
        second = state.model(**batch.inputs).logits
    _, divergence = method._two_passes(state, batch)
    expected = squared_distance(first, second).mean(0, keepdim=True)
    torch.testing.assert_close(divergence, expected)
