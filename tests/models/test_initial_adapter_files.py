"""Adapter folders as files: what PEFT itself saves is read, and what is no such adapter is not."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from gapbench.bench.core.errors import BackboneError
from gapbench.bench.data.sources import Sources
from gapbench.bench.models.initial_adapter import fold, read
from tests.support.small_stack import MakeBackbone, load_backbone, make_runs
from tests.support.started_stacks import started

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TARGETS = {"bert": ["query", "output.dense"], "gpt2": ["c_attn", "mlp.c_proj"]}


def save(folder: Path, family: str, out: Path, **settings: Any) -> torch.nn.Module:
    """Save an adapter with random numbers as PEFT does; return its model with merged weights."""
    config = transformers.AutoConfig.from_pretrained(folder, num_labels=2, pad_token_id=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, dtype=torch.float64
        )
        model = peft.get_peft_model(
            base,
            peft.LoraConfig(
                task_type="SEQ_CLS",
                target_modules=TARGETS[family],
                fan_in_fan_out=family == "gpt2",
                **settings,
            ),
        )
        torch.manual_seed(0)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data += torch.randn_like(parameter) * 0.1
        model.save_pretrained(out)
        merged: torch.nn.Module = model.merge_and_unload()
    return merged


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize(
    "settings",
    [
        {"r": 3, "lora_alpha": 7},
        {"r": 4, "lora_alpha": 7, "use_rslora": True},
        {"r": 3, "lora_alpha": 7, "use_dora": True},
        {
            "r": 3,
            "lora_alpha": 7,
            "rank_pattern": {"query": 2, "c_attn": 2},
            "alpha_pattern": {"1.attention.self.query": 5, "h.1.attn.c_attn": 5},
        },
    ],
    ids=["plain", "rslora", "dora", "patterns"],
)
def test_folded_adapter_of_peft_is_what_peft_merges(
    family: str, settings: dict[str, Any], make_backbone: MakeBackbone, tmp_path: Path
) -> None:
    """Scalings, patterns, magnitudes and transposed weights are PEFT's, to 1e-12."""
    folder = make_backbone(family)
    merged = dict(save(folder, family, tmp_path / "mine", **settings).named_parameters())
    backbone = started(folder, make_runs("untuned"), tmp_path / "mine")
    assert backbone.start is not None
    assert backbone.start.name == "mine"
    model = backbone.model()
    before = {name: p.clone() for name, p in model.named_parameters()}
    fold(model, backbone.start)
    changed = {f"{name}.weight" for name in backbone.start.updates}
    for name, parameter in model.named_parameters():
        if not backbone.in_head(name):
            torch.testing.assert_close(parameter.data, merged[name], rtol=0, atol=1e-12)
            assert torch.equal(parameter, before[name]) == (name not in changed)
        assert not parameter.requires_grad


def _config(**fields: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / CONFIG).read_text()) | fields
        (folder / CONFIG).write_text(json.dumps(content))

    return spoil


def _tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return spoil


QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / CONFIG).unlink(), "no adapter_config.json; give a folder as 'gapbench exp"),
        (lambda f: (f / WEIGHTS).unlink(), "no adapter_model.safetensors; give a folder as"),
        (
            lambda f: (f / WEIGHTS).rename(f / "adapter_model.bin"),
            "no adapter_model.safetensors, only adapter_model.bin, which could run code on load",
        ),
        (lambda f: (f / CONFIG).write_text("{"), "cannot be read: "),
        (lambda f: (f / CONFIG).write_text("[]"), "is not a mapping of fields"),
        (lambda f: (f / WEIGHTS).write_bytes(b"x" * 40), "cannot be read: "),
        (_config(peft_type="IA3"), "field 'peft_type' is 'IA3', allowed: 'LORA'"),
        (_config(peft_type=None), "field 'peft_type' is None, allowed: 'LORA'"),
        (_config(bias="all"), "field 'bias' is 'all', allowed: 'none'"),
        (_config(init_lora_weights="pissa"), "field 'init_lora_weights' is 'pissa', allowed: True"),
        (_config(lora_alpha=None), "field 'lora_alpha' must be a number"),
        (_config(alpha_pattern={"query(": 3}), "'alpha_pattern' is {'query(': 3}, allowed: regul"),
        (_config(alpha_pattern={"query": "x"}), "'alpha_pattern' is {'query': 'x'}, allowed: regu"),
        (_config(alpha_pattern=["query"]), "'alpha_pattern' is ['query'], allowed: regular expr"),
        (_tensors(lambda t: t.clear()), "has no lora_A and lora_B of any layer"),
        (_tensors(lambda t: t.pop(f"{QUERY}.lora_B.weight")), "query lacks lora_A or lora_B"),
        (
            _tensors(lambda t: t.update({f"{QUERY}.lora_A.weight": torch.zeros(2, 24)})),
            "query lacks lora_A or lora_B, or their ranks differ",
        ),
        (
            _tensors(lambda t: t.update({f"{QUERY}.bias": torch.zeros(24)})),
            "it also changes bert.encoder.layer.0.attention.self.query.bias; give one",
        ),
        (
            _tensors(lambda t: t.update({f"{QUERY}.lora_A.weight": torch.zeros(3, 25)})),
            "query has outputs and inputs (24, 24), in the adapter (24, 25); give one that was",
        ),
    ],
)
def test_folder_that_is_no_such_adapter_is_refused_with_the_reason(
    spoil: Callable[[Path], object], says: str, make_backbone: MakeBackbone, tmp_path: Path
) -> None:
    """The message names the folder, what is wrong and the way out."""
    folder, out = make_backbone("bert"), tmp_path / "mine"
    save(folder, "bert", out, r=3, lora_alpha=7)
    spoil(out)
    backbone = load_backbone(folder, make_runs("lora"))

    def start() -> None:
        Sources().start(out)
        backbone.starting_from(read(out))

    with pytest.raises(BackboneError) as caught:
        start()
    assert "mine" in str(caught.value)
    assert says in str(caught.value)


def test_adapter_of_another_backbone_is_refused(
    make_backbone: MakeBackbone, tmp_path: Path
) -> None:
    """An adapter for GPT-2 does not fit a BERT, and the message names a layer."""
    save(make_backbone("gpt2"), "gpt2", tmp_path / "mine", r=3)
    with pytest.raises(
        BackboneError, match=r"'mine' does not fit backbone 'random': it changes la"
    ):
        started(make_backbone("bert"), make_runs("lora"), tmp_path / "mine")


def test_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """The message names the folder and how one is made."""
    with pytest.raises(BackboneError, match=r"no such folder; give a folder as 'gapbench export"):
        Sources().start(tmp_path / "nowhere")


def test_identity_of_an_adapter_is_its_content_not_its_place(
    make_backbone: MakeBackbone, tmp_path: Path
) -> None:
    """A moved folder is the same adapter; a changed number or setting makes another one."""
    here, there = tmp_path / "here" / "mine", tmp_path / "there" / "mine"
    save(make_backbone("bert"), "bert", here, r=3)
    shutil.copytree(here, there)
    sources = Sources()
    first = sources.start(here)
    assert sources.start(there) == first
    assert sources.locate_start(first) == there
    _tensors(lambda t: t[f"{QUERY}.lora_A.weight"].add_(1e-3))(there)
    second = sources.start(there)
    _config(lora_alpha=9)(here)
    assert len({first.digest, second.digest, sources.start(here).digest}) == 3
    with pytest.raises(BackboneError, match=r"adapter 'mine'.*pass its folder as --start DIR"):
        Sources().locate_start(first)
