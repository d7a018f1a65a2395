"""LoRA on randomly chosen blocks: the control for Flexora's search.

Source: Wei et al., "Flexora: Flexible Low-Rank Adaptation for Large Language Models", ACL 2025,
arXiv:2408.10774, whose code compares with random selections of equal size (kithib/Flexora).

There is no search: the whole budget trains the chosen blocks. All blocks chosen would be LoRA.

Deviations:
1. Number of blocks: the paper's control takes as many as Flexora selected; here it is a setting, by
   default half of the blocks, since a control cannot know the result of another run.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from gapbench.bench.config.task import Task
from gapbench.bench.models.backbone import Backbone
from gapbench.methods._shared.gates import BlockLowRank, block_path
from gapbench.methods._shared.lowrank import LowRankConfig


class FlexoraRandomConfig(LowRankConfig):
    """Settings of LoRA on random blocks."""

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {"blocks"}

    blocks: int | None = Field(
        default=None, ge=1, description="number of blocks to choose; None means half, rounded up"
    )


class FlexoraRandom(BlockLowRank[FlexoraRandomConfig]):
    """LoRA on blocks drawn by the run's seed."""

    name = "flexora_random"
    reference = "control for Wei et al. 2025, arXiv:2408.10774"
    Config = FlexoraRandomConfig

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: FlexoraRandomConfig) -> str | None:
        """Refuse to choose more blocks than exist, or all of them, which would be LoRA."""
        names = backbone.target_layers(config.targets)
        present = len({block_path(name) for name in names})
        if config.blocks is not None and config.blocks > present:
            return f"blocks is {config.blocks}, but the target layers are in {present}"
        if (config.blocks or (present + 1) // 2) == present:
            return f"all {present} blocks of the target layers would be chosen, which is 'lora'"
        return super().supports(task, backbone, config)

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Add a gated update to every target layer and draw each run's blocks."""
        model = super().adapt(model, backbone)
        total = len(self.labels)
        for index, config in enumerate(self.configs):
            count = (total + 1) // 2 if config.blocks is None else config.blocks
            order = torch.randperm(total, generator=self.axis.generator(index, "blocks"))
            self.gates.chosen[index] = False
            self.gates.chosen[index, order[:count]] = True
        return model
