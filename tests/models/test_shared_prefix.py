"""Modules below the first adapted one see each text once, and outputs do not change."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.models import shared_prefix
from gapbench.bench.models.attention import layers
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import EvalSubset
from tests.support import tiny_families
from tests.support.small_stack import CPU, load_backbone, make_runs, random_data

CASES = {
    "lora": {},
    "lora_dropout": {},
    "lora_ensemble": {"members": 2},
    "head": {},
    "hiddenkey": {},
}


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v2", "gpt2", "llama"])
@pytest.mark.parametrize("method", CASES)
def test_sharing_changes_no_output(
    make_backbone: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, family: str, method: str
) -> None:
    """In float64, three runs score as without it; their parameters are drawn, so they differ."""
    data = random_data()
    runs = make_runs(method, (0, 1, 2), configs=[CASES[method]])
    made, state = set_up(runs, load_backbone(make_backbone(family), runs), data, CPU)
    state.reads_first_only = False  # whether it does takes a pass of its own
    torch.manual_seed(0)
    state.bank.values.add_(0.1 * torch.randn_like(state.bank.values))
    rows: list[int] = []
    embedding: Any = state.model.get_input_embeddings()  # type: ignore[operator]
    embed = embedding.forward
    monkeypatch.setattr(embedding, "forward", lambda ids: (rows.append(len(ids)), embed(ids))[1])
    subset, kind = EvalSubset.of(data.test), kinds.get("classification")
    shared = kind.outputs(made, state, subset)["logits"]
    assert sum(rows) == len(data.test)
    assert not any(layer._forward_pre_hooks for layer in layers(state.model))  # type: ignore[arg-type]
    monkeypatch.setattr(shared_prefix, "_leading", lambda _: [])
    rows.clear()
    plain = kind.outputs(made, state, subset)["logits"]
    assert sum(rows) >= 3 * len(data.test)
    np.testing.assert_allclose(shared, plain, rtol=0, atol=1e-12)
    assert np.abs(plain[0] - plain[1]).max() > 1e-3


def test_layers_are_shared_up_to_the_first_adapted_one(
    make_backbone: Callable[[str], Path],
) -> None:
    """All layers where only the head trains; none above one that an update adapts."""
    data = random_data()
    config = {"targets": ["layer.1.attention.self.query"]}
    for method, settings, expected in (("head", {}, None), ("lora", config, 1), ("lora", {}, 0)):
        runs = make_runs(method, (0, 1), configs=[settings])
        backbone = load_backbone(make_backbone("bert"), runs)
        _, state = set_up(runs, backbone, data, CPU)
        every = layers(state.model)  # type: ignore[arg-type]
        found = shared_prefix._leading(state.model)
        assert len(found) - 1 == (len(every) if expected is None else expected)
        assert found[1:] == every[: len(found) - 1]


@pytest.mark.parametrize(
    ("family", "shares"), [("bert", True), ("roberta", True), ("llama", False)]
)
def test_frozen_projections_of_the_first_adapted_layer_are_shared(
    make_backbone: Callable[[str], Path],
    family: str,
    shares: bool,
) -> None:
    """What reads the layer's own input does; after a normalisation it is another tensor."""
    data = random_data()
    runs = make_runs("lora", (0, 1, 2))
    made, state = set_up(runs, load_backbone(make_backbone(family), runs), data, CPU)
    state.reads_first_only = False
    rows = Counter[str]()
    for name, module in state.model.named_modules():
        if isinstance(module, torch.nn.Linear) and "layer" in name:
            module.register_forward_hook(
                lambda _module, _args, output, name=name: rows.update({name: len(output)})
            )
    kinds.get("classification").outputs(made, state, EvalSubset.of(data.test))
    once = {name for name, count in rows.items() if count < 3 * len(data.test)}
    projections = ("query.base", "key", "value.base")
    layer = f"{family}.encoder.layer.0.attention.self"
    assert once == ({f"{layer}.{name}" for name in projections} if shares else set())


@pytest.mark.parametrize("family", ["gptj", "xmod", "ministral3"])
def test_layers_that_also_take_positions_or_languages_are_shared(
    family: str, tmp_path: Path
) -> None:
    """What has a row for each text is cut with the texts; two runs score as each alone."""
    backbone = tiny_families.load(family, tmp_path, SEQUENCE_CLASSIFICATION)
    data, found = random_data(), {}
    for seeds in ((0, 1), (0,), (1,)):
        runs = make_runs("head", seeds, precision="fp32")
        made, state = set_up(runs, backbone, data, CPU)
        state.reads_first_only = False
        found[seeds] = kinds.get("classification").outputs(made, state, EvalSubset.of(data.test))
    alone = np.concatenate([found[0,]["logits"], found[1,]["logits"]])
    np.testing.assert_allclose(found[0, 1]["logits"], alone, rtol=0, atol=1e-6)
