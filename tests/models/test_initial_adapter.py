"""Starting from an adapter: the first function is PEFT's, and the rest is the method as always."""

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up, unsupported_reason
from gapbench.bench.execution.export import write
from gapbench.bench.models.initial_adapter import fold, read
from gapbench.methods.lora_ensemble import LoraEnsemble
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    load_backbone,
    make_runs,
    make_task,
    random_data,
    train,
)
from tests.support.started_stacks import (
    RANK,
    MakeAdapter,
    begin,
    logits_of,
    peft_logits,
    settings,
    started,
)

ONE_MODEL = {
    "lora_ensemble": {"members": 1},
    "lora_ensemble_equal_passes": {"members": 1},
    "lora_dropout": {"inference": "raw"},
    "blob": {"samples": 0},
    "swag_lora": {"samples": 0},
    "tfb": {"samples": 0},
}
FROM_A_AND_B = [
    *("lora", "rslora", "lora_plus", "lora_weight_decay", "lora_early_stop", "lora_ema"),
    *("lora_ensemble", "unified_dropout", "dropkey", "dropattention", "hiddencut"),
    *("hiddenkey_minus", "hiddenkey", "r_drop", "dora", "bidora"),
    *("neftune", "label_smoothing", "mixup_hidden", "allora", "lora_swa", "drop_lora", "ivon"),
    *("sam_lora", "bidirectional_lora", "lora_ensemble_equal_passes", "flat_lora", "blob"),
    *("monteclora", "swag_lora", "tfb"),
]
CANNOT = {
    "full": "trains no A and B",
    "head": "trains no A and B",
    "bitfit": "trains no A and B",
    "peft:LORA": "trains no A and B",
    "adalora": "singular values",
    "adalora_dropout": "singular values",
    "bilora": "singular values",
    "bilora_joint": "singular values",
    "flexora": "switches updates off by block",
    "flexora_random": "switches updates off by block",
}


@pytest.fixture(scope="module")
def adapter(make_backbone: MakeBackbone, tmp_path_factory: pytest.TempPathFactory) -> MakeAdapter:
    """Return a function that trains a method on three classes and gives its exported folder."""
    made: dict[tuple[str, str], Path] = {}

    def make(family: str, method: str = "lora") -> Path:
        if (family, method) not in made:
            configs = [settings(family, alpha=7)]
            trainings = [{"learning_rate": 0.1}]
            runs = make_runs(method, (8,), configs=configs, trainings=trainings, outputs=3, steps=6)
            trained = train(make_backbone(family), runs, random_data(outputs=3))
            out = tmp_path_factory.mktemp("adapters") / f"{method}-{family}"
            write(out, trained.method.export(trained.state, 0), {})
            made[family, method] = out
        return made[family, method]

    return make


