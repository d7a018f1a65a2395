"""`quantization`: every method on a backbone in few bits, and what is refused there."""

import copy
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.config.head import LANGUAGE_MODEL
from gapbench.bench.config.run import Cell, Quantization
from gapbench.bench.core.errors import BackboneError, ConfigError
from gapbench.bench.data.batching import collate
from gapbench.bench.models import initial_adapter, loading, quantized
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.initial_adapter import Update
from gapbench.bench.models.quantized import Quantized, output_rows
from tests.support import tiny_families
from tests.support.conformance import NAMES, quick_runs
from tests.support.small_stack import CPU, MakeBackbone, load_backbone, random_data, train
from tests.support.small_suite import CELL, call, make
from tests.support.solo_runs import assert_same_alone
from tests.support.tiny_checkpoints import save

FORMATS = get_args(Quantization)
SOME = ["lora", "lora_dropout", "hiddenkey", "bilora", "dora", "flat_lora", "bitfit", "flexora"]
ANY = [name for name in NAMES if name not in {"majority", "full"}]


@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_linear_layers_are_quantized_and_nothing_else(
    make_backbone: MakeBackbone, quantization: Quantization, family: str
) -> None:
    """Copies share the bits. Embeddings, norms, biases and heads keep their type."""
    (run,) = quick_runs("lora", quantization=quantization)
    backbone = load_backbone(make_backbone(family), [run])
    first: Any = backbone.model()
    second: Any = backbone.model()
    inside = {n for n, module in first.named_modules() if isinstance(module, Quantized)}
    assert inside == set(backbone.linear_layers())
    assert {p.dtype for p in first.parameters()} == {torch.float64}
    pairs = zip(first.buffers(), second.buffers(), strict=True)
    bits = [one.data_ptr() == other.data_ptr() for one, other in pairs if one.dtype.itemsize == 1]
    assert len(bits) == len(inside)
    assert all(bits)


def plain_twin(backbone: Backbone) -> Backbone:
    """Return a backbone with the numbers of a quantised one as its plain weights."""
    model = backbone.model()
    quantized.dequantize(model)
    assert not any(isinstance(module, Quantized) for module in model.modules())
    return Backbone(backbone.fingerprint, model, backbone.tokenizer, backbone.head)


@pytest.mark.parametrize(
    ("quantization", "family", "name"),
    [("nf4", "bert", name) for name in ANY]
    + [(q, f, n) for q, f in (("int8", "llama"), ("int4", "gpt2")) for n in SOME],
)
def test_method_trains_as_on_the_same_numbers_in_full(
    make_backbone: MakeBackbone,
    monkeypatch: pytest.MonkeyPatch,
    quantization: Quantization,
    family: str,
    name: str,
) -> None:
    """A few steps of two runs lead to the logits that a plain backbone with these numbers gives."""
    seeds = (0, 1) if registry.get(name).stackable else (0,)
    runs = quick_runs(name, seeds, steps=3, outputs=3, quantization=quantization)
    folder, data = make_backbone(family), random_data(outputs=3)
    backbone = load_backbone(folder, runs)
    reason = registry.get(name).unsupported_reason(
        runs[0].cell.task, backbone, registry.of_cell(runs[0].cell)[1]
    )
    if reason is not None:
        pytest.skip(reason)
    few = train(folder, runs, data, scored=False).logits(data)
    twin = plain_twin(backbone)
    monkeypatch.setattr(loading, "load", lambda *_: twin)
    full = train(folder, runs, data, scored=False).logits(data)
    np.testing.assert_allclose(few, full, rtol=0, atol=1e-9)


@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("name", ["lora", "dora"])
def test_stacked_runs_equal_solo_runs(
    make_backbone: MakeBackbone, name: str, quantization: Quantization
) -> None:
    """Runs that share the bits train to the same numbers together and alone."""
    folder, data = make_backbone("llama"), random_data()
    runs = quick_runs(name, (0, 1, 2), steps=4, quantization=quantization)
    stacked = train(folder, runs, data, scored=False)
    assert_same_alone(folder, runs, stacked, data, scored=False)


