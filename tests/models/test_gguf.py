"""GGUF files as backbones: they compute what the checkpoint does that they were made from."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gapbench
from gapbench.bench.config.head import LANGUAGE_MODEL, SEQUENCE_CLASSIFICATION
from gapbench.bench.core.errors import BackboneError, ConfigError
from gapbench.bench.data.sources import Sources, hidden_size
from gapbench.bench.models import loading
from gapbench.bench.models.backbone import Backbone
from tests.support import gguf_files
from tests.support.small_suite import call, make

gguf = pytest.importorskip("gguf", reason="needs the extra `gguf`")
TEXT = "the cat sees  a Dög"


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """A tiny Llama; its checkpoint is in the folder `whole`."""
    return gguf_files.save(tmp_path / "whole")


def load(name: Path, head: str = LANGUAGE_MODEL) -> Backbone:
    """Load a name anew."""
    loading.load.cache_clear()
    return loading.load(str(name), Sources().backbone(str(name)), head, 2, "fp32")


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Return a language model's logits, (1, tokens, vocabulary)."""
    with torch.inference_mode():
        return model(input_ids=ids).logits


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_file_of_floats_computes_what_its_checkpoint_does(family: str, tmp_path: Path) -> None:
    """Tokens and logits, with rotated projections and with biases."""
    original = gguf_files.save(tmp_path / "whole", family)
    path = gguf_files.write(tmp_path / "model.gguf", original)
    whole, packed = load(tmp_path / "whole"), load(path)
    ids = [each.tokenizer(TEXT)["input_ids"] for each in (whole, packed)]
    assert ids[0] == ids[1]
    assert len(ids[0]) > 5
    assert packed.tokenizer.pad_token_id == whole.tokenizer.pad_token_id == 0
    expected = logits(original, torch.tensor([ids[0]]))
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(
        logits(packed.model(), torch.tensor([ids[0]])), expected, atol=1e-5, rtol=0
    )
    for head in (LANGUAGE_MODEL, SEQUENCE_CLASSIFICATION):
        own, others = (load(place, head) for place in (path, tmp_path / "whole"))
        assert own.head == others.head
        weights = dict(own.model().named_parameters())
        for name, weight in others.model().named_parameters():
            if not name.startswith("score"):
                assert torch.equal(weights[name], weight), name


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_weights_in_few_bits_are_those_that_the_format_defines(
    kind: str, model: Any, tmp_path: Path
) -> None:
    """Matrices as the format's own package unpacks them, vectors as they were."""
    form = gguf.GGMLQuantizationType[kind]
    found = dict(
        load(gguf_files.write(tmp_path / "m.gguf", model, kind=kind)).model().named_parameters()
    )
    for name, weight in model.named_parameters():
        expected = weight.detach()
        if expected.ndim > 1:
            rounded = gguf.quants.dequantize(gguf.quants.quantize(expected.numpy(), form), form)
            assert not np.array_equal(rounded, expected)
            expected = torch.from_numpy(rounded)
        torch.testing.assert_close(found[name].detach(), expected, atol=1e-7, rtol=1e-6)


def test_runs_on_a_file_score_as_on_its_checkpoint(model: Any, tmp_path: Path) -> None:
    """The self-check passes, LoRA trains, and the hash is another than the checkpoint's."""
    path = gguf_files.write(tmp_path / "tiny.Q0.gguf", model)
    small = make(tmp_path / "small", path)
    scores = []
    for backbone in (tmp_path / "whole", path):
        found = gapbench.run(
            small.path,
            data=small.data,
            backbone=backbone,
            methods=["lora"],
            results=tmp_path / f"of-{backbone.stem}",
            progress=False,
            workers=1,
        ).runs
        scores.append(found.sort_values("seed"))
    whole, packed = scores
    assert list(packed["status"]) == ["ok", "ok"]
    assert set(packed["backbone"]) == {"tiny.Q0"}
    assert list(packed["test_loss"]) == pytest.approx(list(whole["test_loss"]), abs=1e-6)
    assert set(packed["run_hash"]).isdisjoint(whole["run_hash"])


