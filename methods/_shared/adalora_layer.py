"""AdaLoRA's layer: one update per run, in the form of a singular value decomposition.

A *triplet* is one singular value with its two vectors.
`methods._shared.rank_allocation` decides which triplets are pruned.
"""

from typing import Unpack

import torch
from torch import Tensor, nn

from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.lowrank import LayerSettings, StackedLora

_INITIAL_STD = 0.02


class StackedAdaLora(StackedLora):
    """A frozen layer plus one update per run in the form of a singular value decomposition.

    ``W x + scaling * B diag(E) A x`` with the paper's Q as ``lora_A`` (runs, rank, in), its P as
    ``lora_B`` (runs, out, rank), both drawn from N(0, 0.02), and its Lambda as ``lora_E``
    (runs, rank, 1), zero.
    """

    def __init__(
        self, axis: RunAxis, base: nn.Module, site: str, **settings: Unpack[LayerSettings]
    ) -> None:
        super().__init__(axis, base, site, **settings)
        self.lora_E = nn.Parameter(torch.zeros_like(self.lora_A[:, :, :1]))
        own = torch.arange(self.lora_A.shape[1]) < torch.tensor(self.ranks).unsqueeze(1)
        self._identity = torch.diag_embed(own).to(axis.device, axis.dtype)

    def initial(self, index: int, rank: int, member: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return the first values of A, (rank, in), and B, (out, rank), of a run."""
        shapes = {"lora_A": (rank, self.in_features), "lora_B": (self.out_features, rank)}
        a, b = (
            torch.randn(shape, generator=self.axis.generator(index, name, self.site)) * _INITIAL_STD
            for name, shape in shapes.items()
        )
        return a, b

    def strength(self) -> Tensor:
        """Return scaling times the singular values, (runs, 1, rank)."""
        return super().strength() * self.lora_E.transpose(1, 2)

    def skewness(self) -> Tensor:
        """Return the Frobenius norms of ``A A^T - I`` and ``B^T B - I``, (2, runs)."""
        grams = torch.stack(
            [self.lora_A @ self.lora_A.transpose(1, 2), self.lora_B.transpose(1, 2) @ self.lora_B]
        )
        distance = (grams - self.axis.select(self._identity)).flatten(2)
        norms: Tensor = torch.linalg.vector_norm(distance, dim=2)
        return norms

    def kept_rank(self, position: int) -> int:
        """Return how many singular values of an active run are not zero."""
        return int(self.lora_E[position].count_nonzero())

    def factors(self, position: int) -> tuple[Tensor, Tensor]:
        """Return A and B of the triplets of an active run that are not pruned.

        Where all singular values are zero, as before the first step, all triplets are returned.
        """
        a, b = super().factors(position)
        kept = self.lora_E[position, : len(a), 0] != 0
        return (a[kept], b[:, kept]) if kept.any() else (a, b)

    def parameter_count(self, index: int) -> int:
        """Count P, Lambda and Q at the run's initial rank, as PEFT does; all are trained."""
        return self.ranks[index] * (self.in_features + self.out_features + 1)