@pytest.mark.parametrize("name", ["lora", "dora", "bitfit", "head", "peft:LORA"])
@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_merged_model_gives_the_scored_outputs(
    make_backbone: MakeBackbone, name: str, family: str, quantization: Quantization
) -> None:
    """Merged weights are plain ones of the unquantised model, and answer as the run is scored."""
    folder, data = make_backbone(family), random_data(outputs=3)
    runs = quick_runs(name, (3,), steps=3, outputs=3, quantization=quantization)
    trained = train(folder, runs, data, scored=False)
    logits = trained.logits(data)[0]
    weights = trained.method.merge(trained.state, 0)
    task = runs[0].cell.task
    plain: Any = loading.load(
        str(folder), runs[0].cell.backbone, task.head, task.n_outputs, "fp64"
    ).model()
    plain.load_state_dict(weights)
    batch = collate(data.test, np.arange(len(data.test))[None], CPU)
    order = np.arange(len(data.test))
    np.testing.assert_allclose(
        plain(**batch.inputs).logits.detach()[order], logits, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_initial_adapter_folds_into_the_numbers_of_a_layer(
    make_backbone: MakeBackbone, family: str, quantization: Quantization
) -> None:
    """The layer becomes a plain one; its weight is the quantised one plus the update."""
    (run,) = quick_runs("lora", quantization=quantization)
    backbone = load_backbone(make_backbone(family), [run])
    name = backbone.target_layers("default")[0]
    model = backbone.model()
    before = output_rows(model.get_submodule(name))
    a, b = (torch.full(size, 0.5).double() for size in ((2, before.shape[1]), (len(before), 2)))
    initial_adapter.fold(model, initial_adapter.InitialAdapter("start", {name: Update(a, b)}))
    layer = model.get_submodule(name)
    assert not isinstance(layer, Quantized)
    torch.testing.assert_close(output_rows(layer), before + b @ a)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("quantization", FORMATS)
def test_products_are_in_the_precision_of_the_run(
    make_backbone: MakeBackbone, quantization: Quantization, precision: str
) -> None:
    """In bf16 no layer computes in float32, and losses stay near those of float32."""
    runs = quick_runs("lora", (0, 1), precision=precision, quantization=quantization)
    method, state = set_up(runs, load_backbone(make_backbone("bert"), runs), random_data(), CPU)
    seen: set[torch.dtype] = set()

    def note(_: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        seen.update({args[0].dtype, out.dtype})

    for module in state.model.modules():
        if isinstance(module, Quantized):
            module.register_forward_hook(note)
    batch = collate(random_data().train, np.arange(8).reshape(2, 4), CPU)
    method.losses(state, batch).sum().backward()
    assert seen == {torch.bfloat16 if precision == "bf16" else torch.float32}
    assert state.bank.grads.isfinite().all()


def test_nf4_is_that_of_the_model_library(tmp_path: Path) -> None:
    """The library's own 4-bit layers of bitsandbytes answer as ours do.

    Rows are a multiple of a block: elsewhere the library's layers mix up scales on CPUs.
    """
    pytest.importorskip("bitsandbytes", reason="NF4 needs the extra 'quantized'")
    pytest.importorskip("accelerate", reason="the library places quantised weights with it")
    folder = save(tmp_path / "llama", "llama", hidden_size=64, intermediate_size=128)
    (run,) = quick_runs("lora", precision="fp32", quantization="nf4")
    ours: Any = load_backbone(folder, [run]).model()
    kind = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, quantization_config=kind, dtype=torch.float32, num_labels=2
    )
    theirs.score.weight.data = ours.score.weight.data
    ids = torch.arange(5, 15).view(2, 5)
    near, full = (
        ours(ids).logits,
        loading.load(str(folder), run.cell.backbone, run.cell.task.head, 2, "fp32").model(),
    )
    torch.testing.assert_close(near, theirs(ids).logits, rtol=1e-5, atol=1e-6)
    full.score.weight.data = ours.score.weight.data
    assert (full(ids).logits - near).abs().max() > 1e-3


@pytest.mark.parametrize("quantization", FORMATS)
def test_full_fine_tuning_is_refused(
    make_backbone: MakeBackbone, quantization: Quantization
) -> None:
    """The reason names the setting to leave out."""
    (run,) = quick_runs("full", quantization=quantization)
    backbone = load_backbone(make_backbone("bert"), [run])
    cls, config = registry.of_cell(run.cell)
    reason = cls.unsupported_reason(run.cell.task, backbone, config)
    assert reason is not None
    assert quantization in reason
    assert "leave out 'quantization'" in reason


@pytest.mark.parametrize("first", ["pissa", "olora", "pissa_niter_4", "loftq"])
def test_first_values_that_change_weights_are_refused(
    make_backbone: MakeBackbone, first: str
) -> None:
    """PEFT would write them into numbers that a quantised layer drops again."""
    settings = {"settings": {"init_lora_weights": first}}
    (run,) = quick_runs("peft:LORA", configs=[settings], quantization="int8")
    backbone = load_backbone(make_backbone("bert"), [run])
    cls, config = registry.of_cell(run.cell)
    assert first in str(cls.unsupported_reason(run.cell.task, backbone, config))
    full = copy.copy(backbone)
    full.quantization = None
    assert cls.unsupported_reason(run.cell.task, full, config) is None


def test_a_missing_package_is_named(
    make_backbone: MakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.delitem(sys.modules, "gapbench.bench.models.nf4", raising=False)
    monkeypatch.delattr("gapbench.bench.models.nf4", raising=False)
    quantized._nf4.cache_clear()
    loading.load.cache_clear()
    (run,) = quick_runs("lora", quantization="nf4", precision="fp32")
    with pytest.raises(ConfigError, match=r"bitsandbytes.*gapbench\[quantized\]"):
        load_backbone(make_backbone("bert"), [run])


def test_experts_do_not_stay_in_full_unsaid(tmp_path: Path) -> None:
    """They are most of such a backbone, and no linear layers."""
    backbone = tiny_families.load("qwen3_moe", tmp_path, LANGUAGE_MODEL)
    with pytest.raises(BackboneError, match=r"is nf4, but 4 weights, such as .*experts.*; leave"):
        backbone.quantize("nf4")


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "mxfp4"])
def test_checkpoint_that_comes_quantized_is_refused(
    make_backbone: MakeBackbone, tmp_path: Path, method: str
) -> None:
    """Its numbers would depend on the library that reads them."""
    (run,) = quick_runs("lora")
    config = transformers.AutoConfig.from_pretrained(make_backbone("bert"))
    config.quantization_config = {"quant_method": method, "load_in_4bit": True}
    for file in make_backbone("bert").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config.save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match=f"already quantised.*{method}.*'quantization'"):
        load_backbone(tmp_path, [run])


