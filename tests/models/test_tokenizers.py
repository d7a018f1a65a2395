"""Folders without a tokenizer, with one for other inputs than texts, and without a vocabulary."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from gapbench.bench.core.errors import BackboneError
from gapbench.bench.models.loading import load_tokenizer, unsupported_reason
from tests.support.small_stack import make_task
from tests.support.small_suite import call, make
from tests.support.tiny_checkpoints import save, tokenizer

LETTERS = {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}


def configured(folder: Path, family: str) -> Path:
    """Save the configuration of a family alone."""
    transformers.AutoConfig.for_model(family).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "family", ["bert", "gpt2", "t5", "roberta", "deberta-v2", "xlnet", "gemma2", "llama", "tapas"]
)
def test_folder_without_vocabulary_is_refused(family: str, tmp_path: Path) -> None:
    """For most families the library makes a tokenizer that knows no word, without a warning."""
    with pytest.raises(BackboneError, match=r"has no vocabulary.*put the tokenizer.*config\.json"):
        load_tokenizer(str(configured(tmp_path, family)))


def test_check_names_the_missing_tokenizer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All texts would be of unknown words, and scores those of chance."""
    folder = save(tmp_path / "bert", "bert")
    (folder / "tokenizer.json").unlink()
    small = make(tmp_path / "small", folder, methods=["head"])
    answer = call(capsys, "check", *small.planning, "--json")
    assert answer.code == 2
    (row,) = answer.json
    assert row["verdict"].startswith(f"fails: backbone '{folder}' has no vocabulary")


def test_unreadable_vocabulary_is_named(tmp_path: Path) -> None:
    """Whatever the library raises."""
    folder = save(tmp_path / "bert", "bert")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BackboneError, match=r"cannot be loaded from tokenizer\.json: KeyError"):
        load_tokenizer(str(folder))


@pytest.mark.parametrize(
    ("family", "kind"), [("t5", "ByT5Tokenizer"), ("perceiver", "PerceiverTokenizer")]
)
def test_bytes_need_no_vocabulary(family: str, kind: str, tmp_path: Path) -> None:
    """A tokenizer of bytes has no file of words, and reads every text."""
    folder = configured(tmp_path, family)
    getattr(transformers, kind)().save_pretrained(folder)
    text = "the cat sees a tree"
    ids = load_tokenizer(str(folder))(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(text)


def test_characters_are_read_and_the_true_obstacle_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Canine has no single embedding of tokens; what rules it out is that it mixes places."""
    config = transformers.CanineConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        num_hash_buckets=64,
    )
    torch.manual_seed(0)
    folder = tmp_path / "canine"
    transformers.CanineModel(config).save_pretrained(folder)
    transformers.CanineTokenizer(model_max_length=64).save_pretrained(folder)
    small = make(tmp_path / "small", folder, methods=["head", "lora"])
    answer = call(capsys, "check", *small.planning, "--json")
    assert answer.code == 0
    for row in answer.json:
        assert row["verdict"].startswith("backbone 'canine': padding after a text moves its logits")


def tapas(folder: Path) -> Any:
    """Return a tokenizer of tables."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EMPTY]", *LETTERS]
    (folder / "vocab.txt").write_text("\n".join(words))
    return transformers.TapasTokenizer(str(folder / "vocab.txt"))


def layout(_: Path) -> Any:
    """Return a tokenizer of words with their places on a page."""
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *LETTERS]
    return transformers.LayoutLMv3Tokenizer(vocab={n: i for i, n in enumerate(names)}, merges=[])


@pytest.mark.parametrize(("family", "made"), [("tapas", tapas), ("lilt", layout)])
def test_tokenizer_of_other_inputs_is_refused(family: str, made: Any, tmp_path: Path) -> None:
    """Backbones of tables and of pages are told by their tokenizer."""
    made(tmp_path).save_pretrained(configured(tmp_path, family))
    with pytest.raises(BackboneError, match=r"a (Tapas|LayoutLMv3)Tokenizer, reads no plain text"):
        load_tokenizer(str(tmp_path))


def test_backbone_of_pages_that_is_given_texts_is_read(tmp_path: Path) -> None:
    """The tokenizer decides, not the family."""
    tokenizer("bert").save_pretrained(configured(tmp_path, "layoutlm"))
    assert load_tokenizer(str(tmp_path))("cat")["input_ids"]


@pytest.mark.parametrize("family", ["vit", "clip", "wav2vec2", "whisper", "detr"])
def test_backbones_of_pictures_and_sound_are_skipped(family: str, tmp_path: Path) -> None:
    """The family is named, before any file but the configuration is read."""
    reason = unsupported_reason(str(configured(tmp_path, family)), make_task())
    assert reason == (
        f"a backbone of the family {family!r} has no head for it: classification needs another"
    )
