"""The unified dropout framework: its identity with LoRA, its positions, stacks and presets."""

import copy
import inspect
from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Fingerprint
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.models import attention
from gapbench.bench.models.attention_dropping import surviving
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.dropout_config import DroppingConfig
from gapbench.methods._shared.dropout_hooks import chosen
from gapbench.methods._shared.dropout_masks import Pattern
from gapbench.methods._shared.dropout_method import DroppingLora
from gapbench.methods.hiddenkey import HiddenKey, HiddenKeyConfig
from gapbench.methods.unified_dropout import UnifiedDropout
from tests.support.dropping_run import EVERYWHERE, FAMILIES, PATTERNS, PRESETS, ready
from tests.support.small_stack import MakeBackbone, load_backbone, make_runs, random_data, train

NOWHERE = dict.fromkeys(("logit_rate", "weight_rate", "ffn_rate", "embedding_rate", "head_rate"), 0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("consistency", ["none", "kl"])
def test_without_rates_it_is_lora_bit_for_bit(
    consistency: str, family: str, make_backbone: MakeBackbone
) -> None:
    """With every rate and the weight at 0, patterns and consistency change no bit of training."""
    config = {
        **NOWHERE,
        "logit_pattern": "element",
        "ffn_pattern": "span",
        "consistency": consistency,
        "consistency_weight": 0,
    }
    folder, data = make_backbone(family), random_data(outputs=3)
    plain, dropped = (
        train(folder, make_runs(name, (2,), configs=[c], outputs=3), data, scored=False).state.bank
        for name, c in (("lora", {}), ("unified_dropout", config))
    )
    assert torch.equal(plain.values, dropped.values)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_evaluation_is_that_of_lora_bit_for_bit(
    pattern: Pattern, family: str, make_backbone: MakeBackbone
) -> None:
    """In evaluation mode no position acts; in training mode they do."""
    patterns = {f"{place}_pattern": pattern for place in ("logit", "weight", "ffn", "embedding")}
    _, plain, batch = ready(make_backbone, "lora", family)
    _, dropping, _ = ready(make_backbone, "unified_dropout", family, **EVERYWHERE, **patterns)
    dropping.bank.values.copy_(plain.bank.values)
    outputs = [s.model.eval()(**batch.inputs).logits for s in (plain, dropping)]
    assert torch.equal(*outputs)
    trained = dropping.model.train()(**batch.inputs).logits
    assert not torch.allclose(trained, outputs[0])
    assert trained.isfinite().all()


def test_frozen_weights_get_no_gradient_and_the_update_folds_in(
    make_backbone: MakeBackbone,
) -> None:
    """Only updates and head train; folded into plain layers, the run gives the same outputs."""
    method, state, batch = ready(make_backbone, "hiddenkey")
    method.step(state, {"train": batch})
    frozen = [p for p in state.model.parameters() if not p.requires_grad]
    assert len(frozen) > 20
    assert all(p.grad is None for p in frozen)
    adapted = state.model.eval()(**batch.inputs).logits
    assert isinstance(method, HiddenKey)
    for name, layer in method.adapters.items():
        plain = nn.Linear(layer.in_features, layer.out_features, dtype=torch.float64)
        plain.load_state_dict(layer.plain(0))
        state.model.set_submodule(name, plain)
    torch.testing.assert_close(state.model(**batch.inputs).logits, adapted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("precision", ["fp64", "bf16"])
@pytest.mark.parametrize("family", ["bert", "llama", "deberta-v2"])
@pytest.mark.parametrize(
    "setting",
    [
        {"logit_rate": 0.3},
        {"weight_rate": 0.3},
        {"ffn_rate": 0.3},
        {"embedding_rate": 0.3},
        {"head_rate": 0.3},
        {"logit_rate": 0.3, "logit_pattern": "element"},
        {"weight_rate": 0.3, "weight_pattern": "span"},
        {"weight_rate": 0.3, "normaliser": "gradient"},
        {"ffn_rate": 0.3, "ffn_pattern": "column"},
        {"ffn_rate": 0.3, "rescale": "never"},
        {"embedding_rate": 0.3, "rescale": "always"},
        {"embedding_rate": 0.3, "embedding_pattern": "element"},
        {"logit_rate": 0.3, "ffn_rate": None},
        {"logit_rate": 0.3, "layers": [0, 1]},
        {"logit_rate": 0.3, "consistency": "kl"},
        {"logit_rate": 0.3, "consistency": "kl", "consistency_weight": 5.0},
        {"logit_rate": 0.3, "consistency": "js"},
    ],
    ids=lambda s: ",".join(f"{k}={v}" for k, v in s.items()),
)
def test_every_setting_changes_the_gradient(
    setting: dict[str, Any], family: str, precision: str, make_backbone: MakeBackbone
) -> None:
    """No setting is idle: each gives other gradients than the same without it."""
    gradients = []
    *_, varied = setting
    without = {k: v for k, v in setting.items() if k != varied}
    if varied == "layers":
        without["layers"] = [1, 2]
    for config in (setting, without):
        method, state, batch = ready(
            make_backbone, "unified_dropout", family, precision=precision, **config
        )
        state.optimizers["main"].step = lambda: torch.zeros(1)
        method.step(state, {"train": batch})
        gradients.append(state.bank.grads.clone())
    assert gradients[0].isfinite().all()
    assert not torch.allclose(*gradients, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("family", "untouched"), [("llama", 1), ("gpt2", 1), ("bert", 0)])
def test_automatic_layers_are_the_latter_half_of_decoders(
    family: str, untouched: int, make_backbone: MakeBackbone
) -> None:
    """In training, a decoder-only model's first half is what it is in evaluation."""
    _, state, batch = ready(make_backbone, "hiddenkey_minus", family, logit_rate=0.4)
    outputs: list[Tensor] = []
    for layer in attention.layers(state.model):
        layer.register_forward_hook(lambda _, __, out: outputs.append(out))
    state.model(**batch.inputs)
    state.model.eval()(**batch.inputs)
    states = [x if isinstance(x, Tensor) else x[0] for x in outputs]
    same = [torch.equal(states[i], states[i + 2]) for i in range(2)]
    assert same == [i < untouched for i in range(2)]


def test_latter_half_begins_at_half_of_the_layers() -> None:
    """Indices of at least half the count, so the smaller half where the count is odd."""
    assert chosen("auto", 24, causal=True) == range(12, 24)
    assert chosen("auto", 5, causal=True) == range(3, 5)
    assert chosen("auto", 5, causal=False) == range(5)
    assert chosen("latter_half", 4, causal=False) == range(2, 4)
    assert chosen((1, 3), 4, causal=True) == range(1, 3)


@pytest.mark.parametrize("family", ["bert", "llama", "deberta-v2"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_padding_changes_nothing_in_training(
    pattern: Pattern, family: str, make_backbone: MakeBackbone
) -> None:
    """A batch padded further, as neighbours in a stack make it, gives the same outputs."""
    patterns = {f"{place}_pattern": pattern for place in ("logit", "ffn", "embedding")}
    _, state, batch = ready(make_backbone, "unified_dropout", family, **EVERYWHERE, **patterns)
    wide = {k: nn.functional.pad(v, (0, 5)) for k, v in batch.inputs.items()}
    torch.testing.assert_close(
        state.model(**wide).logits, state.model(**batch.inputs).logits, rtol=0, atol=1e-12
    )


def test_real_layers_restore_lost_rows(
    make_backbone: MakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rates close to 1 lose most rows of every family, and nothing becomes NaN."""
    lost = []

    def counting(visible: Tensor | None, keep: Tensor) -> Tensor:
        left = keep if visible is None else visible & keep
        lost.append((~left.any(-1)).sum().item())
        return surviving(visible, keep)

    monkeypatch.setattr(attention, "surviving", counting)
    for family in FAMILIES:
        _, state, batch = ready(
            make_backbone, "unified_dropout", family, logit_rate=0.9, weight_rate=0.9, layers="all"
        )
        loss = state.model(**batch.inputs).logits.square().sum()
        loss.backward()
        assert state.bank.grads.isfinite().all()
        assert loss.isfinite()
        assert lost.pop() > 10


STACKED = [
    {"logit_rate": 0.0, "ffn_rate": 0.2, "rank": 2, "consistency_weight": 0.5},
    {"logit_rate": 0.2, "ffn_rate": None, "rank": 5, "alpha": 3},
    {"logit_rate": 0.4, "ffn_rate": 0.0, "weight_rate": 0.2, "dropout": 0.1},
    {"embedding_rate": 0.2, "head_rate": 0.3, "ffn_rate": 0.1, "consistency_weight": 2.0},
    {"rank": 3},
]


@pytest.mark.parametrize("family", ["bert", "llama", "deberta-v2"])
@pytest.mark.parametrize(
    "shared",
    [
        {},
        {"logit_pattern": "element", "ffn_pattern": "column", "consistency": "kl_both"},
        {"logit_pattern": "span", "ffn_pattern": "span", "weight_pattern": "element"},
        {"consistency": "kl"},
        {"consistency": "js", "reduction": "sum"},
    ],
    ids=lambda s: ",".join(map(str, s.values())) or "default",
)
def test_runs_of_different_rates_equal_solo_runs(
    shared: dict[str, Any], family: str, make_backbone: MakeBackbone
) -> None:
    """Rates, ranks and weights by run: together and alone give the same numbers in float64."""
    folder, data = make_backbone(family), random_data(outputs=3)
    runs = make_runs(
        "unified_dropout",
        range(5),
        configs=[{**shared, **c} for c in STACKED],
        outputs=3,
        steps=8,
    )
    logits = train(folder, runs, data, scored=False).logits(data)
    assert len({tuple(run.flatten().round(6)) for run in logits}) == 5
    for position, run in enumerate(runs):
        alone = train(folder, [run], data, scored=False).logits(data)[0]
        np.testing.assert_allclose(logits[position], alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "family"),
    sorted({*(("hiddenkey", f) for f in FAMILIES), *zip(PRESETS, cycle(FAMILIES), strict=False)}),
)
def test_presets_train_on_every_family(name: str, family: str, make_backbone: MakeBackbone) -> None:
    """Two stacked runs of each preset lower their loss, with the passes that they declare.

    Presets differ by defaults alone, so one that drops at several positions tries every family.
    """
    data = random_data(outputs=3)
    runs = make_runs(
        name, (0, 1), outputs=3, steps=20, evaluations=1, trainings=[{"learning_rate": 0.02}]
    )
    trained = train(make_backbone(family), runs, data)
    cls, config = registry.get(name), trained.method.configs[0]
    for trace in trained.trainer.traces:
        assert trace.curve[-1].train_loss < trace.curve[0].train_loss
        passes = (trace.forward_passes + trace.backward_passes) / trace.steps
        assert passes == 2 * cls.relative_cost(config)
    assert np.isfinite(trained.logits(data)).all()


def test_presets_differ_from_the_framework_by_defaults_alone() -> None:
    """Each preset has every setting of the framework, some other default, and no code."""
    base = {n: f.default for n, f in DroppingConfig.model_fields.items()}
    changed = {}
    for name in PRESETS:
        cls = registry.get(name)
        for own, parent in ((cls, DroppingLora), (cls.Config, DroppingConfig)):
            assert own.__base__ is parent
            assert "def " not in inspect.getsource(own)
        fields = cls.Config.model_fields
        assert fields.keys() == base.keys()
        assert all(field.description for field in fields.values())
        changed[name] = {n for n, field in fields.items() if field.default != base[n]}
    assert changed == {
        "dropkey": {"logit_rate"},
        "dropattention": {"weight_rate"},
        "hiddencut": {"ffn_rate"},
        "r_drop": {"dropout", "ffn_rate", "layers", "regression_consistency"}
        | {"consistency", "consistency_weight"},
        "hiddenkey_minus": {"logit_rate", "ffn_rate"},
        "hiddenkey": {"logit_rate", "ffn_rate", "consistency"},
    }


MakeConfig = Callable[[], transformers.PretrainedConfig]


@pytest.mark.parametrize(
    ("make_config", "rank", "count"),
    [
        (
            lambda: transformers.RobertaConfig(
                hidden_size=1024,
                num_hidden_layers=24,
                num_attention_heads=16,
                intermediate_size=4096,
            ),
            8,
            786_432,
        ),
        (lambda: transformers.GPT2Config(n_embd=1024, n_layer=24, n_head=16), 4, 393_216),
        (lambda: transformers.LlamaConfig(), 8, 4_194_304),
    ],
    ids=["roberta-large", "gpt2-medium", "llama2-7b"],
)
def test_trained_parameters_are_as_many_as_published(
    make_config: MakeConfig, rank: int, count: int
) -> None:
    """Query and value, or GPT-2's fused projection, give 0.79 M, 0.39 M and 4.19 M without head."""
    meta = torch.device("meta")
    with meta:
        model = transformers.AutoModelForSequenceClassification.from_config(make_config())
    name = "score" if hasattr(model, "score") else "classifier"
    backbone = Backbone(Fingerprint(name="meta", digest="0"), model, None, [name])
    axis = RunAxis([0], meta, torch.float32)
    method = HiddenKey("hiddenkey", [HiddenKeyConfig(rank=rank)], axis)
    method.adapt(model, backbone)
    assert sum(layer.parameter_count(0) for layer in method.adapters.values()) == count


def test_positions_that_a_backbone_lacks_are_skipped_with_the_reason(
    make_backbone: MakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each refusal says what is missing; without the position in question there is none."""
    runs = make_runs("unified_dropout")
    backbone = load_backbone(make_backbone("bert"), runs)
    task = runs[0].cell.task

    def reason(**config: Any) -> str | None:
        return UnifiedDropout.supports(task, backbone, DroppingConfig(**config))

    assert reason(**EVERYWHERE) is None
    assert reason(rank=25) == "rank is 25, but layer bert.encoder.layer.0.attention.self.query " + (
        "allows 1 to 24"
    )
    assert reason(ffn_rate=0.1, layers=[1, 3]) == "layers ends at 3, but the backbone has 2"
    monkeypatch.setattr(transformers.BertPreTrainedModel, "_supports_attention_backend", False)
    backbone = copy.copy(backbone)  # what was found of the first is remembered
    assert reason(logit_rate=0.1) == (
        "the attention of a bert backbone cannot drop: "
        "it uses no attention function of the library's registry"
    )
    assert reason(ffn_rate=0.1) is None
    monkeypatch.setattr("gapbench.methods._shared.dropout_hooks._FEED_FORWARD", ("elsewhere",))
    assert (
        reason(ffn_rate=0.1) == "no feed-forward output is known in the layers of a bert backbone"
    )
    monkeypatch.setattr(attention, "attentions", lambda _: [])
    assert reason(ffn_rate=0.1) == "a bert backbone keeps no list of its layers, so none can drop"
    assert reason(head_rate=0.1) is None


@pytest.mark.parametrize("layers", [[2, 2], [-1, 2], [0, 1, 2], "first"])
def test_a_wrong_range_of_layers_is_refused(layers: Any) -> None:
    """The message names the field."""
    with pytest.raises(ConfigError, match="layers"):
        registry.resolve_config("unified_dropout", {"layers": layers}, "test")


def test_a_range_of_layers_survives_storage() -> None:
    """Settings read back from plain data are the same."""
    stored = registry.resolve_config("hiddenkey", {"layers": [0, 1]}, "test")
    assert stored["layers"] == [0, 1]
    assert registry.resolve_config("hiddenkey", stored, "test") == stored
