"""Kronecker-factored curvature of a linear layer, one for each run of a stack.

Source: Ritter et al. 2018, "A Scalable Laplace Approximation for Neural Networks"; for tokens,
which share the layer, the "expand" form of Eschenhagen et al. 2023, arXiv:2311.00636: every token
counts as an example of its own. The curvature of the summed loss is the product of the mean of
``x x'`` over tokens and the sum of ``s s'``, with x an input of the layer and s the gradient of its
output.
"""

import torch
from torch import Tensor


class Kronecker:
    """Curvature of ``y = W x`` for several runs, with W (runs, outputs, inputs).

    Attributes:
        eigenvalues: those of the curvature, (runs, outputs, inputs), after `decompose`.
    """

    eigenvalues: Tensor

    def __init__(self, weight: Tensor) -> None:
        runs, outputs, inputs = weight.shape
        self._inputs = weight.new_zeros(runs, inputs, inputs)
        self._outputs = weight.new_zeros(runs, outputs, outputs)
        self._tokens = weight.new_zeros(runs, 1)

    def add(self, inputs: Tensor, gradients: Tensor, present: Tensor) -> None:
        """Count the tokens of a batch.

        Args:
            inputs: (runs, rows, tokens, inputs).
            gradients: of the outputs, (parts, runs, rows, tokens, outputs), those of padding zero.
            present: (runs, rows, tokens, 1), 0 for padding.
        """
        flat = inputs.flatten(1, 2)
        self._inputs += flat.mT @ (flat * present.flatten(1, 2))
        self._tokens += present.sum(dim=(1, 2))
        for part in gradients.flatten(2, 3):
            self._outputs += part.mT @ part

    def decompose(self) -> None:
        """Replace both factors by their eigenvectors."""
        sides = [torch.linalg.eigh(each.double()) for each in (self._outputs, self._inputs)]
        outputs, inputs = (side.eigenvalues.clamp(min=0) for side in sides)
        self.eigenvalues = outputs.unsqueeze(2) * (inputs / self._tokens).unsqueeze(1)
        dtype = self._inputs.dtype
        self._outputs, self._inputs = (side.eigenvectors.to(dtype) for side in sides)

    def log_determinant(self, precision: Tensor) -> Tensor:
        """Return the logarithm of the determinant of curvature plus precision.

        Args:
            precision: (runs, ...), of the prior.

        Returns:
            (runs, ...)
        """
        flat = precision.flatten(1).unsqueeze(2)
        found = (flat + self.eigenvalues.flatten(1).unsqueeze(1)).log().sum(dim=2)
        return found.view_as(precision)

    def covariance(self, inputs: Tensor, gradients: Tensor, precision: Tensor) -> Tensor:
        """Return the covariance of logits that are linear in W.

        Args:
            inputs: (runs, rows, tokens, inputs).
            gradients: of the logits by the layer's outputs, (logits, runs, rows, tokens, outputs).
            precision: of the prior, (runs,).

        Returns:
            (runs, rows, logits, logits)
        """
        turned = inputs.flatten(1, 2) @ self._inputs
        slopes = gradients.flatten(2, 3) @ self._outputs
        each = slopes.view_as(gradients).mT @ turned.view_as(inputs)  # (logits, ..., out, in)
        variances = 1 / (self.eigenvalues + precision.view(-1, 1, 1))
        scaled = each * variances.sqrt().unsqueeze(1).to(each.dtype)
        rows = scaled.flatten(3).permute(1, 2, 0, 3)
        return rows @ rows.mT
