"""Loading backbones as other people's tools have saved them."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from bench.backbone_files import load
from bench.config import Fingerprint
from tests.small_stack import MakeBackbone, load_backbone, make_runs


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
        str(tmp_path), Fingerprint(name="tied", digest="1"), "classification", 2, "fp64"
    )
    expected = load_backbone(original, make_runs("lora")).model()
    found = dict(backbone.model().named_parameters())
    assert backbone.head == ("score",)
    for name, parameter in expected.named_parameters():
        if not name.startswith("score"):
            assert torch.equal(found[name], parameter), name
