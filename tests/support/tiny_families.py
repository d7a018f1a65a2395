"""Tiny random models of any family of the model library, from its own default configuration."""

import hashlib
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from gapbench.bench.config.head import LANGUAGE_MODEL, Head
from gapbench.bench.config.run import Fingerprint, Precision
from gapbench.bench.models import loading
from gapbench.bench.models.backbone import Backbone

VOCABULARY = 64
_HEAD_PRETRAINED = {"modernbert"}  # part of what stands before its heads comes with checkpoints
_LARGEST = 3_000_000  # parameters
_WIDTHS = dict.fromkeys(
    (
        "hidden_size",
        "d_model",
        "n_embd",
        "embed_dim",
        "emb_dim",
        "dim",
        "word_embed_proj_dim",
        "embedding_size",
        "rwkv_hidden_size",
    ),
    32,
)
_INNER = dict.fromkeys(
    (
        "intermediate_size",
        "ffn_dim",
        "n_inner",
        "ffn_hidden_size",
        "d_ff",
        "d_inner",
        "hidden_dim",
        "decoder_ffn_dim",
        "encoder_ffn_dim",
    ),
    48,
)
_COUNTS = {
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("decoder_layers", "encoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    "num_experts_per_tok": 2,
}
_LENGTHS = dict.fromkeys(
    (
        "max_position_embeddings",
        "n_positions",
        "n_ctx",
        "max_seq_len",
        "max_sequence_length",
        "max_target_positions",
        "max_source_positions",
    ),
    256,
)
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    **_WIDTHS,
    **_INNER,
    **_COUNTS,
    **_LENGTHS,
    **dict.fromkeys(("head_dim", "d_kv", "v_head_dim"), 8),
    **dict.fromkeys(("rotary_dim", "qk_rope_head_dim", "qk_nope_head_dim", "state_size"), 4),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "mamba_d_head", "mamba_n_heads"), 8),
    **dict.fromkeys(("sliding_window", "window_size"), 16),
    **dict.fromkeys(("n_group", "topk_group", "first_k_dense_replace"), 1),
    "mamba_d_state": 4,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_OF_FAMILY: dict[str, dict[str, Any]] = {
    "falcon_h1": {"mamba_d_ssm": 64},
    "deepseek_v2": {"num_key_value_heads": 4},
    "longformer": {"attention_window": [8, 8]},
    "minicpm3": {"num_key_value_heads": 4},
    "mistral4": {"num_key_value_heads": 4},
    "mamba2": {"num_heads": 8, "head_dim": 8, "expand": 2},
    "xlnet": {"max_position_embeddings": None},
}
"""Sizes that depend on others there; None where a family has no such setting."""


def config(family: str, **settings: Any) -> Any:
    """Return a small configuration of a family, with every kind of layer that it mixes.

    Args:
        family: the library's name of it, such as ``gemma2``.
        settings: laid over the small sizes.
    """
    kind = type(transformers.AutoConfig.for_model(family))
    known = kind().to_dict()
    sizes = {
        name: value
        for name, value in _SIZES.items()
        if (name in known or hasattr(kind, name)) and not _is_derived(kind, name)
    }
    sizes |= _OF_FAMILY.get(family, {})
    sizes = {name: value for name, value in sizes.items() if value is not None}
    if known.get("sliding_window", 0) is None:
        sizes.pop("sliding_window", None)
    if kinds := list(dict.fromkeys(known.get("layer_types") or ())):
        sizes["layer_types"] = kinds if len(kinds) > 1 else kinds * 2
        sizes["num_hidden_layers"] = len(sizes["layer_types"])
    if "attention_types" in known:
        sizes["attention_types"] = [[["global", "local"], 1]]
    made = kind(**(sizes | settings))
    if made.is_encoder_decoder:
        made.decoder_start_token_id = made.pad_token_id
    loading._switch_off_dropout(made)
    return made


def _is_derived(kind: type, name: str) -> bool:
    """Whether a setting follows from others."""
    own = getattr(kind, name, None)
    return isinstance(own, property) and own.fset is None


