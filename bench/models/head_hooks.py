"""Hooks that make a model compute logits at targets only.

After `attach`, a call of the model takes the inputs of `EncodedSplit.inputs_and_targets` besides
the backbone's own. Its output has ``logits`` of shape (rows, ..., outputs), one softmax (or value)
per target. Names and parameters of the model do not change.
"""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from gapbench.bench.config.head import LANGUAGE_MODEL, SPAN, HeadType
from gapbench.bench.models import attention, encoder_decoder, given_masks

_RULED_OUT = -1e9  # logit of a token that is not an answer; finite, so that logits can be averaged


def attach(model: Any, head: HeadType) -> None:
    """Make ``model`` take the inputs and return the logits of a task with this head."""
    if head == LANGUAGE_MODEL:
        if model.config.is_encoder_decoder:
            encoder_decoder.attach(model)
        _Positions().attach(model)
        given_masks.attach(model)
    elif head == SPAN:
        _Ends().attach(model)
    elif _summarises_last(model):
        _LastToken().attach(model)


def reads_last(model: Any) -> bool:
    """Whether the head of a classifier reads the last token of a text, and not the first."""
    return _summarises_last(model) or (bool(attention.layers(model)) and attention.is_causal(model))


def _summarises_last(model: Any) -> bool:
    summary = getattr(model, "sequence_summary", None)
    return getattr(summary, "summary_type", None) == "last"


def at_positions(hidden: Tensor, positions: Tensor) -> Tensor:
    """Return the hidden states (rows, tokens, width) at some tokens, (rows, positions, width)."""
    return hidden.gather(1, positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))


class _Positions:
    """Passes only hidden states that predict targets to the head of a language model.

    The vocabulary is large and targets are few, so this saves most of the head's work and memory.
    """

    def __init__(self) -> None:
        self._wanted: Tensor | None = None

    def attach(self, model: Any) -> None:
        model.register_forward_pre_hook(self._take, with_kwargs=True)
        model.get_output_embeddings().register_forward_pre_hook(self._choose)

    def _take(
        self, _model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self._wanted = kwargs.pop("positions", None)
        kwargs.setdefault("use_cache", False)
        return args, kwargs

    def _choose(self, _head: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *rest = args
        return args if self._wanted is None else (at_positions(hidden, self._wanted), *rest)


class _Ends:
    """Gives the two ends of a span as targets over the tokens where an answer may be.

    These are the tokens of the context, and token 0 (an encoder's [CLS]), which means no answer. A
    decoder's token 0 sees only itself, so its logits are the same for all questions that begin with
    the same token. They act as a threshold for the tokens of the context, which see the question.
    """

    def __init__(self) -> None:
        self._context: Tensor | None = None

    def attach(self, model: nn.Module) -> None:
        model.register_forward_pre_hook(self._take, with_kwargs=True)
        model.register_forward_hook(self._stack)

    def _take(
        self, _model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self._context = kwargs.pop("context")
        return args, kwargs

    def _stack(self, _model: nn.Module, _args: Any, output: Any) -> SimpleNamespace:
        logits = torch.stack([output.start_logits, output.end_logits], dim=1)
        assert self._context is not None  # noqa: S101 - every call of the model passes it
        place = torch.arange(logits.shape[-1], device=logits.device)
        first, stop = self._context.unsqueeze(-1).unbind(1)
        allowed = ((place >= first) & (place < stop)) | (place == 0)
        return SimpleNamespace(logits=logits.masked_fill(~allowed.unsqueeze(1), _RULED_OUT))


class _LastToken:
    """Gives a head that reads the last position of a row (XLNet) the last token of each text."""

    def __init__(self) -> None:
        self._mask: Tensor | None = None

    def attach(self, model: Any) -> None:
        model.register_forward_pre_hook(self._take, with_kwargs=True)
        model.sequence_summary.register_forward_pre_hook(self._choose)

    def _take(self, _model: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._mask = kwargs["attention_mask"]

    def _choose(self, _head: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Turn hidden states (rows, tokens, width) into (rows, 1, width)."""
        hidden, *rest = args
        assert self._mask is not None  # noqa: S101 - every call of the model passes it
        last = self._mask.sum(dim=1).view(-1, 1, 1) - 1
        return (hidden.gather(1, last.expand(-1, -1, hidden.shape[-1])), *rest)
