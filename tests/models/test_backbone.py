"""Loading backbones as other people's tools have saved them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.config.run import Fingerprint
from gapbench.bench.core.errors import BackboneError
from gapbench.bench.models.loading import load, load_tokenizer
from tests.support import tiny_checkpoints
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
