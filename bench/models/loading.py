"""Load a pretrained model with a task head, or only its tokenizer or configuration, from files.

Weights come from safetensors or GGUF, and no code is ever loaded with them. A head that the
checkpoint has is replaced: every run draws its own from its seed, the same for all methods at that
seed.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
import transformers

from gapbench.bench.config.head import LANGUAGE_MODEL, SEQ_TO_SEQ, HeadType
from gapbench.bench.config.run import Fingerprint, Precision, Quantization
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import BackboneError
from gapbench.bench.core.process import give_back
from gapbench.bench.data import gguf_file
from gapbench.bench.data.digests import vocabulary_files
from gapbench.bench.data.hub_access import explained
from gapbench.bench.data.sources import backbone_folder, backbone_gguf
from gapbench.bench.models import encoder_decoder, gguf_folder
from gapbench.bench.models.backbone import Backbone, embedding_weight, positions_after_padding
from gapbench.bench.models.pretrained_weights import head_modules, require_whole
from gapbench.bench.store.failure import status_of
from gapbench.bench.store.record import Status

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.float32,  # of what trains; see `bench.models.bf16`
    "fp64": torch.float64,
}

_CHANCE = ("dropout", "layerdrop", "drop_path", "jitter")  # in the names of rates of a config
_THRESHOLD = ("phimoe", "router_jitter_noise")  # of its router's mask, in evaluation too
_READ = ("input_ids", "token_type_ids")  # of what a tokenizer returns
# Without a vocabulary the library makes a tokenizer of special tokens and up to two others, to
# which every word is unknown.
_MADE_UP = 2
_NO_VOCABULARY = (
    "backbone {!r} has no vocabulary, so that its tokenizer would know no words; put the tokenizer "
    "that it was trained with (tokenizer.json, or vocab.txt, spiece.model and the like) beside "
    "its config.json, with tokenizer.save_pretrained"
)


def unsupported_reason(name: str, task: Task) -> str | None:
    """Return the reason why a backbone cannot do a task, None if it can.

    Raises:
        BackboneError: if its configuration cannot be read.
    """
    config = read_config(name)
    head = task.head.of(config)
    known, writes = type(config) in getattr(transformers, head.families), True
    if head == LANGUAGE_MODEL:
        writes = type(config) not in transformers.MODEL_FOR_MASKED_LM_MAPPING
    elif head == SEQ_TO_SEQ and not task.prompted:
        return (
            f"an encoder-decoder of the family {config.model_type!r} reads a prompt, and there is "
            f"none: {task.kind} needs a decoder"
        )
    if not (known and writes):
        what = "writes no text" if task.head == LANGUAGE_MODEL else "has no head for it"
        return f"a backbone of the family {config.model_type!r} {what}: {task.kind} needs another"
    return None


@lru_cache(maxsize=1)
def load(
    name: str,
    fingerprint: Fingerprint,
    head: HeadType,
    outputs: int,
    precision: Precision,
    quantization: Quantization | None = None,
) -> Backbone:
    """Load a backbone (built-in name, folder, GGUF file or pinned hub id) with a task head.

    The latest one is cached, since stacks are ordered by task and backbone.

    Raises:
        BackboneError: if it cannot be read, or has no such head.
    """
    tokenizer = load_tokenizer(name)
    try:
        with _quiet():
            model, info, reading = _read(name, head, outputs, precision, tokenizer.pad_token_id)
    except BackboneError:
        raise
    except Exception as error:
        if status_of(error) == Status.OUT_OF_MEMORY:
            raise
        raise _unreadable(name, "cannot be loaded", error) from None
    _require_one_model(name, model)
    model.eval()
    info["missing_keys"] = set(info["missing_keys"]) - set(model.all_tied_weights_keys)
    parts = head_modules(model, head, info["missing_keys"])
    require_whole(f"backbone {name!r}", model, parts, info)
    _require_padding_row(name, model, tokenizer)
    absent = info["missing_keys"] | {each for each, *_ in info["mismatched_keys"]}
    loaded = Backbone(fingerprint, model, tokenizer, parts, sorted(absent))
    if info["mismatched_keys"]:
        reading["ignore_mismatched_sizes"] = True
    if (packed := backbone_gguf(name)) is not None:
        gguf_file.require_all_read(packed, _numbers(model.base_model))
        reading["gguf_file"] = packed.name
    loaded.reading = reading
    if head.of(model.config) == SEQ_TO_SEQ:
        encoder_decoder.require_beginning(f"backbone {name!r}", model, tokenizer)
        loaded.packs = False
    if quantization is not None:
        loaded.quantize(quantization)
    if precision == "bf16":
        loaded.store_in_bf16()
        give_back()
    return loaded


def _read(
    name: str, head: HeadType, outputs: int, precision: Precision, padding: int
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return the model, what the library says of its weights, and the arguments it needed."""
    config = read_config(name, num_labels=outputs)
    _require_floats(name, config)
    _switch_off_dropout(config)
    own, config.pad_token_id = getattr(config, "pad_token_id", None), padding
    read = partial(
        getattr(transformers, head.of(config).auto_class).from_pretrained,
        **_location(name, weights=True),
        config=config,
        dtype=DTYPES[precision],
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # of a head for other classes; refused elsewhere
        attn_implementation=None,  # fused where the family has it, else plain
        # The fused product of experts does not know float64.
        experts_implementation="eager" if precision == "fp64" else None,
    )
    reading: dict[str, Any] = {}
    model, info = read()
    if own not in (None, padding) and positions_after_padding(model):
        # Its positions begin after the token that it was trained with as padding.
        config.pad_token_id = own
        model, info = read()
    for names in _other_names(model):
        if _input_embedding(model) in info["missing_keys"]:
            reading = {"key_mapping": names}
            model, info = read(**reading)
    return model, info, reading


