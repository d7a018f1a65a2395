"""A text has the same logits alone and beside a longer one, or the backbone is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION, SPAN, HeadType
from gapbench.bench.profiling import padding_check
from tests.support import tiny_families
from tests.support.small_suite import call, make
from tests.support.tiny_checkpoints import load, save

CPU = torch.device("cpu")
EXACT = [
    *(("bert", head) for head in (SEQUENCE_CLASSIFICATION, SPAN)),
    *((family, SEQUENCE_CLASSIFICATION) for family in ("xlnet", "xlm", "bart", "t5", "mpnet")),
    *((family, SEQUENCE_CLASSIFICATION) for family in ("gpt2", "llama", "falcon", "opt")),
    *((family, SPAN) for family in ("gpt2", "xlnet", "splinter")),
]


@pytest.mark.parametrize(("family", "head"), EXACT)
def test_padding_leaves_logits_alone(family: str, head: HeadType, tmp_path: Path) -> None:
    """XLNet reads its answer from the last place of a row, which is the text's own last token."""
    backbone = load(save(tmp_path / family, family), head)
    assert padding_check.unsupported_reason(backbone, head, 0, CPU) is None
    moved = padding_check._moved(backbone, head, 0, CPU)
    assert moved is not None
    assert moved < 1e-4


@pytest.mark.parametrize("family", ["fnet", "convbert", "nystromformer", "yoso"])
def test_model_that_mixes_places_is_skipped(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fourier transforms, convolutions and landmarks pay no heed to a mask."""
    small = make(tmp_path / "small", save(tmp_path / family, family), methods=["head"])
    (row,) = call(capsys, "check", *small.planning, "--json").json
    assert row["verdict"].startswith(f"backbone '{family}': padding after a text moves its logits")


def test_logits_that_padding_makes_undefined_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finite alone and undefined beside a longer text: that is the worst of all, and no unknown."""
    backbone = load(save(tmp_path / "bert", "bert"))
    shown = iter([torch.ones(1, 2), torch.full((2, 2), torch.nan)])
    monkeypatch.setattr(padding_check, "_logits", lambda *_: next(shown))
    reason = padding_check.unsupported_reason(backbone, SEQUENCE_CLASSIFICATION, 0, CPU)
    assert reason == "padding after a text makes its logits infinite or undefined"


def test_what_cannot_be_measured_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure of the measurement is no result to be remembered."""
    backbone = load(save(tmp_path / "bert", "bert"))
    tried: list[int] = []

    def fail(*_: object) -> None:
        tried.append(1)
        raise RuntimeError("these inputs do not suit")

    monkeypatch.setattr(padding_check, "_logits", fail)
    for _ in range(2):
        assert padding_check.unsupported_reason(backbone, SEQUENCE_CLASSIFICATION, 0, CPU) is None
    assert len(tried) == 2 * len(padding_check._SHORT)


def test_text_too_short_for_the_model_does_not_count(tmp_path: Path) -> None:
    """Canine joins four positions to one; three tokens are an error, and say nothing of padding."""
    backbone = tiny_families.load("canine", tmp_path, SEQUENCE_CLASSIFICATION)
    reason = padding_check.unsupported_reason(backbone, SEQUENCE_CLASSIFICATION, 0, CPU)
    assert reason is not None
    assert reason.startswith("padding after a text moves its logits")


def test_result_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same backbone and head are measured once."""
    backbone = load(save(tmp_path / "fnet", "fnet"))
    reason = padding_check.unsupported_reason(backbone, SEQUENCE_CLASSIFICATION, 0, CPU)
    monkeypatch.setattr(padding_check, "_moved", None)
    assert reason is not None
    assert padding_check.unsupported_reason(backbone, SEQUENCE_CLASSIFICATION, 0, CPU) == reason


def test_attention_by_blocks_is_refused_for_texts_that_reach_it() -> None:
    """The library goes over to full attention with the first short batch, and stays there."""
    config = transformers.BigBirdConfig(block_size=4, num_random_blocks=1)
    backbone: Any = SimpleNamespace(config=config)
    reason = padding_check.unsupported_reason(backbone, SEQUENCE_CLASSIFICATION, 100, CPU)
    assert reason is not None
    assert "set field 'max_length' of the task to 28 or less" in reason


def test_text_whose_ends_are_read_stands_behind_a_question(tmp_path: Path) -> None:
    """Longformer counts the separators of question and text, and takes no text alone."""
    backbone = tiny_families.load("longformer", tmp_path, SPAN)
    moved = padding_check._moved(backbone, SPAN, 0, CPU)
    assert moved is not None
    assert moved < 1e-4