def _config(name: str, family: str) -> dict[str, Any]:
    """Return settings under which a method's runs are one model each."""
    return {} if name == "untuned" else settings(family, **ONE_MODEL.get(name, {}))


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("name", [*FROM_A_AND_B, "lora_dropout", "untuned"])
def test_start_is_the_backbone_with_the_adapter(
    name: str, family: str, make_backbone: MakeBackbone, adapter: MakeAdapter
) -> None:
    """Before the first step, outputs and merged weights are PEFT's under the run's own head."""
    folder, source = make_backbone(family), adapter(family)
    runs = make_runs(name, (4, 5), configs=[_config(name, family)])
    trained = begin(folder, runs, source)
    merged = trained.method.merge(trained.state, 1)
    expected = peft_logits(folder, source, merged)
    plain = load_backbone(folder, runs).model().eval()
    np.testing.assert_allclose(logits_of(plain, merged), expected, rtol=0, atol=1e-9)
    if name != "lora_dropout":  # whose score is that of masked copies
        actual = trained.logits(random_data())[1]
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)
    bare = {k: v for k, v in merged.items() if k.startswith(("classifier", "score"))}
    assert np.abs(logits_of(plain, bare) - expected).max() > 1e-3


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("name", ["dora", "bidora", "untuned"])
def test_start_from_a_dora_adapter_takes_its_magnitudes(
    name: str, family: str, make_backbone: MakeBackbone, adapter: MakeAdapter
) -> None:
    """The lengths of rows that a DoRA adapter has learned are part of the start."""
    folder, source = make_backbone(family), adapter(family, "dora")
    trained = begin(folder, make_runs(name, (5,), configs=[_config(name, family)]), source)
    merged = trained.method.merge(trained.state, 0)
    expected = peft_logits(folder, source, merged)
    np.testing.assert_allclose(trained.logits(random_data())[0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [*FROM_A_AND_B, "lora_dropout", "untuned"])
def test_self_check_passes_at_default_settings(
    name: str, make_backbone: MakeBackbone, adapter: MakeAdapter
) -> None:
    """Also of a method whose plain pass shrinks the update, as a run is set up."""
    config = {} if name == "untuned" else settings("bert")
    runs = make_runs(name, (4, 5), configs=[config])
    backbone = started(make_backbone("bert"), runs, adapter("bert"))
    assert unsupported_reason(runs[0].cell, backbone) is None
    set_up(runs, backbone, random_data(), CPU, check=True)


def test_start_of_every_member_is_the_adapter(
    make_backbone: MakeBackbone, adapter: MakeAdapter
) -> None:
    """Members of an ensemble have the same A and B at first, and heads of their own."""
    runs = make_runs("lora_ensemble", (0,), configs=[settings("bert", members=3)])
    trained = begin(make_backbone("bert"), runs, adapter("bert"))
    start = read(adapter("bert"))
    for name, layer in trained.method.adapters.items():
        update = start.updates[name]
        for member in range(3):
            a, b = layer.lora_A[0, member], layer.lora_B[0, member] * (0.7 / RANK)
            torch.testing.assert_close(b @ a, update.b @ update.a, rtol=0, atol=1e-12)
    heads = trained.state.model.get_submodule("classifier").weight[0]
    assert not torch.equal(heads[0], heads[1])


def test_start_draws_the_head_that_a_run_draws_without_one(
    make_backbone: MakeBackbone, adapter: MakeAdapter
) -> None:
    """The head is the run's own, by its seed, and nothing of the adapter's."""
    folder, runs = make_backbone("bert"), make_runs("lora", (6,), configs=[settings("bert")])
    started_state = begin(folder, runs, adapter("bert")).state
    _, state = set_up(runs, load_backbone(folder, runs), random_data(), CPU)
    heads = [each.model.get_submodule("classifier").weight for each in (started_state, state)]
    assert torch.equal(*heads)


@pytest.mark.parametrize("name", ["lora", "rslora", "dora", "hiddenkey", "lora_ensemble"])
def test_stacked_runs_that_start_from_an_adapter_equal_each_alone(
    name: str, make_backbone: MakeBackbone, adapter: MakeAdapter
) -> None:
    """Runs of other seeds, alphas, rates and learning rates train as they would alone."""
    folder, source = make_backbone("bert"), adapter("bert")
    configs = [settings("bert"), settings("bert", alpha=20, dropout=0.2)]
    trainings = [{"learning_rate": 0.01}, {"learning_rate": 0.003, "weight_decay": 0.1}]
    runs = make_runs(name, (0, 1, 2), configs=configs, trainings=trainings)
    stacked = begin(folder, runs, source)
    stacked.trainer.train()
    logits = stacked.logits(random_data())
    for position, run in enumerate(runs):
        alone = begin(folder, [run], source)
        alone.trainer.train()
        actual = alone.logits(random_data())[0]
        np.testing.assert_allclose(actual, logits[position], rtol=0, atol=1e-9)


def test_members_that_would_stay_equal_are_refused() -> None:
    """Without a head of its own or dropout, each member would be trained to the same numbers."""
    config, backbone, start = (mock.Mock(dropout=rate) for rate in (0.0, None, None))
    backbone.head = None
    reason = LoraEnsemble.unsupported_adapter_reason(start, backbone, config)
    assert (
        reason == "all members would stay equal, as one model; set dropout above 0, or use 'lora'"
    )


def test_run_that_started_from_an_adapter_exports_the_whole_update(
    make_backbone: MakeBackbone, adapter: MakeAdapter, tmp_path: Path
) -> None:
    """What is exported needs the first adapter no more: the backbone with it is the trained run."""
    folder = make_backbone("bert")
    trained = begin(folder, make_runs("lora", (3,), configs=[settings("bert")]), adapter("bert"))
    trained.trainer.train()
    write(tmp_path / "out", trained.method.export(trained.state, 0), {})
    runs = make_runs("untuned", (3,))
    model = started(folder, runs, tmp_path / "out").model()
    fold(model, read(tmp_path / "out"))
    merged = trained.method.merge(trained.state, 0)
    torch.testing.assert_close(
        dict(model.named_parameters())["bert.encoder.layer.0.output.dense.weight"],
        merged["bert.encoder.layer.0.output.dense.weight"],
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("name", CANNOT)
def test_method_without_plain_a_and_b_is_skipped_with_the_reason(
    name: str, make_backbone: MakeBackbone, adapter: MakeAdapter
) -> None:
    """What cannot begin as the adapter says so, and can do the case without one."""
    cls = registry.get(name)
    runs = make_runs(name)
    backbone = started(make_backbone("bert"), runs, adapter("bert"))
    config = cls.Config.model_validate(runs[0].cell.config)
    reason = cls.unsupported_reason(make_task(), backbone, config)
    assert reason is not None
    assert reason.startswith("cannot start from adapter 'lora-bert': ")
    assert CANNOT[name] in reason
    assert (
        cls.unsupported_reason(make_task(), load_backbone(make_backbone("bert"), runs), config)
        is None
    )


@pytest.mark.parametrize(
    ("source", "method", "change", "says"),
    [
        ("lora", "lora", {"rank": 4}, "rank is 4, but the adapter's is 3"),
        ("lora", "lora", {"targets": ("query",)}, "output.dense is among its layers, not among"),
        ("lora", "lora", {"targets": ("query", "output.dense", "key")}, "'targets' layers, not"),
        ("dora", "lora", {}, "it has magnitudes, which only 'dora' and 'bidora' train"),
        ("lora", "lora", {"rank": 30}, "allows 1 to 24"),
        ("lora", "lora", {}, None),
        ("dora", "dora", {}, None),
        ("lora", "majority", None, None),
        ("dora", "untuned", None, None),
    ],
)
def test_settings_that_are_not_the_adapters_are_skipped_with_the_reason(
    source: str,
    method: str,
    change: dict[str, Any] | None,
    says: str | None,
    make_backbone: MakeBackbone,
    adapter: MakeAdapter,
) -> None:
    """Layers, ranks and form must be the adapter's; baselines that train nothing take any."""
    config = {} if change is None else settings("bert", **change)
    runs = make_runs(method, configs=[config])
    cls = registry.get(method)
    backbone = started(make_backbone("bert"), runs, adapter("bert", source))
    resolved = cls.Config.model_validate(runs[0].cell.config)
    reason = cls.unsupported_reason(make_task(), backbone, resolved)
    assert (reason is None) if says is None else (reason is not None and says in reason)


def test_every_method_says_whether_it_can_start_from_an_adapter() -> None:
    """No method is in neither list of this file."""
    known = {*FROM_A_AND_B, *CANNOT, "lora_dropout", "laplace_lora", "majority", "untuned"}
    assert {n if n != "peft" else "peft:LORA" for n in registry.discover()} == known
