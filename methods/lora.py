"""LoRA: a trained low-rank update beside frozen weights.

Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1:
``h = W0 x + (alpha / rank) B A x`` with A random and B zero.

Deviations:
1. A is drawn uniformly as PEFT and the authors' code do (Kaiming, a = sqrt(5)); the paper says
   Gaussian.
"""

from collections.abc import Mapping
from typing import ClassVar

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from pydantic import Field
from torch import nn

from bench.backbone import Backbone
from bench.method import Method, MethodConfig
from bench.stack import replace_module
from bench.tasks import Task
from methods._lowrank import StackedLora, layer_shape


class LoraConfig(MethodConfig):
    """Settings of LoRA. Defaults: Hu et al. 2021, tables 9 and 10 (RoBERTa on GLUE)."""

    PER_RUN: ClassVar[frozenset[str]] = frozenset({"rank", "alpha", "dropout"})

    rank: int = Field(default=8, ge=1, description="inner width; at most the layer's own")
    alpha: float = Field(default=16.0, gt=0, description="numerator of scaling = alpha / rank")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of the update's input features dropped a token"
    )
    targets: str | tuple[str, ...] = Field(
        default="default",
        description="'default' (query and value), 'all-linear', or endings of layer names",
    )


class Lora(Method[LoraConfig]):
    """LoRA on the target layers."""

    name = "lora"
    reference = "Hu et al. 2021, arXiv:2106.09685, section 4.1"
    Config = LoraConfig

    @classmethod
    def search_space(cls) -> Mapping[str, BaseDistribution]:
        """Rank as in the paper's study (section 7.2), and input dropout."""
        return {"rank": IntDistribution(1, 64, log=True), "dropout": FloatDistribution(0.0, 0.3)}

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: LoraConfig) -> str | None:  # noqa: ARG003
        """Refuse a rank above the width of a target layer."""
        layers = backbone.linear_layers()
        for name in backbone.target_layers(config.targets):
            width = min(layer_shape(layers[name]))
            if config.rank > width:
                return f"rank is {config.rank}, but layer {name} allows 1 to {width}"
        return None

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Put a stacked update beside every target layer."""
        for name in backbone.target_layers(self.configs[0].targets):
            layer = StackedLora(
                self.axis,
                model.get_submodule(name),
                f"lora.{name}",
                ranks=[c.rank for c in self.configs],
                scalings=[c.alpha / c.rank for c in self.configs],
                dropouts=[c.dropout for c in self.configs],
            )
            replace_module(model, name, layer)
        return model
