"""Search spaces: as many dimensions for every method, legal values, shared first points."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import unsupported_reason
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.config.run import Cell, Training
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.models import loading
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.tuning.schema import Dimension
from gapbench.bench.tuning.space import (
    _SPARE,
    DIMENSIONS,
    START,
    apply,
    distribution,
    space_of,
    start_points,
)
from tests.support.small_suite import CELL

PAGES = Path(__file__).parents[2] / "docs" / "methods"
TRAINED = [name for name, method in registry.discover().items() if method.trains]


@pytest.fixture
def backbone(make_backbone: Callable[[str], Path]) -> Backbone:
    """A random encoder of width 24."""
    folder = make_backbone("bert")
    return loading.load(str(folder), CELL.backbone, SEQUENCE_CLASSIFICATION, 2, "fp32")


def cell(name: str, **training: object) -> Cell:
    """Return the cell of a method with its defaults."""
    name = "peft:LORA" if name == "peft" else name
    resolved = registry.resolve_config(name, {}, "here")
    settings = Training.model_validate(dict(registry.get(name).training) | training)
    fields = {field: getattr(CELL, field) for field in Cell.model_fields}
    return Cell(**fields | {"method": name, "config": resolved, "training": settings})


@pytest.mark.parametrize("name", TRAINED)
def test_every_method_has_as_many_dimensions(name: str, backbone: Backbone) -> None:
    """Three by default, learning rate first, two decades of it; the full space has those too."""
    own = cell(name)
    space = space_of(own, "default", backbone)
    full = space_of(own, "full", backbone)
    assert len(space) == DIMENSIONS
    assert next(iter(space)) == "learning_rate"
    assert list(full)[:DIMENSIONS] == list(space)
    low, high = registry.get(own.method).learning_rates
    assert high / low == pytest.approx(100)
    assert set(registry.get(own.method).search_space()) <= set(full)


FAMILIES = {
    "drop rate": {
        **dict.fromkeys(("dropkey", "hiddenkey", "hiddenkey_minus"), "logit_rate"),
        **dict.fromkeys(("hiddencut", "r_drop"), "ffn_rate"),
        "unified_dropout": "logit_rate",
        "dropattention": "weight_rate",
        "lora_dropout": "rate",
        "adalora_dropout": "rate",
        "drop_lora": "rank_rate",
    },
    "learning rate of a second group or level": {
        "bilora": "value_lr_ratio",
        "bilora_joint": "value_lr_ratio",
        "bidora": "magnitude_lr_ratio",
        "lora_plus": "ratio",
        "flexora": "outer_learning_rate",
    },
    "radius of flatness": dict.fromkeys(("sam_lora", "flat_lora", "bidirectional_lora"), "radius"),
    "spread of sampled weights": {
        "blob": "divergence_rate",
        "ivon": "ess",
        "swag_lora": "scale",
        "tfb": "tolerance",
        "monteclora": "noise_scale",
    },
    "strength of a disturbance of inputs or labels": {
        "neftune": "noise_alpha",
        "mixup_hidden": "mixing",
        "label_smoothing": "smoothing",
    },
    "part of training that is averaged": {"lora_ema": "decay", "lora_swa": "start"},
    "dropout, as of plain LoRA": {
        **dict.fromkeys(("lora", "rslora", "dora", "laplace_lora", "flexora_random"), "dropout"),
        **dict.fromkeys(("lora_ensemble", "lora_ensemble_equal_passes"), "dropout"),
    },
    "settings of the optimiser": {
        **dict.fromkeys(("full", "bitfit", "head", "peft"), "warmup_fraction"),
        "lora_weight_decay": "weight_decay",
        "lora_early_stop": "patience",
    },
    "its own": {"adalora": "orthogonality", "allora": "eta"},
}
"""The last dimension of the default space of methods of this package, by what it is.

A method that is not named here is held to what is asked of all.
"""


@pytest.mark.parametrize("family", FAMILIES)
def test_methods_of_a_family_search_the_same_kind_of_setting(
    family: str, backbone: Backbone
) -> None:
    """After learning rate and rank comes what the family has in common."""
    searched = {name: list(space_of(cell(name), "default", backbone)) for name in FAMILIES[family]}
    assert {name: own[-1] for name, own in searched.items()} == FAMILIES[family]


def test_families_name_methods_that_there_are_once() -> None:
    """A name that is no method's, or stands in two families, is a mistake."""
    named = [name for family in FAMILIES.values() for name in family]
    assert sorted(named) == sorted({*named} & {*TRAINED})
    assert len(named) >= 43  # those of today; a new method need not be among them


