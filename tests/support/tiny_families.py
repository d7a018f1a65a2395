"""Tiny random models of any family of the model library, from its own default configuration."""

import hashlib
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from gapbench.bench.config.head import LANGUAGE_MODEL, HeadType
from gapbench.bench.config.run import Fingerprint, Precision
from gapbench.bench.models import loading
from gapbench.bench.models.backbone import Backbone

VOCABULARY = 64
_HEAD_PRETRAINED = {"modernbert"}  # part of what stands before its heads comes with checkpoints
_LARGEST = 7_000_000  # parameters
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
_LATENT = {"num_key_value_heads": 4}  # keys and values from one small vector
_OF_FAMILY: dict[str, dict[str, Any]] = {
    "axk1": _LATENT,
    "axk2": _LATENT,
    "bamba": {"attn_layer_indices": [1]},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}
    },
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT,
    "deepseek_v32": _LATENT,
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "ernie4_5_moe": {"moe_k": 2},
    "esm": {"token_dropout": True, "mask_token_id": 3},
    "esmc": {"num_key_value_heads": 4},
    "falcon_h1": {"mamba_d_ssm": 64},
    "funnel": {
        "block_sizes": [1, 1],
        "num_hidden_layers": None,
        "d_head": 8,
        "architectures": ["FunnelModel"],
    },
    "gemma3n_text": {
        "num_kv_shared_layers": 0,
        "activation_sparsity_pattern": [0.0, 0.0],
        "laurel_rank": 4,
    },
    "glm_moe_dsa": _LATENT,
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "layoutlmv3": {"coordinate_size": 6, "shape_size": 4, "input_size": 32},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "lilt": {"hidden_size": 48},
    "longcat_flash": {
        "expert_ffn_hidden_size": 16,
        "zero_expert_num": 2,
        "moe_topk": 2,
        "num_key_value_heads": 4,
    },
    "longformer": {"attention_window": [8, 8]},
    "luke": {"entity_vocab_size": 8, "entity_emb_size": 16},
    "minicpm3": _LATENT,
    "mistral4": _LATENT,
    "mamba2": {"num_heads": 8, "head_dim": 8, "expand": 2},
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    },
    "recurrent_gemma": {"num_hidden_layers": 3, "lru_width": 32},
    "reformer": {"axial_pos_shape": [16, 16], "axial_pos_embds_dim": [8, 24]},
    "roc_bert": {
        "pronunciation_vocab_size": 8,
        "pronunciation_embed_dim": 16,
        "shape_vocab_size": 8,
        "shape_embed_dim": 16,
    },
    "xlnet": {"max_position_embeddings": None},
    "xlstm": {"hidden_size": 128, "embedding_dim": 128},
    "xmod": {"default_language": "en_XX"},
    "youtu": _LATENT,
    "zamba": {"num_key_value_heads": 4},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"], "num_key_value_heads": 4},
    "zaya": {"num_experts_per_tok": 1},
}
"""Sizes that depend on others there; None where a family has no such setting."""
_STARTS = dict.fromkeys(("m2m_100", "nllb-moe"), 2)  # they give padding no place in a text


def config(family: str, **settings: Any) -> Any:
    """Return a small configuration of a family, with every kind of layer that it mixes.

    Args:
        family: the library's name of it, such as ``gemma2``.
        settings: laid over the small sizes.
    """
    kind = type(transformers.AutoConfig.for_model(family))
    made = kind(**(_sizes(kind(), family) | settings))
    if made.is_encoder_decoder:
        made.decoder_start_token_id = _STARTS.get(family, made.pad_token_id)
    loading._switch_off_dropout(made)
    return made


