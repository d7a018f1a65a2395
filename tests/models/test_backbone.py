"""Loading backbones as other people's tools have saved them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from gapbench.bench.config.head import LANGUAGE_MODEL, SEQUENCE_CLASSIFICATION
from gapbench.bench.config.run import Fingerprint
from gapbench.bench.core.errors import BackboneError
from gapbench.bench.models import loading
from gapbench.bench.models.loading import load, load_tokenizer
from tests.support import tiny_checkpoints, tiny_families
from tests.support.causal_files import TELL, make, make_decoder, make_task
from tests.support.small_stack import MakeBackbone, load_backbone, make_runs


def test_embedding_stored_as_the_tied_head_alone_is_found(
    make_backbone: MakeBackbone, tmp_path: Path
) -> None:
    """A language model that ties its embeddings may be saved with the head's weight only."""
    original = make_backbone("llama")
    weights = {f"model.{k}": v for k, v in load_file(original / "model.safetensors").items()}
    weights["lm_head.weight"] = weights.pop("model.embed_tokens.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((original / "config.json").read_text())
    config |= {"tie_word_embeddings": True, "architectures": ["LlamaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for file in original.glob("token*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    backbone = load(
        str(tmp_path), Fingerprint(name="tied", digest="1"), SEQUENCE_CLASSIFICATION, 2, "fp64"
    )
    expected = load_backbone(original, make_runs("lora")).model()
    found = dict(backbone.model().named_parameters())
    assert backbone.head == ("score",)
    for name, parameter in expected.named_parameters():
        if not name.startswith("score"):
            assert torch.equal(found[name], parameter), name


@pytest.mark.parametrize("family", ["roberta", "camembert", "xlm-roberta", "mpnet"])
def test_positions_begin_where_the_checkpoint_s_do(family: str, tmp_path: Path) -> None:
    """They follow the padding token of its configuration, whatever the tokenizer's is."""
    backbone = tiny_checkpoints.load(
        tiny_checkpoints.save(tmp_path / family, family, pad_token_id=1)
    )
    assert backbone.tokenizer.pad_token_id == 0
    library = transformers.AutoModel.from_pretrained(tmp_path / family).eval()
    model: Any = backbone.model()
    long = torch.full((1, tiny_checkpoints.WINDOW - 2), 9)
    rows = torch.tensor([[2, 7, 8, 3, 0, 0], [2, 7, 8, 9, 7, 3]])
    with torch.inference_mode():
        together = model.base_model(rows, attention_mask=(rows > 0).long()).last_hidden_state
        alone = [library(row[row > 0][None]).last_hidden_state[0] for row in rows]
        library(long)
    for ours, own in zip(together, alone, strict=True):
        torch.testing.assert_close(ours[: len(own)], own, atol=1e-5, rtol=0)
    assert backbone.reader.window == long.shape[1]


def without(folder: Path, *tokens: str) -> Path:
    """Save a decoder whose tokenizer lacks some special tokens."""
    make_decoder(folder, "gpt2")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for token in tokens:
        setattr(tokenizer, token, None)
    tokenizer.save_pretrained(folder)
    return folder


def test_tokenizer_that_cannot_pad_is_refused(tmp_path: Path) -> None:
    """The folder and the setting that is missing are named; an end-of-text token stands in."""
    folder = without(tmp_path / "one", "pad_token", "eos_token")
    with pytest.raises(BackboneError, match=rf"{folder}.* neither a padding .*'pad_token' in its"):
        load_tokenizer(str(folder))
    assert load_tokenizer(str(without(tmp_path / "other", "pad_token"))).pad_token == "[EOS]"  # noqa: S105


def test_tokenizer_that_cannot_end_a_text_is_refused_for_generation(tmp_path: Path) -> None:
    """Otherwise no model could learn to stop."""
    folder = without(tmp_path / "decoder", "eos_token")
    with pytest.raises(BackboneError, match=rf"{folder}.* no end-of-text .*'eos_token' in its"):
        make(folder, make_task(TELL))


@pytest.mark.parametrize("family", ["gemma3", "gemma4", "got_ocr2"])
def test_several_models_in_one_are_refused_and_the_text_part_alone_is_read(
    family: str, tmp_path: Path
) -> None:
    """The part is saved as docs/families.md shows, and computes what it did inside the whole."""
    whole = str(tiny_families.save(family, tmp_path / "whole", LANGUAGE_MODEL))
    made_of = rf"'{whole}' is made of several models \(.*model\.language_model"
    with pytest.raises(BackboneError, match=made_of):
        load(whole, Fingerprint(name=whole, digest="0"), LANGUAGE_MODEL, 1, "fp32")
    auto, ids = transformers.AutoModelForCausalLM, torch.arange(4, 12)[None]
    read = auto.from_pretrained(whole).eval()
    text = auto.from_config(read.config.text_config)
    text.model.load_state_dict(read.model.language_model.state_dict())
    text.lm_head.load_state_dict(read.lm_head.state_dict())
    text.save_pretrained(tmp_path / "text")
    tiny_families.tokenizer(special=False).save_pretrained(tmp_path / "text")
    alone = str(tmp_path / "text")
    backbone = load(alone, Fingerprint(name=alone, digest="1"), LANGUAGE_MODEL, 1, "fp32")
    with torch.inference_mode():
        expected = read(input_ids=ids).logits
        assert torch.equal(backbone.model()(input_ids=ids).logits, expected)


def test_dropout_is_off_in_every_part_and_what_is_no_rate_stays(tmp_path: Path) -> None:
    """T5Gemma's encoder and decoder have rates of their own; ESM's `token_dropout` is a switch."""
    config = tiny_families.config("t5gemma")
    config.encoder.dropout_rate = config.decoder.attention_dropout = 0.1
    tiny_families.save("esm", tmp_path / "esm", SEQUENCE_CLASSIFICATION)
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(
        tmp_path / "t5gemma"
    )
    tiny_families.tokenizer(special=True).save_pretrained(tmp_path / "t5gemma")
    models = {
        name: load(
            str(tmp_path / name),
            Fingerprint(name=name, digest=name),
            SEQUENCE_CLASSIFICATION,
            2,
            "fp32",
        )
        for name in ("t5gemma", "esm")
    }
    parts = models["t5gemma"].config
    assert (parts.encoder.dropout_rate, parts.decoder.attention_dropout) == (0, 0)
    others = [transformers.OPTConfig(layerdrop=0.3), transformers.MixtralConfig()]
    others[1].router_jitter_noise = 0.1
    threshold = transformers.PhimoeConfig()  # of the same name, and no chance
    for other in others:  # of which every run of a stack would lose the same layers
        loading._switch_off_dropout(other)
    assert (others[0].layerdrop, others[1].router_jitter_noise) == (0, 0)
    loading._switch_off_dropout(threshold)
    assert threshold.router_jitter_noise == 0.01
    assert models["esm"].config.token_dropout is True