def test_name_of_a_file_or_of_its_folder_is_the_same_backbone(model: Any, tmp_path: Path) -> None:
    """Its content counts, and no other file beside it."""
    path = gguf_files.write(tmp_path / "tiny.gguf", model)
    known = Sources().backbone(str(path))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "config.json").write_text("{}")
    for name in (path, tmp_path):
        assert Sources().backbone(str(name)) == known
        assert load(name).config.hidden_size == hidden_size(str(name)) == 32
    gguf_files.write(path, model, kind="Q8_0")
    assert Sources().backbone(str(path)).digest != known.digest


def test_memory_is_that_of_the_unpacked_weights(model: Any, tmp_path: Path) -> None:
    """Whatever the size of the file is."""
    sources = Sources()
    known = sources.backbone(str(gguf_files.write(tmp_path / "m.gguf", model, kind="Q4_0")))
    assert sources.weight_bytes(known) == 4 * sum(p.numel() for p in model.parameters())


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a missing weight": ({"without": "blk.1.ffn_up"}, "lacks model.layers.1.mlp.up_proj.weight;"),
    "factors of positions": (
        {"tensors": {"rope_freqs.weight": np.ones(4, np.float32)}},
        r"its tensors \(among them may be rope_freqs.weight\) would be left out; give the check",
    ),
    "scaled positions": (
        {"fields": {"llama.rope.scaling.type": "yarn"}},
        r"scaled \(llama.rope.scaling.type is 'yarn'\), so it would compute another model; give",
    ),
    "another architecture": (
        {"fields": {"general.architecture": "rwkv7"}},
        "does not read the architecture 'rwkv7' from GGUF, only bloom, .*, llama, .*; give the",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_file_that_would_be_read_as_another_model_is_refused(
    case: str, model: Any, tmp_path: Path
) -> None:
    """The library itself only notes what it passes over."""
    changes, said = REFUSED[case]
    with pytest.raises(BackboneError, match=said):
        load(gguf_files.write(tmp_path / "m.gguf", model, **changes))


def test_files_of_which_none_is_the_backbone_are_refused(model: Any, tmp_path: Path) -> None:
    """Several in a folder, and a part of one."""
    path = gguf_files.write(tmp_path / "m-00001-of-00002.gguf", model)
    with pytest.raises(BackboneError, match="is one part of a split file; join them with"):
        Sources().backbone(str(path))
    shutil.copy(path, tmp_path / "other.gguf")
    with pytest.raises(BackboneError, match=r"has 2 GGUF files \(m-0.*, other.gguf\); give one of"):
        Sources().backbone(str(tmp_path))


def test_missing_package_is_named(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the extra that brings it."""
    path = gguf_files.write(tmp_path / "m.gguf", model)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ConfigError, match=r"m.gguf: the package 'gguf' .*'gapbench\[gguf\]'"):
        Sources().backbone(str(path))


def test_rounding_twice_is_refused(
    model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is stored."""
    path = gguf_files.write(tmp_path / "m.gguf", model)
    small = make(tmp_path / "small", path)
    called = call(capsys, "run", *small.running, "--quantization", "int8")
    assert called.code == 2
    assert "'int8', but the backbone" in called.err
    assert "would be rounded twice; leave the field out, or give the checkpoint" in called.err
    assert not small.results.exists()


def test_fetch_copies_the_file_alone(
    model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even where a checkpoint is beside it."""
    path = gguf_files.write(tmp_path / "whole" / "tiny.gguf", model)
    small = make(tmp_path / "small", path)
    call_ = ("fetch", small.path, "--data", small.data, "--out", tmp_path / "copy")
    assert call(capsys, *call_).code == 0
    copies = list((tmp_path / "copy" / "backbones" / "tiny").iterdir())
    assert [each.name for each in copies] == ["tiny.gguf"]
    assert Sources().backbone(str(copies[0])) == Sources().backbone(str(path))
