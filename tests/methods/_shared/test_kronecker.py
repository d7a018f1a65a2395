"""The Kronecker-factored curvature against dense matrices."""

import torch

from gapbench.methods._shared.kronecker import Kronecker

RUNS, ROWS, TOKENS, INPUTS, OUTPUTS, LOGITS = 2, 5, 3, 4, 2, 3


def _drawn(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_kronecker_equals_the_dense_posterior() -> None:
    """Determinant and covariance of logits, with padding, in two batches, to 1e-12."""
    inputs = _drawn(2, RUNS, ROWS, TOKENS, INPUTS)
    gradients = _drawn(2, LOGITS, RUNS, ROWS, TOKENS, OUTPUTS)
    present = (torch.arange(TOKENS) < torch.tensor([1, 2, 3, 3, 1]).unsqueeze(1)).double()
    present = present.expand(RUNS, -1, -1).unsqueeze(3)
    gradients = gradients * present
    curvature = Kronecker(torch.zeros(RUNS, OUTPUTS, INPUTS, dtype=torch.float64))
    for rows, slopes in zip(inputs, gradients, strict=True):
        curvature.add(rows, slopes, present)
    curvature.decompose()
    precision = torch.tensor([0.5, 3.0], dtype=torch.float64)
    logdet = curvature.log_determinant(precision.unsqueeze(1)).squeeze(1)
    covariance = curvature.covariance(inputs[0], gradients[0], precision)
    for run in range(RUNS):
        seen = (inputs * present)[:, run].reshape(-1, INPUTS)
        slopes = gradients[:, :, run].reshape(-1, OUTPUTS)
        mean = seen.T @ seen / (2 * float(present[run].sum()))
        dense = torch.kron(slopes.T @ slopes, mean)
        dense = dense + precision[run] * torch.eye(OUTPUTS * INPUTS, dtype=torch.float64)
        torch.testing.assert_close(logdet[run], torch.logdet(dense), rtol=1e-12, atol=0)
        for row in range(ROWS):
            jacobian = torch.einsum(
                "cto,ti->coi", gradients[0, :, run, row], inputs[0, run, row]
            ).flatten(1)
            expected = jacobian @ torch.linalg.inv(dense) @ jacobian.T
            torch.testing.assert_close(covariance[run, row], expected, rtol=1e-10, atol=1e-12)
