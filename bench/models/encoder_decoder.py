"""Encoder-decoders as language models: the encoder reads the prompt, the decoder what follows it.

A batch has whole sequences, as for decoders, and the tokens to predict from. What comes before the
first of a sequence's targets is its prompt. In a dialogue of several answers, the decoder also
reads the messages between them.

The decoder begins with the tokens that the model library lets every text begin with; they are given
and not predicted. So no loss is taken of BART's ``<s>``, which the library's own loss counts.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from gapbench.bench.core.errors import BackboneError

Call = tuple[tuple[Any, ...], dict[str, Any]]


def attach(model: nn.Module) -> None:
    """Make an encoder-decoder take the inputs of a decoder, before other hooks see them."""
    model.register_forward_pre_hook(_divide, with_kwargs=True, prepend=True)


def require_beginning(place: str, model: Any, tokenizer: Any) -> None:
    """Refuse a checkpoint that does not say what its decoder begins with.

    Raises:
        BackboneError: naming ``place``, the backbone.
    """
    begun = beginning(model)
    if begun[0] is None:
        raise BackboneError(
            f"{place} has no token that its decoder begins with; name it as "
            "'decoder_start_token_id' in its generation_config.json"
        )
    names_languages = hasattr(tokenizer, "set_tgt_lang_special_tokens")
    if names_languages and begun == [tokenizer.eos_token_id]:
        raise BackboneError(
            f"{place} begins what it writes with the token of a language, and names none; name it "
            "as 'forced_bos_token_id' in its generation_config.json"
        )


def beginning(model: Any) -> list[Any]:
    """Return the tokens that the library's `generate` lets every text begin with."""
    named = model.generation_config
    starts = named.decoder_start_token_id, getattr(model.config, "decoder_start_token_id", None)
    first = next((each for each in starts if each is not None), named.bos_token_id)
    forced = named.forced_bos_token_id
    return [first] if forced is None else [first, forced]


def _divide(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    kwargs.pop("position_ids", None)  # each part counts its own
    cache = kwargs.get("past_key_values")
    if isinstance(cache, EncoderDecoderCache) and cache.get_seq_length():
        kwargs["decoder_input_ids"] = kwargs.pop("input_ids")
        mask = kwargs["attention_mask"]
        # Its keys and values are in the cache; only its shape is looked at.
        kwargs["encoder_outputs"] = BaseModelOutput(mask.new_zeros((*mask.shape, 1)).float())
    elif "positions" in kwargs:
        kwargs |= _parts(model, **{name: kwargs[name] for name in _READ})
    return args, kwargs


_READ = ("input_ids", "attention_mask", "positions")


def _parts(
    model: Any, input_ids: Tensor, attention_mask: Tensor, positions: Tensor
) -> dict[str, Tensor]:
    """Return what encoder and decoder read, and the tokens of the decoder to predict from.

    All arguments are (rows, ...); ``positions``, (rows, wanted), are the tokens before the targets,
    of which the first is the last one of the prompt, padded with any that come before it.
    """
    start = torch.tensor(beginning(model), device=input_ids.device)
    last = positions[:, :1]
    after = (positions - last).clamp(min=0)
    place = torch.arange(int(last.max()) + 1, device=input_ids.device)
    prompt = (place <= last) & attention_mask[:, : len(place)].bool()
    given = torch.arange(1, int(after.max()) + 1, device=input_ids.device)
    where = (last + given).clamp(max=input_ids.shape[1] - 1)
    begun = start.expand(len(input_ids), -1)
    return {
        "input_ids": input_ids[:, : len(place)].masked_fill(~prompt, model.config.pad_token_id),
        "attention_mask": prompt.long(),
        "decoder_input_ids": torch.cat([begun, input_ids.gather(1, where)], dim=1),
        "positions": after + len(start) - 1,
    }
