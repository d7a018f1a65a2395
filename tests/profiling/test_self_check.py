"""Packed rows and cached tokens mean what single texts mean, or are not used at all."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from gapbench.bench.config.run import Fingerprint
from gapbench.bench.data import packing
from gapbench.bench.models import attention
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.profiling import measurement_cache, self_check

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MIXED = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**SIZES),
    "mistral": lambda: transformers.MistralConfig(**SIZES, sliding_window=16),
    "gemma2": lambda: transformers.Gemma2Config(**SIZES, **MIXED),
    "gemma3": lambda: transformers.Gemma3TextConfig(**SIZES, **MIXED),
    "gpt_oss": lambda: transformers.GptOssConfig(
        **SIZES, **MIXED, num_local_experts=2, num_experts_per_tok=1
    ),
    "gptj": lambda: transformers.GPTJConfig(
        vocab_size=64, n_embd=32, n_layer=2, n_head=4, rotary_dim=4, n_positions=256
    ),
    "gpt_neo": lambda: transformers.GPTNeoConfig(
        vocab_size=64,
        hidden_size=32,
        num_layers=2,
        attention_types=[[["global", "local"], 1]],
        num_heads=4,
        window_size=16,
        max_position_embeddings=256,
    ),
    "mpt": lambda: transformers.MptConfig(
        vocab_size=64, d_model=32, n_heads=4, n_layers=2, max_seq_len=256
    ),
    "mamba": lambda: transformers.MambaConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=4
    ),
    "bert": lambda: transformers.BertConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
    ),
}
EXACT = ("llama", "mistral", "gemma2", "gemma3", "gpt_oss", "gptj")


def backbone(family: str) -> Backbone:
    """Return a small random decoder whose weights are large enough for errors to show."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[family]()).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(3)
    tokenizer = SimpleNamespace(all_special_ids=[0, 1, 2], pad_token_id=0)
    return Backbone(Fingerprint(name=family, digest="0" * 16), model, tokenizer, [])


@pytest.mark.parametrize("family", EXACT)
def test_masks_reach_eager_attention_and_windows(family: str) -> None:
    """Packed rows and beams equal single texts, beyond the sliding window of 16 tokens too."""
    found = self_check.check(backbone(family), 200, CPU)
    assert found.packs
    assert found.unsupported_reason(writes=True) is None
    assert found.packed is not None
    assert found.packed < 1e-5


@pytest.mark.parametrize("family", ["gpt_neo", "mpt", "mamba"])
def test_model_that_takes_no_mask_scores_unpacked_and_writes_nothing(family: str) -> None:
    """Places of its own or a state make packed rows wrong; single rows stay right."""
    found = self_check.check(backbone(family), 200, CPU)
    assert not found.packs
    assert found.unsupported_reason(writes=False) is None
    assert "decoding from the cache" in (found.unsupported_reason(writes=True) or "")


def test_rows_are_tried_as_wide_as_scoring_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that counts the places of a row goes wrong where rows are wider than texts."""
    config = CONFIGS["gpt_neo"]()
    config.window_size = 64
    monkeypatch.setitem(CONFIGS, "gpt_neo", lambda: config)
    assert not self_check.check(backbone("gpt_neo"), 48, CPU).packs
    config.window_size = 1000
    config.max_position_embeddings = 160  # its mask ends there
    assert not self_check.check(backbone("gpt_neo"), 48, CPU).packs
    config.max_position_embeddings = 1000
    assert self_check.check(backbone("gpt_neo"), 48, CPU).packs


@pytest.mark.parametrize(
    ("longest", "limit"), [(8, 100), (24, 256), (32, 256), (520, 1000), (1400, 2048)]
)
def test_a_row_is_wider_than_its_limit(longest: int, limit: int) -> None:
    """Of short texts and of long ones, none of which is longer than texts may be."""
    split = self_check._random_texts(backbone("llama"), 0, limit, longest)
    rows = packing.pack(split, np.arange(len(split)), most_tokens=self_check._WIDEST)
    assert max(row.width for row in rows) == limit + 8 <= packing.widest(longest)
    assert split.lengths[split.sequence_offsets[2] :].max() == longest


def test_model_that_sees_the_future_is_refused() -> None:
    """An encoder loaded as a decoder reads the tokens that it is asked for."""
    reason = self_check.check(backbone("bert"), 200, CPU).unsupported_reason(writes=False)
    assert reason is not None
    assert "depend on later tokens" in reason


def test_failure_is_not_told_as_sight_of_the_future() -> None:
    """Kimi Linear's batches fail in some sizes, which says nothing of later tokens."""
    reason = self_check.SelfCheck(None, None, None).unsupported_reason(writes=False)
    assert reason == "a batch of texts of different lengths fails, or its logits are no numbers"


