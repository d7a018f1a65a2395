"""In scoring, the last layer computes only the token that the head reads; outputs do not change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.data.encoded import EncodedSplit
from gapbench.bench.models import attention, first_token
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import EvalSubset
from tests.support import tiny_families
from tests.support.small_stack import CPU, load_backbone, make_runs, random_data

READS_FIRST = ("bert", "roberta", "deberta-v2")
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"targets": "all-linear"},
    "lora_dropout": {},
    "lora_ensemble": {"members": 2},
    "head": {},
    "hiddenkey": {},
}


def stack(
    folder: Path, method: str, config: dict[str, Any]
) -> tuple[AnyMethod, TrainState, EncodedSplit]:
    """Return three runs whose parameters differ, and a test split."""
    data, runs = random_data(), make_runs(method, (0, 1, 2), configs=[config])
    made, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    torch.manual_seed(0)
    state.bank.values.add_(0.1 * torch.randn_like(state.bank.values))
    return made, state, data.test


@pytest.mark.parametrize("family", [*READS_FIRST, "gpt2", "llama"])
@pytest.mark.parametrize("method", METHODS)
def test_outputs_are_those_of_all_tokens(
    make_backbone: Callable[[str], Path], family: str, method: str
) -> None:
    """In float64; families whose head reads another token compute them all, as before."""
    made, state, split = stack(make_backbone(family), method, METHODS[method])
    subset, kind = EvalSubset.of(split), kinds.get("classification")
    cut = kind.outputs(made, state, subset)["logits"]
    assert state.reads_first_only is (family in READS_FIRST)
    state.reads_first_only = False
    np.testing.assert_allclose(cut, kind.outputs(made, state, subset)["logits"], rtol=0, atol=1e-12)


def test_feed_forward_of_the_last_layer_sees_one_token(
    make_backbone: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So do its queries and its attention; other layers, and training, see all."""
    made, state, split = stack(make_backbone("bert"), "lora", {})
    tokens: list[tuple[int, int]] = []
    for place, layer in enumerate(attention.layers(state.model)):  # type: ignore[arg-type]
        for name in ("attention.self.query.base", "attention.output.dense", "intermediate"):
            part = layer.get_submodule(name)
            part.register_forward_pre_hook(
                lambda _, args, place=place: tokens.append((place, args[0].shape[1]))
            )
    logits = attention._logits
    asked: list[int] = []
    monkeypatch.setattr(attention, "_is_small", lambda *_: True)  # plain products can be seen
    monkeypatch.setattr(
        attention, "_logits", lambda q, *rest: (asked.append(q.shape[2]), logits(q, *rest))[1]
    )
    subset = EvalSubset.of(split)
    kinds.get("classification").outputs(made, state, subset)
    tokens.clear()
    asked.clear()
    kinds.get("classification").outputs(made, state, subset)
    assert {count for place, count in tokens if place == 1} == {1}
    assert min(count for place, count in tokens if place == 0) > 1
    assert set(asked[1::2]) == {1}
    assert min(asked[::2]) > 1
    tokens.clear()
    state.model.train()
    state.model(input_ids=torch.full((6, 5), 3), attention_mask=torch.ones(6, 5))
    assert {count for _, count in tokens} == {5}


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        *((family, True) for family in ("bert", "electra", "roberta", "ernie")),
        *((family, True) for family in ("camembert", "deberta", "xlm-roberta")),
        *((family, False) for family in ("distilbert", "albert", "mpnet", "xlnet", "bart")),
        *((family, False) for family in ("t5", "gpt2", "qwen2", "opt")),
    ],
)
def test_what_families_of_the_library_read(family: str, expected: bool, tmp_path: Path) -> None:
    """A family qualifies by what it computes; then cut and whole passes agree."""
    backbone = tiny_families.load(family, tmp_path, SEQUENCE_CLASSIFICATION)
    model: Any = backbone.model().eval()
    attention.take_over(model)
    inputs = {
        "input_ids": torch.tensor([[1, 9, 4, 7, 2], [1, 5, 2, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    }

    def predict() -> torch.Tensor:
        logits: torch.Tensor = model(**inputs).logits
        return logits

    with torch.inference_mode():
        assert first_token.reads_first_only(model, predict) is expected
        whole = predict()
        if expected:
            with first_token.first_token_only(model):
                torch.testing.assert_close(predict(), whole, rtol=1e-5, atol=1e-5)
        assert torch.equal(predict(), whole)  # no hook is left


def test_head_that_reads_every_token_is_noticed(make_backbone: Callable[[str], Path]) -> None:
    """Even where the other tokens have no weight yet: NaN times zero is NaN."""
    made, state, split = stack(make_backbone("bert"), "lora", {})
    pooler: Any = state.model.get_submodule("bert.pooler")
    own = pooler.forward
    pooler.forward = lambda hidden: own(hidden) + 0 * hidden.mean(1)
    kinds.get("classification").outputs(made, state, EvalSubset.of(split))
    assert state.reads_first_only is False


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("keys", [6, 40])
def test_repeated_queries_are_computed_once(keys: int, mask: bool) -> None:
    """Attention of one query that stands for all equals that of copies, by either kernel."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 4, keys, 8) for _ in range(3))
    visible = torch.arange(keys) < torch.tensor([keys, keys - 2, 3]).view(-1, 1, 1, 1)
    wide = visible.expand(-1, 1, keys, -1) if mask else None
    module = torch.nn.Module().eval()
    module.is_causal = False  # type: ignore[assignment]
    module.num_key_value_groups = 1  # type: ignore[assignment]
    one = query[:, :, :1].expand(-1, -1, keys, -1)
    with torch.inference_mode():
        once, _ = attention.attend(module, one, key, value, wide)
        each, _ = attention.attend(module, one.contiguous(), key, value, wide)
    assert once.stride(1) == 0
    torch.testing.assert_close(once, each, rtol=1e-5, atol=1e-6)