def test_only_a_set_format_counts_for_the_hash() -> None:
    """Runs without it keep their hashes; each format is a setting of its own."""
    assert "quantization" not in CELL.model_dump(mode="json")
    hashes = {CELL.changed({"quantization": each}).hash for each in (None, *FORMATS)}
    assert len(hashes) == 1 + len(FORMATS)
    assert CELL.hash == Cell.model_validate(CELL.model_dump() | {"quantization": None}).hash


def test_suite_with_few_bits_runs(
    tmp_path: Path, make_backbone: MakeBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    """The flag and the field are one setting; `full` is skipped with the reason; records say it."""
    small = make(tmp_path, make_backbone("bert"), methods=["lora", "full"], seeds=1)
    checked = call(capsys, "check", *small.planning, "--quantization", "int4", "--json")
    verdicts = {row["method"]: row["verdict"] for row in checked.json}
    assert verdicts["lora"] == "ok"
    assert "leave out 'quantization'" in verdicts["full"]
    small.write_suite(quantization="int4")
    assert call(capsys, "run", *small.running, "--quantization", "int4").code == 0
    assert call(capsys, "run", *small.running).code == 0
    records = small.records()
    assert len(records) == 2
    assert all(b'"quantization":"int4"' in each.replace(b" ", b"") for each in records.values())
    stored = small.results / next(name for name in records if "/lora/" in name)
    again = call(capsys, "reproduce", stored, "--data", small.data, "--backbone", small.backbone)
    assert again.code == 0
