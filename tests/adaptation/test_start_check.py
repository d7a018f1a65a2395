"""A stack whose adapted model does not begin as the backbone fails, and none other is touched."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertIntermediate

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.core import plugins
from gapbench.bench.core.errors import StartError
from gapbench.bench.models import attention
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.training.trainer import Trainer
from gapbench.methods._shared.lowrank import StackedLora
from gapbench.methods.full import Full
from gapbench.methods.lora import Lora
from tests.support import tiny_families
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    load_backbone,
    make_runs,
    random_data,
    train,
)
from tests.support.small_suite import call, make

Capture = pytest.CaptureFixture[str]


class _Shifted(StackedLora):
    def initial(self, index: int, rank: int, member: int) -> tuple[Tensor, Tensor]:
        a, b = super().initial(index, rank, member)
        return a, b + 0.1


class Misplaced(Lora):
    """A LoRA whose B is not zero at first."""

    name = "misplaced"

    def layer(self, base: nn.Module, site: str) -> StackedLora:
        return _Shifted(self.axis, base, site, **self.layer_settings())


class Elsewhere(Misplaced):
    """The same, by design."""

    name = "elsewhere"
    starts_at_backbone: ClassVar[bool] = False  # type: ignore[assignment]


class Frozen(Full):
    """A method that changes a pretrained weight."""

    name = "frozen"

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:  # noqa: ARG002
        norm = model.get_submodule("bert.encoder.layer.1.output.LayerNorm")
        norm.weight = nn.Parameter(norm.weight * 1.05)
        return model


@pytest.fixture(autouse=True)
def registered() -> object:
    """Make the methods above known while a test runs."""
    for cls in (Misplaced, Elsewhere, Frozen):
        registry.register(cls)
    yield
    for cls in (Misplaced, Elsewhere, Frozen):
        del plugins.registered[cls.name]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["misplaced", "frozen"])
def test_wrong_start_is_refused(name: str, precision: str, make_backbone: MakeBackbone) -> None:
    """An update that is not zero, or a changed weight, is told from rounding in any precision."""
    runs = make_runs(name, (0,), precision=precision)
    backbone = load_backbone(make_backbone("bert"), runs)
    with pytest.raises(StartError, match=rf"method '{name}': before the first step its logits"):
        set_up(runs, backbone, random_data(), CPU, check=True)


def test_attention_that_is_not_the_models_own_is_refused(
    make_backbone: MakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain model keeps the library's attention, so a fault in ours shows."""
    monkeypatch.setattr(attention, "_visible", lambda *_, **__: None)
    runs = make_runs("lora", (0, 1), precision="fp32")
    with pytest.raises(StartError):
        set_up(runs, load_backbone(make_backbone("llama"), runs), random_data(), CPU, check=True)


def test_layer_that_the_model_does_not_call_is_named(
    make_backbone: MakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some models take a layer's numbers and multiply themselves, past any update of it."""

    def read(module: nn.Module, x: Tensor, *_: object) -> Tensor:
        return nn.functional.linear(x, module.dense.weight)

    monkeypatch.setattr(BertIntermediate, "forward", read)
    data = random_data()
    for name, config, way in (
        ("lora", {"targets": "all-linear"}, "leave it out of 'targets'"),
        ("bitfit", {}, "use another backbone"),  # it has no such field
    ):
        runs = make_runs(name, (0,), configs=[config], precision="fp32")
        with pytest.raises(StartError, match=rf"intermediate\.dense without calling .*{way}"):
            set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU, check=True)


@pytest.mark.parametrize("name", ["lora", "lora_dropout", "bilora", "dora"])
def test_adapters_without_any_effect_are_refused(name: str, tmp_path: Path) -> None:
    """Without its kernel, MRA's attention gives zeros, whatever query, key and value are."""
    backbone = tiny_families.load("mra", tmp_path, SEQUENCE_CLASSIFICATION)
    runs = make_runs(name, (0, 1), precision="fp32")
    with pytest.raises(
        StartError, match="so that only the head would train; use the method 'head'"
    ):
        set_up(runs, backbone, random_data(), CPU, check=True)
    everywhere = make_runs(name, (0,), configs=[{"targets": "all-linear"}], precision="fp32")
    set_up(everywhere, backbone, random_data(), CPU, check=True)  # others reach the logits


def test_method_that_begins_elsewhere_by_design_says_so(make_backbone: MakeBackbone) -> None:
    """It is not checked."""
    runs = make_runs("elsewhere", (0,))
    set_up(runs, load_backbone(make_backbone("bert"), runs), random_data(), CPU, check=True)


