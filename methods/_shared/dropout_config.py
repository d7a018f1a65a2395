"""Settings of the unified dropout framework; its presets change some defaults.

Source: Wang et al. 2024, "LoRA Meets Dropout under a Unified Framework", arXiv:2403.00812. The
choices where the paper is silent are numbered in `methods.unified_dropout`. The settings act in
`methods._shared.dropout_hooks`; the consistency loss is in `methods._shared.dropout_method`.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from gapbench.methods._shared.dropout_masks import Pattern
from gapbench.methods._shared.lowrank import LowRankConfig

LogitRate = Annotated[float, Field(ge=0, lt=1, description="keys dropped before the softmax")]
WeightRate = Annotated[float, Field(ge=0, lt=1, description="keys dropped after the softmax")]
TiedRate = Annotated[
    float | None,
    Field(ge=0, lt=1, description="share of feed-forward outputs dropped; null: logit_rate"),
]
EmbeddingRate = Annotated[float, Field(ge=0, lt=1, description="share of word embeddings dropped")]
HeadRate = Annotated[
    float, Field(ge=0, lt=1, description="share of features dropped at the input of the head")
]
InputRate = Annotated[
    float, Field(ge=0, lt=1, description="share of the update's input features dropped per token")
]
StructuralPattern = Annotated[
    Pattern, Field(description="which entries are dropped together at this position")
]
Consistency = Annotated[
    Literal["none", "kl", "kl_both", "js"],
    Field(
        description="loss between two passes: none; symmetric KL with gradient through the first "
        "(kl) or both (kl_both) passes; KL from a pass without dropping (js)"
    ),
]
Weight = Annotated[
    float,
    Field(
        ge=0,
        description="weight of the consistency loss relative to the mean task loss of the passes",
    ),
]
Layers = Annotated[
    Literal["auto", "all", "latter_half"] | tuple[int, int],
    Field(
        description="layers that drop: all, latter_half, [start, stop), or auto: the latter half "
        "of a decoder-only model, all of any other"
    ),
]


class DroppingConfig(LowRankConfig):
    """Settings of LoRA with dropping. No position drops until its rate is set.

    Appendix E searches rates from 0.01 to 0.2 (0.3 on RTE).
    """

    PER_RUN: ClassVar[frozenset[str]] = LowRankConfig.PER_RUN | {
        "logit_rate",
        "weight_rate",
        "ffn_rate",
        "embedding_rate",
        "head_rate",
        "consistency_weight",
    }

    logit_rate: LogitRate = 0.0
    logit_pattern: StructuralPattern = "column"
    weight_rate: WeightRate = 0.0
    weight_pattern: StructuralPattern = "column"
    normaliser: Literal["stop_gradient", "gradient"] = Field(
        default="stop_gradient",
        description="whether gradient flows through the sum that normalises the remaining weights",
    )
    ffn_rate: TiedRate = 0.0
    ffn_pattern: StructuralPattern = "element"
    embedding_rate: EmbeddingRate = 0.0
    embedding_pattern: StructuralPattern = "column"
    head_rate: HeadRate = 0.0
    rescale: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="whether kept hidden states are multiplied by 1 / (1 - rate); auto: in the "
        "feed-forward output unless spans are cut there",
    )
    layers: Layers = "auto"
    consistency: Consistency = "none"
    consistency_weight: Weight = 1.0
    reduction: Literal["mean", "sum"] = Field(
        default="mean", description="reduction of the consistency loss over a batch"
    )
    regression_consistency: Literal["features", "predictions"] = Field(
        default="features",
        description="what is compared in regression: softmax over the features that the head gets, "
        "or the predictions by squared difference",
    )

    @model_validator(mode="after")
    def _check_layers(self) -> "DroppingConfig":
        if isinstance(self.layers, tuple) and not 0 <= self.layers[0] < self.layers[1]:
            raise ValueError(
                f"field 'layers' is {list(self.layers)}; allowed: [start, stop] with "
                "0 <= start < stop"
            )
        return self

    @property
    def ffn(self) -> float:
        """The rate of the feed-forward position, its own or the tied one."""
        return self.logit_rate if self.ffn_rate is None else self.ffn_rate
