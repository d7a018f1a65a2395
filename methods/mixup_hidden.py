"""Manifold mixup: the model is trained on mixtures of two examples' features and targets.

Source: Verma et al. 2019, "Manifold Mixup: Better Representations by Interpolating Hidden States",
section 2: features ``lam h + (1 - lam) h'`` and loss ``lam L(y) + (1 - lam) L(y')``, lam drawn from
Beta(alpha, alpha), h' and y' from another example of the batch.

Deviations:
1. The input of the head is mixed: the features of one token. The paper draws one of several layers
   at each step; texts differ in length, so hidden states before pooling have no common positions.
2. LoRA replaces full training.
"""

from typing import Any, ClassVar

import numpy as np
import torch
from optuna.distributions import FloatDistribution
from pydantic import Field
from scipy.special import betaincinv
from torch import Tensor, nn

from gapbench.bench.adaptation.losses import run_losses
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.config.task import Task
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.head_hooks import reads_last
from gapbench.methods._shared.dropout_masks import Tokens
from gapbench.methods._shared.lowrank import LowRank, LowRankConfig, Space


class MixupHiddenConfig(LowRankConfig):
    """LoRA's settings and the distribution of the shares."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {"mixing"}

    mixing: float = Field(
        default=2.0,
        ge=0,
        description="alpha of Beta(alpha, alpha), the distribution of an example's share in its "
        "mixture, drawn at every step (the paper's 2); 0 mixes nothing",
    )


class MixupHidden(LowRank[MixupHiddenConfig]):
    """LoRA trained on mixed features of the head."""

    name = "mixup_hidden"
    reference = "Verma et al. 2019, arXiv:1806.05236, section 2"
    Config = MixupHiddenConfig
    tuned: ClassVar[Space] = {"mixing": FloatDistribution(0.1, 4.0, log=True)}

    _partners: Tensor | None = None  # (rows,), the other example of each mixture, until mixed
    _shares: Tensor  # (rows,), shares of the first example

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: MixupHiddenConfig) -> str | None:
        """Refuse tasks with more than one target per text: their features cannot be paired."""
        if task.head != SEQUENCE_CLASSIFICATION:
            return "examples have no single feature vector to mix; it needs one target per text"
        return super().supports(task, backbone, config)

    @classmethod
    def accumulation_unsupported_reason(cls, config: MixupHiddenConfig) -> str | None:  # noqa: ARG003
        """Refuse parts of a batch, whose partners may be in other parts."""
        return "it mixes examples of the whole batch"

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Add updates to the target layers, and mix the input of the head's first part.

        That is the part that is called first, whatever its name.
        """
        self._reads_last = reads_last(model)
        model = super().adapt(model, backbone)
        self._tokens = Tokens()
        self._tokens.watch(model)
        for name in backbone.head:
            model.get_submodule(name).register_forward_pre_hook(self._mix)
        return model

    def losses(self, state: TrainState, batch: Batch) -> Tensor:
        """Return each run's mean loss on its mixtures, (runs,)."""
        runs = self.axis.size
        self._draw(len(batch.targets) // runs)
        first, partners = self._run_shares, self._partners
        logits = state.model(**batch.inputs).logits
        own = run_losses(logits, batch.targets, state.task, runs)
        other = run_losses(logits, batch.targets[partners], state.task, runs)
        return first * own + (1 - first) * other

    def _draw(self, examples: int) -> None:
        """Draw a share for each run and a partner for each example of its batch."""
        runs = self.axis.size
        order = self.axis.uniform("mixup partners", (examples,)).argsort(dim=1)
        starts = torch.arange(runs, device=order.device).unsqueeze(1) * examples
        # Not `numpy()`, which waits for a device: this one refuses what is not on the host.
        shares = np.from_dlpack(self.axis.uniform("mixup shares", (1,), on_host=True))
        uniform = shares[:, 0].astype(np.float64)
        alphas = np.array([config.mixing for config in self.active_configs])
        beta = np.ones(runs)
        mixed = alphas > 0
        beta[mixed] = betaincinv(alphas[mixed], alphas[mixed], uniform[mixed])
        self._partners = (order + starts).flatten()
        self._run_shares = torch.from_numpy(beta).to(self.axis.device, self.axis.dtype)
        self._shares = self._run_shares.repeat_interleave(examples)

    def _mix(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Replace the features that the head reads, in (rows, [tokens,] features)."""
        if self._partners is None:
            return None
        x: Tensor = args[0]
        wide = x if x.dim() == 3 else x.unsqueeze(1)
        rows = torch.arange(len(x), device=x.device)
        places = torch.zeros_like(rows)
        if self._reads_last and x.dim() == 3:
            places = self._tokens.lengths(len(x), x.shape[1], x.device) - 1
        own = wide[rows, places]
        change = (1 - self._shares).unsqueeze(1) * (own[self._partners] - own)
        self._partners = None  # later parts of the head get mixtures
        mixed = wide.index_put((rows, places), (own + change).to(x.dtype))
        return (mixed.view_as(x), *args[1:])
