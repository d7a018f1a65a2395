"""Lengths at which models begin to compute otherwise are found in their configurations."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import transformers

from gapbench.bench.config.head import LANGUAGE_MODEL
from gapbench.bench.models import length_limits
from tests.support import tiny_families

LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 40,
    "rope_theta": 1e4,
}


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (transformers.BertConfig(), 0),
        (transformers.LlamaConfig(), 0),
        (transformers.MistralConfig(sliding_window=16), 16),
        (transformers.MistralConfig(sliding_window=500), 0),
        (transformers.LongformerConfig(attention_window=[8, 32]), 32),
        (transformers.BigBirdConfig(block_size=4, num_random_blocks=1), 28),
        (transformers.BigBirdConfig(attention_type="original_full"), 0),
        (transformers.DogeConfig(keep_window_size=40), 40),
        (
            transformers.Phi3Config(
                hidden_size=32,
                num_attention_heads=4,
                original_max_position_embeddings=40,
                rope_parameters=LONG,
            ),
            40,
        ),
        (SimpleNamespace(rope_parameters={"full_attention": LONG}), 40),
    ],
)
def test_limit_below_the_longest_text_is_found(config: Any, limit: int) -> None:
    """Windows, chunks, blocks, and lengths from which rotary positions have other factors."""
    assert length_limits.largest(config, 200) == limit


@pytest.mark.parametrize(
    ("family", "name"),
    [("llama", "max_position_embeddings"), ("gpt2", "n_positions"), ("mpt", "max_seq_len")],
)
def test_window_ends_where_positions_do(family: str, name: str, tmp_path: Path) -> None:
    """A tokenizer may know no limit; families name theirs in several ways."""
    backbone = tiny_families.load(family, tmp_path, LANGUAGE_MODEL, **{name: 48})
    assert (backbone.reader.window, backbone.reader.positions) == (48, 48)
