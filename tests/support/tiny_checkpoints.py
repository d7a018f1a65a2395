"""Small random checkpoints of many families, saved as the model library saves them."""

import string
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION, HeadType
from gapbench.bench.config.run import Fingerprint
from gapbench.bench.core.schema import content_hash
from gapbench.bench.models import loading
from gapbench.bench.models.backbone import Backbone

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [*string.ascii_letters, *string.digits, *string.punctuation]
VOCABULARY = {word: n for n, word in enumerate([*SPECIAL, *LETTERS, *(f"##{c}" for c in LETTERS)])}
WINDOW = 64

_ALL: dict[str, Any] = {"vocab_size": len(VOCABULARY), "pad_token_id": 0}
_ENCODER = _ALL | {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": WINDOW,
}
_BOTH = _ALL | {"eos_token_id": 3, "bos_token_id": 2, "decoder_start_token_id": 3}
_BART = _BOTH | {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": WINDOW,
}
_T5 = _BOTH | {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
_XLM = _ALL | {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "max_position_embeddings": WINDOW}
_GPT = _ALL | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": WINDOW}
CONFIGS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("bert", "roberta", "electra", "camembert", "mpnet", "xlm-roberta"), _ENCODER),
    **dict.fromkeys(("big_bird", "splinter", "convbert", "nystromformer", "yoso"), _ENCODER),
    "albert": _ENCODER | {"embedding_size": 32},
    "modernbert": _ENCODER | {"sep_token_id": 3, "cls_token_id": 2},
    "deberta-v2": _ENCODER | {"type_vocab_size": 0},
    "fnet": _ENCODER | {"type_vocab_size": 2},
    "distilbert": _ALL | {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
    **dict.fromkeys(("bart", "mbart", "mvp", "plbart", "bigbird_pegasus"), _BART),
    **dict.fromkeys(("t5", "mt5", "umt5"), _T5),
    **dict.fromkeys(("xlm", "flaubert"), _XLM | {"pad_index": 0}),
    "xlnet": _ALL | {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48},
    "perceiver": _ALL
    | {
        "d_model": 32,
        "d_latents": 32,
        "num_latents": 8,
        "num_self_attends_per_block": 2,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4,
        "max_position_embeddings": WINDOW,
    },
    "gpt2": _GPT,
    "gptj": _GPT | {"rotary_dim": 4},
    "llama": _ENCODER,
    "gpt_neox": _ENCODER,
    "opt": _ENCODER | {"word_embed_proj_dim": 32, "ffn_dim": 48},
    "falcon": _ENCODER,
}
DECODERS = ("gpt2", "gptj", "llama", "gpt_neox", "opt", "falcon")


def save(folder: Path, family: str, auto_class: str = "AutoModel", **changes: Any) -> Path:
    """Save a random checkpoint of a family into a new folder, with its tokenizer.

    Args:
        folder: where to.
        family: one of `CONFIGS`.
        auto_class: of the model library; it decides which head the checkpoint has.
        changes: of the configuration.
    """
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **CONFIGS[family] | changes)
    model = getattr(transformers, auto_class).from_config(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(3)  # large enough for differences to show
    model.save_pretrained(folder)
    tokenizer(family).save_pretrained(folder)
    return folder


def tokenizer(family: str) -> Any:
    """Return a tokenizer of letters; decoders' texts begin with no token, others' with [CLS]."""
    made = Tokenizer(models.WordPiece(VOCABULARY, unk_token="[UNK]"))  # noqa: S106
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if family not in DECODERS:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
    marks = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="[UNK]",  # noqa: S106
        **({"eos_token": "[SEP]"} if family in DECODERS else marks | {"eos_token": "[SEP]"}),
        model_max_length=WINDOW,
        model_input_names=["input_ids", "attention_mask"],
    )


def load(folder: Path, head: HeadType = SEQUENCE_CLASSIFICATION, outputs: int = 2) -> Backbone:
    """Load a folder anew as a backbone with a head."""
    fingerprint = Fingerprint(name=folder.name, digest=content_hash(str(folder))[:16])
    loading.load.cache_clear()
    return loading.load(str(folder), fingerprint, head, outputs, "fp32")