def _sizes(default: Any, family: str) -> dict[str, Any]:
    """Return small values of the settings that a configuration has, and of those inside it."""
    kind, known = type(default), default.to_dict()
    sizes = {
        name: value
        for name, value in _SIZES.items()
        if (name in known or hasattr(kind, name)) and not _is_derived(kind, name)
    }
    if known.get("sliding_window", 0) is None:
        sizes.pop("sliding_window", None)
    for name in ("layer_types", "mlp_layer_types", "layers_block_type"):
        if kinds := list(dict.fromkeys(known.get(name) or ())):
            sizes[name] = kinds if len(kinds) > 1 else kinds * 2
            sizes["num_hidden_layers"] = len(sizes[name])
    if "attention_types" in known:
        sizes["attention_types"] = [[["global", "local"], 1]]
    if "qk_rope_head_dim" in known and "head_dim" in sizes:
        sizes["head_dim"] = sizes["qk_rope_head_dim"]
    for name in kind.sub_configs:
        if (part := getattr(default, name, None)) is not None:
            sizes[name] = {"model_type": part.model_type} | _sizes(part, part.model_type)
    sizes |= _OF_FAMILY.get(family, {})
    return {name: value for name, value in sizes.items() if value is not None}


def _is_derived(kind: type, name: str) -> bool:
    """Whether a setting follows from others."""
    own = getattr(kind, name, None)
    return isinstance(own, property) and own.fset is None


def decoder(family: str, **settings: Any) -> Any:
    """Return a causal language model whose weights are large enough for errors to show."""
    return _drawn(transformers.AutoModelForCausalLM, config(family, **settings))


def save(family: str, folder: Path, head: HeadType, **settings: Any) -> Path:
    """Save a tiny checkpoint and a tokenizer of whole words, as a backbone for tasks with a head.

    Heads are not saved, except that of a language model.
    """
    made = config(family, **settings)
    of_head = head.of(made)
    writes = head == LANGUAGE_MODEL and type(made) in getattr(transformers, of_head.families)
    auto = getattr(transformers, of_head.auto_class if writes else "AutoModel")
    if family in _HEAD_PRETRAINED:
        auto = transformers.AutoModelForMaskedLM
    _drawn(auto, made).save_pretrained(folder)
    encodes = made.is_encoder_decoder or not (writes or _is_causal(made))
    tokenizer(special=encodes).save_pretrained(folder)
    return folder


def load(
    family: str,
    folder: Path,
    head: HeadType,
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
            pair="[BOS] $A [EOS] [EOS] $B [EOS]",
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
    """Return the decoder-only families of the library, and others that classify or write texts."""
    writers = [c.model_type for c in transformers.MODEL_FOR_CAUSAL_LM_MAPPING]
    readers = [c.model_type for c in transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING]
    masked = {c.model_type for c in transformers.MODEL_FOR_MASKED_LM_MAPPING}
    seq_to_seq = transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    both = {c.model_type for c in seq_to_seq if c().is_encoder_decoder}
    decoders = [name for name in writers if name not in masked | both]
    encoders = [name for name in [*readers, *both] if name not in decoders]
    return sorted(set(decoders)), sorted(set(encoders))


def buildable(family: str) -> str | None:
    """Return why no tiny model of a family is made here, None if one can be."""
    try:
        made = config(family)
        auto: Any = transformers.AutoModelForCausalLM
        if not _is_causal(made):
            auto = transformers.AutoModel
        with torch.device("meta"):
            model = auto.from_config(made)
        size = sum(parameter.numel() for parameter in model.parameters())
        if size > _LARGEST:
            return f"it has {size / 1e6:.0f} M parameters at the least"
        inputs = {"input_ids": torch.arange(4, 12)[None]}
        if made.is_encoder_decoder:
            inputs["decoder_input_ids"] = inputs["input_ids"]
        with torch.no_grad():
            auto.from_config(made).eval()(inputs.pop("input_ids"), **inputs)
    except Exception as error:  # its defaults may fit no small size
        lines = str(error.__cause__ or error).splitlines()
        return next((line for line in lines if line.strip()), type(error).__name__)[:100].strip()
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