def test_setting_that_methods_share_is_searched_for_all_or_none() -> None:
    """The full spaces of methods with a dropout, a consistency loss or a penalty hold them."""
    for name in TRAINED:
        method = registry.get(cell(name).method)
        space, config = method.search_space(), method.Config()
        for field in ("rank", "dropout", "orthogonality"):
            if name != "peft":
                assert (field in space) == hasattr(config, field), (name, field)
        consistent = getattr(config, "consistency", "none") != "none"
        assert ("consistency_weight" in space) == consistent, name


@pytest.mark.parametrize("name", TRAINED)
def test_page_names_what_a_tuner_varies(name: str, backbone: Backbone) -> None:
    """All of the full space, but what every method has: the learning rate and spare settings."""
    page = " ".join((PAGES / f"{name}.md").read_text(encoding="utf-8").split())
    sentence = re.search(r"A tuner may vary ([^.]*)\.", page)
    named = re.findall(r"`(\w+)`", sentence[1]) if sentence else []
    method = registry.get(cell(name).method)
    common = {"learning_rate"} | ({*_SPARE} - set(method.training))
    assert set(named) == set(space_of(cell(name), "full", backbone)) - common
    assert len(set(named)) == len(named)


@pytest.mark.parametrize("name", TRAINED)
def test_ends_of_every_dimension_are_legal_and_hold_the_default(
    name: str, backbone: Backbone
) -> None:
    """Each end gives settings that the method accepts and the backbone can do."""
    own = cell(name)
    for field, dimension in space_of(own, "full", backbone).items():
        assert distribution(dimension)._contains(
            distribution(dimension).to_internal_repr(dimension.default)
        )
        for end in dimension.choices or (dimension.low, dimension.high):
            value = int(end or 0) if dimension.kind == "int" else end
            trial = apply(own, {field: dimension}, {field: value})
            assert unsupported_reason(trial, backbone) is None
            assert trial.hash != own.hash or value == dimension.default


@pytest.mark.parametrize("name", TRAINED)
def test_first_point_is_the_default_itself(name: str, backbone: Backbone) -> None:
    """Trial 0 has the very settings that the suite runs without tuning."""
    own = cell(name)
    space = space_of(own, "full", backbone)
    assert apply(own, space, start_points(space, 0)[0]).hash == own.hash


def test_spread_points_of_methods_share_rates_and_ranks(backbone: Backbone) -> None:
    """The same learning rates meet the same ranks, whatever the third dimension is."""
    spaces = [space_of(cell(name), "default", backbone) for name in ("lora", "hiddenkey")]
    first, second = ([(p["learning_rate"], p["rank"]) for p in start_points(s, 4)] for s in spaces)
    assert first == second
    assert len(first) == START
    assert len(set(first)) == START


def test_spread_points_fill_every_dimension_evenly() -> None:
    """Of eight places of each range the seven points take seven."""
    space = {
        "learning_rate": Dimension(where="training", kind="float", low=0, high=1, default=0),
        "dropout": Dimension(where="config", kind="float", low=0, high=1, default=0),
    }
    for seed in range(5):
        for name in space:
            values = [float(p[name] or 0) for p in start_points(space, seed)[1:]]
            offset = min(values) % (1 / 8)
            assert len({math.floor((value - offset) * 8 + 1e-6) % 8 for value in values}) == 7


def test_range_is_widened_to_hold_the_settings_of_the_suite(backbone: Backbone) -> None:
    """A default outside the method's range moves the end of the range."""
    space = space_of(cell("lora", learning_rate=0.05), "default", backbone)
    assert space["learning_rate"].high == 0.05
    assert space["learning_rate"].low == 1e-4


def test_ranks_end_at_the_width_of_the_layer(backbone: Backbone) -> None:
    """A layer of width 24 takes no rank of 64; AdaLoRA begins with half as much again."""
    assert space_of(cell("lora"), "default", backbone)["rank"].high == 24
    assert space_of(cell("adalora"), "default", backbone)["rank"].high == 16


def test_range_upside_down_is_refused(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """A low end above the high one is an error that names both."""
    monkeypatch.setattr(registry.get("lora"), "learning_rates", (1e-2, 1e-4))
    message = r"range of 'learning_rate' has 0.01 above 0.0001"
    with pytest.raises(ConfigError, match=message):
        space_of(cell("lora"), "default", backbone)