def decoder(family: str, **settings: Any) -> Any:
    """Return a causal language model whose weights are large enough for errors to show."""
    return _drawn(transformers.AutoModelForCausalLM, config(family, **settings))


def save(family: str, folder: Path, head: Head, **settings: Any) -> Path:
    """Save a tiny checkpoint and a tokenizer of whole words, as a backbone for tasks with a head.

    Heads are not saved, except that of a language model.
    """
    made = config(family, **settings)
    writes = head == LANGUAGE_MODEL and type(made) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    auto = transformers.AutoModelForCausalLM if writes else transformers.AutoModel
    if family in _HEAD_PRETRAINED:
        auto = transformers.AutoModelForMaskedLM
    _drawn(auto, made).save_pretrained(folder)
    encodes = made.is_encoder_decoder or not (writes or _is_causal(made))
    tokenizer(special=encodes).save_pretrained(folder)
    return folder


def load(
    family: str,
    folder: Path,
    head: Head,
    outputs: int = 2,
    precision: Precision = "fp32",
    **settings: Any,
) -> Backbone:
    """Save a tiny checkpoint and load it as the engine does."""
    save(family, folder, head, **settings)
    fingerprint = Fingerprint(name=family, digest=hashlib.sha256(str(folder).encode()).hexdigest())
    return loading.load(str(folder), fingerprint, head, outputs, precision)


def tokenizer(*, special: bool) -> Any:
    """Return a tokenizer of the words ``w4`` to ``w63``.

    Args:
        special: whether it puts a token before a text and one behind it, as encoders have them.
    """
    names = ["[PAD]", "[BOS]", "[EOS]", "[UNK]"]
    words = [*names, *(f"w{number}" for number in range(len(names), VOCABULARY))]
    vocabulary = {word: number for number, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if special:
        made.post_processor = processors.TemplateProcessing(
            single="[BOS] $A [EOS]",
            pair="[BOS] $A [EOS] $B [EOS]",
            special_tokens=[("[BOS]", 1), ("[EOS]", 2)],
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",  # noqa: S106
        bos_token="[BOS]",  # noqa: S106
        eos_token="[EOS]",  # noqa: S106
        unk_token="[UNK]",  # noqa: S106
        model_max_length=250,
        model_input_names=["input_ids", "attention_mask"],
    )


def families() -> tuple[list[str], list[str]]:
    """Return the decoder-only families of the library, and all others that classify texts."""
    writers = [c.model_type for c in transformers.MODEL_FOR_CAUSAL_LM_MAPPING]
    readers = [c.model_type for c in transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING]
    masked = {c.model_type for c in transformers.MODEL_FOR_MASKED_LM_MAPPING}
    both = {c.model_type for c in transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING}
    decoders = [name for name in writers if name not in masked | both]
    encoders = [name for name in readers if name not in decoders]
    return sorted(set(decoders)), sorted(set(encoders))


def buildable(family: str) -> str | None:
    """Return why no tiny model of a family is made here, None if one can be."""
    try:
        made = config(family)
        auto: Any = transformers.AutoModelForCausalLM
        if type(made) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
            auto = transformers.AutoModel
        with torch.device("meta"):
            model = auto.from_config(made)
        size = sum(parameter.numel() for parameter in model.parameters())
        if size > _LARGEST:
            return f"{size / 1e6:.0f} M parameters at the least"
        inputs = {"input_ids": torch.arange(4, 12)[None]}
        if made.is_encoder_decoder:
            inputs["decoder_input_ids"] = inputs["input_ids"]
        with torch.no_grad():
            auto.from_config(made).eval()(**inputs)
    except Exception as error:  # its defaults may fit no small size
        return f"{type(error).__name__}: {error}".splitlines()[0][:100]
    return None


def _is_causal(made: Any) -> bool:
    """Whether a configuration is of a decoder-only family."""
    masked = type(made) in transformers.MODEL_FOR_MASKED_LM_MAPPING
    return type(made) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and not masked


def _drawn(auto: Any, settings: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = auto.from_config(settings).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.mul_(3)
    return model