@pytest.mark.parametrize("family", ["bert", "llama", "deberta-v2"])
@pytest.mark.parametrize("name", ["lora", "lora_ensemble", "lora_dropout", "hiddenkey", "full"])
def test_check_changes_nothing(name: str, family: str, make_backbone: MakeBackbone) -> None:
    """A checked stack, of several runs where it can be, begins and draws as an unchecked one."""
    runs = make_runs(name, (0, 1) if registry.get(name).stackable else (0,), precision="fp32")
    backbone, data = load_backbone(make_backbone(family), runs), random_data()
    plain, checked = (set_up(runs, backbone, data, CPU, check=check) for check in (False, True))
    torch.testing.assert_close(checked[1].bank.values, plain[1].bank.values, rtol=0, atol=0)
    assert checked[1].axis.step == plain[1].axis.step == 0
    assert not checked[1].bank.grads.any()


def test_failing_stack_is_recorded_with_the_reason(
    tmp_path: Path, make_backbone: Callable[[str], Path], capsys: Capture
) -> None:
    """The runs of such a method fail, their neighbours in the suite do not."""
    methods = [{"method": "misplaced", "config": {"rank": 2}}, "head"]
    small = make(tmp_path / "small", make_backbone("bert"), seeds=1, methods=methods)
    answer = call(capsys, "run", *small.running, "--workers", "1", "--json")
    assert answer.json["now"] == {"ok": 1, "failed": 1}
    assert "its logits differ from those of the backbone" in answer.err


@pytest.mark.parametrize("first", ["olora", "pissa"])
def test_peft_changes_no_weight_that_other_runs_share(
    first: str, make_backbone: MakeBackbone
) -> None:
    """Initial values that move part of a weight into the adapter leave the original alone."""
    settings = {"target_modules": ["query"], "init_lora_weights": first, "r": 4}
    runs = make_runs("peft:LORA", (0,), configs=[{"settings": settings}], steps=2, precision="fp32")
    backbone = load_backbone(make_backbone("bert"), runs)
    before = {name: values.clone() for name, values in backbone.model().state_dict().items()}
    set_up(runs, backbone, random_data(), CPU, check=True)
    assert all(torch.equal(v, before[n]) for n, v in backbone.model().state_dict().items())


def test_types_of_peft_that_begin_elsewhere_are_known(make_backbone: MakeBackbone) -> None:
    """Random first values are asked for, or the type's own."""
    folder, query = make_backbone("bert"), {"target_modules": ["query"]}
    for name, settings in (
        ("LORA", {"init_lora_weights": False}),
        ("FOURIERFT", {"n_frequency": 9}),
    ):
        configs = [{"settings": query | settings}]
        runs = make_runs(f"peft:{name}", (0,), configs=configs, steps=2, precision="fp32")
        method, _ = set_up(runs, load_backbone(folder, runs), random_data(), CPU, check=True)
        assert not method.starts_at_backbone


@pytest.mark.parametrize("kind", ["RANDLORA", "TINYLORA"])
def test_peft_layers_that_are_linear_by_class_train_in_bf16(
    kind: str, make_backbone: MakeBackbone
) -> None:
    """Their weight is that of the layer inside, which alone is halved."""
    configs = [{"settings": {"target_modules": ["query"]}}]
    runs = make_runs(f"peft:{kind}", (0,), configs=configs, steps=2, precision="bf16")
    trained = train(make_backbone("bert"), runs, random_data())
    assert trained.trainer.traces[0].diverged is None


@pytest.mark.parametrize(
    ("family", "said"),
    [
        *((name, None) for name in ("bert", "mpnet", "roformer", "gptj", "gpt_neo", "funnel")),
        ("falcon", "no hidden state goes through it"),
        ("bloom", "no hidden state goes through it"),
        ("xlnet", "its rows are not texts"),
    ],
)
def test_backbone_dropout_drops_hidden_states_or_is_refused(
    family: str, said: str | None, tmp_path: Path
) -> None:
    """Weights of attention stay whole; a family that reads the rate elsewhere would not drop."""
    backbone = tiny_families.load(family, tmp_path, SEQUENCE_CLASSIFICATION)
    config = {"targets": "all-linear"} if family == "xlnet" else {}
    found = []
    for rate in (0.0, 0.4):
        runs = make_runs("lora", (0, 1), configs=[config], backbone_dropout=rate, steps=2)
        for seeds in range(1, 6) if rate and said is not None else ():
            name = "peft:LORA" if family == "bloom" and seeds == 1 else "lora"
            settings = {"settings": {"init_lora_weights": False}} if name != "lora" else config
            own = make_runs(name, range(seeds), configs=[settings], backbone_dropout=rate)
            with pytest.raises(StartError, match=f"'backbone_dropout' cannot act .* {said}"):
                set_up(own, backbone, random_data(), CPU, check=True)
        if rate and said is not None:
            return
        method, state = set_up(runs, backbone, random_data(), CPU, check=True)
        Trainer(runs, method, state, random_data(), lambda _: None).train()
        found.append(state.bank.values.clone())
    assert not torch.equal(*found)
