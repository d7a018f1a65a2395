"""Settings under which a method would be another one, or could not move, are refused by name."""

from pathlib import Path
from typing import Any

import pytest

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import unsupported_reason
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.tuning.space import space_of
from tests.support import tiny_families
from tests.support.small_stack import MakeBackbone, load_backbone, make_runs, make_task


@pytest.fixture(scope="module", params=["llama", "bert"])
def shallow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A decoder and an encoder of one layer."""
    folder: Path = tmp_path_factory.mktemp("shallow")
    family: str = request.param
    return tiny_families.load(family, folder, SEQUENCE_CLASSIFICATION, num_hidden_layers=1)


def _reason(name: str, backbone: Backbone, **config: Any) -> str:
    cls = registry.get(name)
    return cls.supports(make_task(), backbone, cls.Config.model_validate(config)) or "none"


@pytest.mark.parametrize("name", ["hiddenkey", "hiddenkey_minus", "dropkey", "hiddencut"])
def test_latter_half_of_one_layer_is_none_of_it(name: str, shallow: Backbone) -> None:
    """HiddenKey would be LoRA at twice its passes."""
    told = "is the latter half of 1 layer, so none drops; set it to 'all'"
    by_default = _reason(name, shallow)
    assert (told in by_default) == (shallow.family == "llama")
    assert told in _reason(name, shallow, layers="latter_half")
    assert _reason(name, shallow, layers="all") == "none"


def test_choice_among_one_block_is_refused(shallow: Backbone) -> None:
    """Flexora's search could move nothing, and would end every run."""
    words = "there is only one block to choose from"
    assert words in _reason("flexora", shallow)
    assert words in _reason("flexora", shallow, selection="top_k")
    assert _reason("flexora", shallow, granularity="module") == "none"
    assert "which is 'lora'" in _reason("flexora_random", shallow)


@pytest.fixture
def backbone(make_backbone: MakeBackbone) -> Backbone:
    """An encoder of two layers."""
    return load_backbone(make_backbone("bert"), make_runs("lora"))


@pytest.mark.parametrize(
    ("name", "config", "told"),
    [
        ("flexora", {"selection": "top_k", "blocks": 2}, "'top_k' chooses 1 to 1 of 2"),
        ("flexora_random", {"blocks": 2}, "all 2 blocks"),
        ("bilora", {"rank": 1}, "'softmax' values never change"),
        ("bilora_joint", {"rank": 1}, "'softmax' values never change"),
        ("lora_dropout", {"rate": 1.0}, "every update is zeroed"),
        ("adalora_dropout", {"rate": 1.0}, "every update is zeroed"),
        ("hiddenkey", {"consistency_weight": 0.0}, "the second pass does nothing"),
        ("unified_dropout", {"consistency": "js", "consistency_weight": 0.0}, "does nothing"),
        ("sam_lora", {"radius": 0.0}, "which is 'lora' at twice the passes"),
        ("lora_ensemble", {"members": 1}, "which is 'lora'"),
        ("lora_ensemble_equal_passes", {"members": 1}, "which is 'lora'"),
        ("lora_dropout", {"rate": 0.0}, "rate is 0, so the 4 masked copies that score"),
        ("adalora_dropout", {"rate": 0.0}, "rate is 0, so the 4 masked copies that score"),
        ("lora_dropout", {"rate": 7e-6}, "rate is 7e-06, so the 4 masked copies that score"),
        ("lora_dropout", {"rate": 0.0, "instances": 1, "test_instances": 3}, "the 3 masked copies"),
        ("swag_lora", {"scale": 0.0}, "scale is 0: all 15 samples are the mean"),
        ("swag_lora", {"start": 1.0}, "start is 1, so no iterate counts: all 15 samples"),
    ],
)
def test_setting_without_effect_is_refused(
    name: str, config: dict[str, Any], told: str, backbone: Backbone
) -> None:
    """The reason says why, and the method's default is not touched."""
    assert told in _reason(name, backbone, **config)
    assert _reason(name, backbone) == "none"


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("bilora", {"rank": 1, "values": "real"}),
        ("flexora", {"selection": "top_k", "blocks": 1}),
        ("r_drop", {"consistency_weight": 0.0}),  # both passes still have a task loss
        ("lora_dropout", {"rate": 8e-6}),  # resolved to 1/65,536
        ("swag_lora", {"scale": 0.0, "samples": 0}),
    ],
)
def test_setting_with_some_effect_is_left(
    name: str, config: dict[str, Any], backbone: Backbone
) -> None:
    """Only what can do nothing at all is refused."""
    assert _reason(name, backbone, **config) == "none"


_NOTHING_DROPS = [
    ("hiddenkey", {"logit_rate": 0.0}, "consistency is 'kl', but every rate"),
    ("hiddenkey", {"logit_rate": 0.0, "consistency": "js"}, "consistency is 'js'"),
    ("hiddenkey", {"logit_rate": 5e-6, "ffn_rate": 0.0}, "consistency is 'kl'"),
    ("r_drop", {"dropout": 0.0, "ffn_rate": 0.0}, "consistency is 'kl_both', but every rate"),
    ("unified_dropout", {"consistency": "kl"}, "consistency is 'kl', but every rate"),
    ("dropkey", {"logit_rate": 0.0, "consistency": "kl_both"}, "consistency is 'kl_both'"),
    ("lora_dropout", {"rate": 0.0, "inference": "expected"}, "instances is 4, but rate"),
    ("adalora_dropout", {"rate": 0.0, "inference": "raw"}, "instances is 4, but rate"),
]


@pytest.mark.parametrize(("name", "config", "told"), _NOTHING_DROPS)
def test_passes_that_nothing_makes_differ_are_refused(
    name: str, config: dict[str, Any], told: str, backbone: Backbone
) -> None:
    """One dropout anywhere, the backbone's own too, is enough to train."""

    def reason(backbone_dropout: float = 0.0, **changed: Any) -> str:
        settings = config | changed
        run = make_runs(name, configs=[settings], backbone_dropout=backbone_dropout)[0]
        return unsupported_reason(run.cell, backbone) or "none"

    assert told in reason()
    assert "backbone_dropout" in reason(5e-6)
    assert reason(0.1) == "none"
    assert reason(dropout=0.1) == "none"


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("dropkey", {"logit_rate": 0.0}),
        ("unified_dropout", {}),
        ("drop_lora", {"rank_rate": 0.0}),
        ("lora_dropout", {"rate": 0.0, "instances": 1, "inference": "expected"}),
        ("r_drop", {"dropout": 0.0, "ffn_rate": 0.0, "consistency": "none"}),
    ],
)
def test_control_that_is_lora_at_its_cost_may_train(
    name: str, config: dict[str, Any], backbone: Backbone
) -> None:
    """It costs nothing more, and shows that the rest of a method changes nothing."""
    cell = make_runs(name, configs=[config])[0].cell
    assert unsupported_reason(cell, backbone) is None
    assert registry.get(name).relative_cost(registry.of_cell(cell)[1]) == 1


def test_tuner_proposes_no_rank_that_is_refused(backbone: Backbone) -> None:
    """The range begins where the method begins to work."""
    for name, low in (("bilora", 2), ("lora", 1)):
        cell = make_runs(name)[0].cell
        assert space_of(cell, "full", backbone)["rank"].low == low