def _require_one_model(name: str, model: Any) -> None:
    """Refuse a backbone with an adapter, and one of several models."""
    if getattr(model, "_hf_peft_config_loaded", False):
        raise BackboneError(f"backbone {name!r} holds an adapter too; give one without")
    if (others := _other_models(model)) and not model.config.is_encoder_decoder:
        raise BackboneError(
            f"backbone {name!r} is made of several models ({', '.join(others)}), and texts reach "
            "only one; save that alone, as docs/families.md shows, and give its folder"
        )


def _require_padding_row(name: str, model: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer whose padding token the model has no embedding of."""
    embedding = embedding_weight(model)
    if embedding is not None and tokenizer.pad_token_id >= len(embedding):
        raise BackboneError(
            f"backbone {name!r}: its padding token {tokenizer.pad_token!r} has the id "
            f"{tokenizer.pad_token_id}, but its embedding has {len(embedding)} rows; name another "
            "'pad_token' in its tokenizer_config.json, or save the model again after "
            "resize_token_embeddings(len(tokenizer))"
        )


def _other_models(model: Any) -> list[str]:
    """Return the names of models inside a model that have a configuration of another kind."""
    return [
        name
        for name, part in model.named_modules()
        if isinstance(part, transformers.PreTrainedModel)
        and type(part.config) is not type(model.config)
    ]


def _other_names(model: Any) -> list[dict[str, str]]:
    """Return other names, as patterns, that a checkpoint may use for a model's weights."""
    # The library's decoders with a head for spans have another name for the model inside.
    inside = {r"^(model|transformer)\.": f"{model.base_model_prefix}."}
    # An embedding tied to a language-model head may be stored only under the head's name.
    tied = {r"^lm_head\.weight$": name} if (name := _input_embedding(model)) else {}
    return [inside, tied, inside | tied]


def read_config(name: str, **settings: Any) -> Any:
    """Return the model library's configuration of a backbone, with some settings changed.

    Raises:
        BackboneError: if it cannot be read.
    """
    try:
        return transformers.AutoConfig.from_pretrained(**_location(name), **settings)
    except Exception as error:
        raise _unreadable(name, "cannot be loaded", error) from None


def load_tokenizer(name: str) -> Any:
    """Load a backbone's tokenizer; a missing padding token is set to the end-of-text token.

    Raises:
        BackboneError: if there is none, it reads no texts, or it has neither of these tokens.
    """
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(**_location(name))
    except Exception as error:
        found = _tokenizer_files(name)
        if found == []:
            raise BackboneError(_NO_VOCABULARY.format(name)) from None
        inside = f" from {', '.join(found)}" if found else ""
        raise _unreadable(name, f"has a tokenizer that cannot be loaded{inside}", error) from None
    if len(tokenizer) - len(set(tokenizer.all_special_tokens)) <= _MADE_UP:
        raise BackboneError(_NO_VOCABULARY.format(name))
    if (reason := _unreadable_text(tokenizer)) is not None:
        raise BackboneError(
            f"backbone {name!r}: its tokenizer, a {type(tokenizer).__name__}, reads no plain text "
            f"({reason}); give a backbone that was trained on texts alone"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise BackboneError(
            f"backbone {name!r}: its tokenizer has neither a padding token nor an end-of-text "
            "token to pad batches with; name one of its tokens as 'pad_token' in its "
            "tokenizer_config.json"
        )
    if getattr(tokenizer, "tgt_lang", "") is None:  # M2M100 would read no text to be written
        tokenizer.tgt_lang = tokenizer.src_lang
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return tokenizer


def _unreadable_text(tokenizer: Any) -> str | None:
    """Return why a tokenizer does not make one list of tokens of a text, None if it does."""
    try:
        read = tokenizer("text")
        nested = any(np.ndim(read[name]) != 1 for name in _READ if name in read)
    except Exception as error:  # of a table, a web page, or words with places on a page
        return f"{type(error).__name__}: {error}"
    return "it gives several numbers for each token" if nested else None


def _tokenizer_files(name: str) -> list[str] | None:
    """Return the names of a backbone's vocabulary files, None if it is on the hub."""
    folder = backbone_folder(name)
    if folder is None:
        return None
    if (packed := backbone_gguf(name)) is not None:
        return [packed.name]
    return vocabulary_files(folder)


def _input_embedding(model: Any) -> str | None:
    """Return the name of the weight that embeds the tokens, None if no single one does."""
    weight = embedding_weight(model)
    return next((name for name, p in model.named_parameters() if p is weight), None)


def _require_floats(name: str, config: Any) -> None:
    """Refuse a checkpoint whose weights are already quantised."""
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return
    fields = stored if isinstance(stored, dict) else stored.to_dict()
    raise BackboneError(
        f"backbone {name!r}: the weights of its checkpoint are already quantised "
        f"('quantization_config' of its config.json: {fields.get('quant_method', 'unknown')}), and "
        "their exact numbers depend on the library that reads them; give the checkpoint that it "
        "was made from, and set field 'quantization' of the suite"
    )


def _switch_off_dropout(config: Any) -> None:
    """Set every rate of a configuration, and of those inside it, to 0.

    Layers left out by chance and noise before a router count: the library draws both from a
    generator of its own, once for all runs of a stack.
    """
    for name, value in config.to_dict().items():
        is_rate = isinstance(value, int | float) and not isinstance(value, bool)
        is_rate &= (config.model_type, name) != _THRESHOLD
        if is_rate and (name.endswith("pdrop") or any(word in name for word in _CHANCE)):
            setattr(config, name, type(value)(0))
    for name in config.sub_configs:  # of a model of parts, such as an encoder and a decoder
        if (part := getattr(config, name, None)) is not None:
            _switch_off_dropout(part)


def _unreadable(name: str, what: str, error: Exception) -> BackboneError:
    """Return the error for files that the model library cannot read.

    The files may hold anything, so the library may raise any exception.
    """
    if "trust_remote_code" in str(error):
        cause = (
            "it needs program code of its own, which is never run; give a family that the model "
        )
        return BackboneError(f"backbone {name!r} {what}: {cause}library knows")
    kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
    return BackboneError(f"backbone {name!r} {what}: {kind}{explained(error)}")


def _numbers(model: Any) -> int:
    """Return the count of a model's stored numbers, shared ones once."""
    stored = model.state_dict().values()
    return sum({tensor.data_ptr(): tensor.numel() for tensor in stored}.values())


def _location(name: str, *, weights: bool = False) -> dict[str, Any]:
    """Return the path or hub id of a backbone for the model library, with its options.

    Args:
        name: name of the backbone.
        weights: whether its weights are wanted, and not its configuration or tokenizer.
    """
    packed = backbone_gguf(name)
    folder = backbone_folder(name) if packed is None else gguf_folder.described(packed)
    repository, _, revision = name.partition("@")
    place = {
        "pretrained_model_name_or_path": repository if folder is None else str(folder),
        "revision": revision if folder is None else None,
        "local_files_only": folder is not None,
        "trust_remote_code": False,
    }
    return place | gguf_folder.weights(packed) if weights and packed is not None else place


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the library's table of newly initialised weights, which are expected here."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
