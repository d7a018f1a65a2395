"""NEFTune: uniform noise on the word embeddings in training.

Source: Jain et al. 2023, "NEFTune: Noisy Embeddings Improve Instruction Finetuning", algorithm 1:
``X + alpha / sqrt(L d) * noise`` with noise uniform in (-1, 1), L tokens of d features, so that
the noise of a sequence has an expected length of about ``alpha / sqrt(3)`` whatever its size.

Deviations:
1. LoRA in place of full fine-tuning (the paper also reports QLoRA).
2. L counts a sequence's own tokens; the paper counts its padding too.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from optuna.distributions import FloatDistribution
from pydantic import Field
from torch import Tensor, nn

from gapbench.bench.config.task import Task
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.dropout_hooks import two_embeddings
from gapbench.methods._shared.dropout_masks import Tokens
from gapbench.methods._shared.lowrank import LowRank, LowRankConfig, Space


class NeftuneConfig(LowRankConfig):
    """LoRA's settings and the size of the noise."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {"noise_alpha"}

    noise_alpha: float = Field(
        default=5.0,
        ge=0,
        description="noise on a word embedding is at most noise_alpha / sqrt(tokens * features); "
        "Jain et al. 2023 use 5, 10 and 15",
    )


class Neftune(LowRank[NeftuneConfig]):
    """LoRA with noise on the word embeddings."""

    name = "neftune"
    reference = "Jain et al. 2023, arXiv:2310.05914, algorithm 1"
    Config = NeftuneConfig
    tuned: ClassVar[Space] = {"noise_alpha": FloatDistribution(1.0, 15.0, log=True)}

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: NeftuneConfig) -> str | None:
        """Refuse encoder-decoders, whose two embeddings the paper does not know."""
        if backbone.config.is_encoder_decoder:
            return two_embeddings(backbone)
        return super().supports(task, backbone, config)

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Add updates to the target layers and noise to the word embeddings."""
        model = super().adapt(model, backbone)
        add_noise(model, self.axis, [config.noise_alpha for config in self.configs])
        return model


def add_noise(model: Any, axis: RunAxis, alphas: Sequence[float]) -> None:
    """Make the word embeddings of a model noisy in training, with an alpha for each run."""
    tokens = Tokens()
    tokens.watch(model)
    sizes = axis.vector(alphas)

    def noisy(module: nn.Module, _: tuple[Any, ...], embedded: Tensor) -> Tensor:
        if not module.training:
            return embedded
        rows, width, features = embedded.shape
        shape = (axis.size, rows // axis.size, width, features)
        noise = axis.uniform("embedding noise", shape[1:]) * 2 - 1
        lengths = tokens.lengths(rows, width, embedded.device).view(*shape[:2], 1, 1)
        size = axis.select(sizes).view(-1, 1, 1, 1) / (lengths * features).to(noise.dtype).sqrt()
        return embedded + (noise * size).view_as(embedded).to(embedded.dtype)

    if any(alphas):
        model.get_input_embeddings().register_forward_hook(noisy)
