"""Tiny GGUF files, written as llama.cpp's converter does, of models saved as folders too."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HEADS, KEY_HEADS, LAYERS, WINDOW = 4, 2, 2, 64
_WORDS = ["the cat sees a small red tree", "a dog likes the bird", "a house"]


def save(folder: Path, family: str = "llama") -> Any:
    """Save a random decoder of a family with a byte-level tokenizer, and return it."""
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    config = transformers.AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        max_position_embeddings=WINDOW,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        tie_word_embeddings=False,
    )
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():  # all differ, and by enough to show
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def write(
    path: Path,
    model: Any,
    *,
    kind: str = "F32",
    fields: Mapping[str, str] | None = None,
    tensors: Mapping[str, NDArray[np.float32]] | None = None,
    without: str = " ",
) -> Path:
    """Write a model of `save` as a GGUF file and return its path.

    Args:
        path: where to.
        model: the model.
        kind: format of its matrices, by the name that the package gives it.
        fields: further metadata; ``general.architecture`` replaces the model's own.
        tensors: further tensors.
        without: part of the names of tensors that are left out.
    """
    import gguf

    fields, config = dict(fields or {}), model.config
    family = config.model_type
    writer = gguf.GGUFWriter(path, fields.pop("general.architecture", family))
    writer.add_context_length(WINDOW)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    _add_tokenizer(writer)
    for key, value in fields.items():
        writer.add_string(key, value)
    kept = {name: a for name, a in _tensors(model).items() if without not in name}
    form = gguf.GGMLQuantizationType[kind]
    for name, array in kept.items():
        if array.ndim > 1:
            writer.add_tensor(name, gguf.quants.quantize(array, form), raw_dtype=form)
        else:
            writer.add_tensor(name, array)
    for name, array in (tensors or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(model: Any) -> dict[str, NDArray[np.float32]]:
    """Return a model's weights by the names of the format."""
    import gguf

    family = model.config.model_type
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[family.upper()], LAYERS)
    found = {}
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        if family == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            array = _interleaved(array, HEADS if "q_proj" in name else KEY_HEADS)
        found[str(names.get_name(name, try_suffixes=(".weight", ".bias")))] = array
    return found


def _interleaved(array: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Return a projection with the two halves of each head interleaved, as Llama rotates them."""
    halves = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2)
    return np.ascontiguousarray(halves.reshape(array.shape))


def _tokenizer() -> Any:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(_WORDS, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|endoftext|>",  # noqa: S106
    )


def _add_tokenizer(writer: Any) -> None:
    content = json.loads(_tokenizer().backend_tokenizer.to_str())["model"]
    tokens = sorted(content["vocab"], key=content["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, *[1] * (len(tokens) - 1)])  # control, then plain ones
    writer.add_token_merges([" ".join(pair) for pair in content["merges"]])
    writer.add_eos_token_id(0)
