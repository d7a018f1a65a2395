"""Default targets of families are PEFT's, and what no update can adapt is named."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PEFT_TARGETS

from gapbench.bench.adaptation import registry
from gapbench.bench.config.head import LANGUAGE_MODEL, SEQUENCE_CLASSIFICATION, HeadType
from gapbench.bench.config.run import Fingerprint
from gapbench.bench.core.errors import BackboneError, ConfigError
from gapbench.bench.models import attention
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared import dropout_hooks
from tests.support import tiny_families
from tests.support.small_stack import make_task

# Families for which PEFT has no default, or another: Phi's feed-forward part too.
OWN = {
    "albert": ["query", "value"],
    "modernbert": ["Wqkv"],
    "distilbert": ["q_lin", "v_lin"],
    "gemma3_text": ["q_proj", "v_proj"],
    "phi": ["q_proj", "v_proj"],
    "phi3": ["qkv_proj"],
    "olmo2": ["q_proj", "v_proj"],
    "granite": ["q_proj", "v_proj"],
    "mpnet": ["q", "v"],
}
AS_PEFT = (
    "bert",
    "roberta",
    "electra",
    "deberta",
    "deberta-v2",
    "gpt2",
    "gpt_neox",
    "opt",
    "bloom",
)
AS_PEFT += ("llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma2", "t5", "bart", "mpt")


def _backbone(family: str, **settings: Any) -> Backbone:
    """Return a backbone without numbers."""
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(tiny_families.config(family, **settings))
    return Backbone(Fingerprint(name=family, digest="0"), model, None, ())


@pytest.mark.parametrize("family", [*OWN, *AS_PEFT])
def test_default_is_query_and_value(family: str) -> None:
    """By the names of the family, or the fused projection where it has only that."""
    endings = {name.rpartition(".")[2] for name in _backbone(family).target_layers("default")}
    assert endings == set(OWN.get(family) or PEFT_TARGETS[family])


def test_family_without_such_projections_asks_for_targets() -> None:
    """The message says what to set."""
    with pytest.raises(
        BackboneError, match="no query and value projections are known; set 'targets'"
    ):
        _backbone("fnet").target_layers("default")


def test_no_layer_at_all_is_refused() -> None:
    """LoRA without a layer would be `head` under another name."""
    with pytest.raises(BackboneError, match="so nothing but the head would train"):
        _backbone("bert").target_layers(())


def test_experts_are_not_left_out_unsaid() -> None:
    """Their weights are no linear layers, so 'all-linear' is refused, and names are not."""
    lora, task = registry.get("lora"), make_task()
    reason = lora.supports(task, _backbone("mixtral"), lora.Config(targets="all-linear"))
    assert reason is not None
    assert "layers.0.mlp.experts.gate_up_proj, hold several linear maps" in reason
    assert lora.supports(task, _backbone("mixtral"), lora.Config()) is None
    for family in ("llama", "bert", "t5"):  # nor are biases of positions
        assert lora.supports(task, _backbone(family), lora.Config(targets="all-linear")) is None


def test_experts_in_embeddings_are_experts() -> None:
    """Doge looks its experts up; nothing would adapt them."""
    lora = registry.get("lora")
    backbone = _backbone("doge", is_moe=True)
    reason = lora.supports(make_task(), backbone, lora.Config(targets="all-linear", rank=2))
    assert reason is not None
    assert "layers.0.mlp.down_embed.weight, hold several linear maps" in reason
    assert _backbone("doge", is_moe=False).stacked_weights() == []


@pytest.mark.parametrize("family", ["squeezebert", "ibert"])
def test_family_without_linear_layers_in_its_blocks_is_refused(family: str) -> None:
    """All linear layers would be the pooler's, or none: `head` under another name."""
    with pytest.raises(BackboneError, match=f"no block of the family {family!r} has a linear"):
        _backbone(family).target_layers("all-linear")


@pytest.mark.parametrize(("family", "adapted"), [("mixtral", True), ("gpt_oss", False)])
def test_peft_adapts_all_experts_or_is_refused(family: str, adapted: bool, tmp_path: Path) -> None:
    """PEFT knows the experts of some families alone, and says nothing of the others."""
    backbone = tiny_families.load(family, tmp_path, LANGUAGE_MODEL)
    settings = {"r": 2, "lora_alpha": 4, "target_modules": "all-linear"}
    method = registry.get("peft:LORA")
    made = method(
        "peft:LORA",
        [method.Config(settings=settings)],
        RunAxis([0], torch.device("cpu"), torch.float32),
    )
    if adapted:
        made.adapt(backbone.model(), backbone)
        return
    with pytest.raises(ConfigError, match=r"leaves out 4 weights .* such as model\.layers\.0"):
        made.adapt(backbone.model(), backbone)


@pytest.mark.parametrize(
    ("family", "head"), [("jamba", SEQUENCE_CLASSIFICATION), ("mamba", LANGUAGE_MODEL)]
)
def test_every_linear_layer_is_called(family: str, head: HeadType, tmp_path: Path) -> None:
    """An update of a layer whose numbers are taken out of it would have no effect."""
    backbone = tiny_families.load(family, tmp_path, head)
    model: Any = backbone.model()
    called: set[str] = set()
    for name in backbone.linear_layers():
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: called.add(name))
    model(torch.arange(4, 60)[None])
    assert called == set(backbone.linear_layers())
    assert not any(name.endswith("dt_proj") for name in called)


@pytest.mark.parametrize("family", ["opt", "granitemoe", "gpt_oss", "llama", "gpt2"])
def test_feed_forward_output_is_what_the_residual_sum_adds(family: str, tmp_path: Path) -> None:
    """Zeroed in every layer, it leaves the layer's output what its attention made of the input."""
    backbone = tiny_families.load(family, tmp_path, LANGUAGE_MODEL)
    model: Any = backbone.model()
    (layer, *_) = attention.layers(model)
    place = dropout_hooks._feed_forward(layer)
    assert place is not None
    entered: list[torch.Tensor] = []
    norms = [m for n, m in layer.named_modules() if n.endswith(NORMS)]
    assert norms, [n for n, _ in layer.named_modules()]
    norms[0].register_forward_pre_hook(lambda _, args: entered.append(args[0]))

    def zero(_: Any, __: Any, output: Any) -> Any:
        return (output[0] * 0, *output[1:]) if isinstance(output, tuple) else output * 0

    place.register_forward_hook(zero)
    left: list[Any] = []
    layer.register_forward_hook(lambda _, __, output: left.append(output))
    model(torch.tensor([[5, 6, 7]]))
    output = left[0][0] if isinstance(left[0], tuple) else left[0]
    torch.testing.assert_close(output, entered[0].view_as(output))


# What a layer applies to the residual stream before its feed-forward part.
NORMS = ("final_layer_norm", "post_attention_layernorm", "norm_2", "ln_2")