def test_attention_that_is_not_the_models_own_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Single texts are read by the library's attention, so a fault of ours shows."""
    fused, logits = attention._fused, attention._logits
    monkeypatch.setattr(measurement_cache, "recall", lambda _: None)
    monkeypatch.setattr(
        attention, "_fused", lambda *a, scaling, **k: fused(*a, scaling=2 * scaling, **k)
    )
    monkeypatch.setattr(attention, "_logits", lambda q, k, s, *more: logits(q, k, 2 * s, *more))
    assert self_check.check(backbone("llama"), 200, CPU).unsupported_reason(writes=False)


def test_windows_that_no_text_reaches_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The random texts are long only where a task's texts may be."""
    lengths = []
    whole = self_check._random_texts

    def noting(*given: Any) -> Any:
        split = whole(*given)
        lengths.append(np.diff(split.offsets)[: split.sequence_offsets[2]].max())
        assert np.diff(split.offsets).max() <= max(given[-1], 40 + 8 + 9)
        return split

    monkeypatch.setattr(self_check, "_random_texts", noting)
    monkeypatch.setitem(
        CONFIGS, "mistral", lambda: transformers.MistralConfig(**SIZES, sliding_window=40)
    )
    monkeypatch.setattr(measurement_cache, "recall", lambda _: None)
    for longest in (40, 200):
        assert self_check.check(backbone("mistral"), longest, CPU).packs
    assert lengths == [24 + 9, 40 + 8 + 9]


def test_result_is_remembered_by_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same backbone is measured once; another one, or an unreadable entry, anew."""
    asked = []
    measure = self_check._measure

    def noting(each: Backbone, *given: Any) -> self_check.SelfCheck:
        asked.append(each.fingerprint.name)
        return measure(each, *given)

    monkeypatch.setenv("GAPBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(self_check, "_measure", noting)
    first = self_check.check(backbone("llama"), 200, CPU)
    assert self_check.check(backbone("llama"), 200, CPU) == first
    self_check.check(backbone("gptj"), 200, CPU)
    monkeypatch.setattr(measurement_cache, "recall", lambda _: {"future": 1.0})
    self_check.check(backbone("llama"), 200, CPU)
    assert asked == ["llama", "gptj", "llama"]


def test_text_beyond_a_limit_that_changes_its_neighbours_is_refused() -> None:
    """Phi-3's long factors apply to a whole batch as soon as one of its texts is long."""
    CONFIGS["phi3"] = lambda: transformers.Phi3Config(
        **{name: size for name, size in SIZES.items() if name != "head_dim"},
        original_max_position_embeddings=40,
        rope_parameters={
            "rope_type": "longrope",
            "short_factor": [1.0] * 4,
            "long_factor": [3.0, 4.0, 5.0, 6.0],
            "original_max_position_embeddings": 40,
            "rope_theta": 1e4,
        },
    )
    assert self_check.check(backbone("phi3"), 40, CPU).unsupported_reason(writes=False) is None
    reason = self_check.check(backbone("phi3"), 100, CPU).unsupported_reason(writes=False)
    assert reason is not None
    assert "on the length of other texts" in reason
