"""Hooks of the unified dropout framework: the places that drop in training.

The settings are in `methods._shared.dropout_config`, the shapes of masks in
`methods._shared.dropout_masks`, the access to the model library's attention in
`bench.models.attention`. Nothing here acts in evaluation mode.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from gapbench.bench.models import attention
from gapbench.bench.models.attention_dropping import AttentionDropping
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.bf16 import InFull
from gapbench.bench.models.head_hooks import reads_last
from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.dropout_config import DroppingConfig
from gapbench.methods._shared.dropout_masks import Pattern, Site, Tokens

# Names that the library uses for the end of a layer's feed-forward part, before the residual sum.
_FEED_FORWARD = ("mlp", "output.dense", "ffn", "fc2", "feed_forward", "block_sparse_moe")


def chosen(layers: str | tuple[int, int], count: int, *, causal: bool) -> range:
    """Return the indices of the layers that drop; the latter half begins at ``count / 2``."""
    if isinstance(layers, tuple):
        return range(*layers)
    half = layers == "latter_half" or (layers == "auto" and causal)
    return range((count + 1) // 2 if half else 0, count)


def unsupported_reason(backbone: Backbone, config: DroppingConfig) -> str | None:
    """Return why a backbone cannot drop at the positions set, None if it can."""
    model: Any = backbone.model()
    inside = config.logit_rate > 0 or config.weight_rate > 0
    family, layers = backbone.family, attention.layers(model)
    if isinstance(config.layers, tuple) and config.layers[1] > len(layers):
        return f"layers ends at {config.layers[1]}, but the backbone has {len(layers)}"
    if config.consistency in {"kl", "js"} and config.consistency_weight == 0:
        return "consistency_weight is 0, so the second pass does nothing; set consistency to 'none'"
    if config.head_rate > 0 and not backbone.head:
        return "the task is answered by the backbone's own head, so no input of a classifier drops"
    if config.embedding_rate > 0 and backbone.config.is_encoder_decoder:
        return two_embeddings(backbone)
    if not (inside or config.ffn > 0):
        return None
    if not layers:
        return f"a {family} backbone keeps no list of its layers, so none can drop"
    if backbone.config.is_encoder_decoder:
        return f"a {family} backbone has layers of two kinds, encoder and decoder, to drop in"
    if not chosen(config.layers, len(layers), causal=attention.is_causal(model)):
        is_none = f"is the latter half of {len(layers)} layer, so none drops"
        return f"layers is {config.layers!r}, which {is_none}; set it to 'all'"
    if config.ffn > 0 and _feed_forward(layers[0]) is None:
        return f"no feed-forward output is known in the layers of a {family} backbone"
    reason = _attention_reason(backbone) if inside else None
    return reason and f"the attention of a {family} backbone cannot drop: {reason}"


def two_embeddings(backbone: Backbone) -> str:
    """Return why nothing acts on the word embeddings of an encoder-decoder."""
    return f"a {backbone.family} backbone embeds words twice, in its encoder and in its decoder"


@lru_cache(maxsize=1)  # runs of one backbone come one after another
def _attention_reason(backbone: Backbone) -> str | None:
    """Return why nothing can drop in the attention of a backbone, None if it can."""
    model: Any = backbone.model()
    ids = torch.arange(1, 13).view(2, 6) % int(backbone.config.vocab_size)
    mask = (torch.arange(6) < torch.tensor([[6], [4]])).long()
    inputs = {"input_ids": ids, "attention_mask": mask}
    with InFull():
        return attention.dropping_unsupported_reason(model, inputs)


class Droppings:
    """The places of one adapted model that drop in training."""

    def __init__(
        self,
        model: "transformers.PreTrainedModel",
        head: Sequence[str],
        axis: RunAxis,
        configs: Sequence[DroppingConfig],
    ) -> None:
        self._axis = axis
        self._configs = configs
        self._tokens = Tokens()
        self._tokens.watch(model)
        axis.varies(self._tokens, "_mask")
        self._features: Tensor | None = None
        self._in_layers(model)
        self._at_embeddings(model)
        self._at_head(model, head)

    def take_features(self) -> Tensor:
        """Return and forget the input of the head in the latest pass, (rows, features)."""
        features, self._features = self._features, None
        assert features is not None, "no pass has reached the head"  # noqa: S101 - for the type
        return features

    def _site(
        self, name: str, drop_rates: Sequence[float], pattern: Pattern, *, rescale: bool = False
    ) -> Site | None:
        """Return a place to drop, None if no run drops there."""
        if not any(drop_rates):
            return None
        vector = self._axis.vector(drop_rates)
        return Site(self._axis, name, vector, pattern, self._tokens, rescale)

    def _in_layers(self, model: "transformers.PreTrainedModel") -> None:
        layers = attention.layers(model)
        if not layers:
            return
        causal = attention.is_causal(model)
        for index in chosen(self._configs[0].layers, len(layers), causal=causal):
            self._in_attention(model, layers[index], index)
            self._after_feed_forward(layers[index], index)

    def _in_attention(
        self, model: "transformers.PreTrainedModel", layer: nn.Module, index: int
    ) -> None:
        shared = self._configs[0]
        drop_rates = [c.logit_rate for c in self._configs]
        logits = self._site(f"logits {index}", drop_rates, shared.logit_pattern)
        drop_rates = [c.weight_rate for c in self._configs]
        weights = self._site(f"weights {index}", drop_rates, shared.weight_pattern)
        if logits is None and weights is None:
            return
        dropping = AttentionDropping(
            logits=None if logits is None else logits.keys,
            weights=None if weights is None else weights.keys,
            stop_gradient=shared.normaliser == "stop_gradient",
        )
        attention.drop_in(model, layer, dropping)

    def _after_feed_forward(self, layer: nn.Module, index: int) -> None:
        shared = self._configs[0]
        rescale = _rescales(shared, auto=shared.ffn_pattern != "span")
        drop_rates = [c.ffn for c in self._configs]
        site = self._site(f"ffn {index}", drop_rates, shared.ffn_pattern, rescale=rescale)
        _drop_output(_feed_forward(layer), site)

    def _at_embeddings(self, model: "transformers.PreTrainedModel") -> None:
        shared = self._configs[0]
        drop_rates = [c.embedding_rate for c in self._configs]
        rescale = _rescales(shared, auto=False)
        site = self._site("embeddings", drop_rates, shared.embedding_pattern, rescale=rescale)
        _drop_output(model.get_input_embeddings(), site)

    def _at_head(self, model: "transformers.PreTrainedModel", head: Sequence[str]) -> None:
        """Drop in the input of the head's first part, and keep it for the consistency loss."""
        drop_rates = [c.head_rate for c in self._configs]
        site = self._site("head", drop_rates, "element", rescale=True)
        last = reads_last(model)

        def forget(*_: object) -> None:
            self._features = None

        def enter(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if self._features is not None:
                return None  # a later part of the head
            x = site.drop(args[0]) if site is not None and module.training else args[0]
            self._features = self._tokens.pick(x, last=last)
            return (x, *args[1:])

        model.register_forward_pre_hook(forget)
        for name in head:
            model.get_submodule(name).register_forward_pre_hook(enter)


def _rescales(config: DroppingConfig, *, auto: bool) -> bool:
    return auto if config.rescale == "auto" else config.rescale == "always"


def _feed_forward(layer: nn.Module) -> nn.Module | None:
    """Return the module whose output is the feed-forward output of a layer."""
    names = dict(layer.named_modules())
    return next((names[name] for name in _FEED_FORWARD if name in names), None)


def _drop_output(module: nn.Module | None, site: Site | None) -> None:
    if module is None or site is None:
        return

    def drop(module: nn.Module, _: tuple[Any, ...], output: Any) -> Any:
        if not module.training:
            return output
        if isinstance(output, tuple):  # experts, with the output of their router
            return (site.drop(output[0]), *output[1:])
        return site.drop(output)

    module.register_forward_hook(drop)
