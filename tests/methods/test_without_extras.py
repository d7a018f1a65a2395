"""Methods that extend LoRA are LoRA where what they add is switched off."""

from typing import Any

import pytest
import torch

from tests.support.conformance import quick_runs
from tests.support.small_stack import MakeBackbone, Trained, random_data, train

# Every rate, penalty and extra is switched off.
_NO_DROPPING = {"logit_rate": 0.0, "weight_rate": 0.0, "ffn_rate": 0.0, "dropout": 0.0}
NEUTRAL: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora_plus": {"ratio": 1.0},
    "lora_ema": {"decay": 0.0},
    "lora_swa": {"start": 1.0},
    "neftune": {"noise_alpha": 0.0},
    "label_smoothing": {"smoothing": 0.0},
    "mixup_hidden": {"mixing": 0.0},
    "drop_lora": {"rank_rate": 0.0},
    "sam_lora": {"radius": 0.0},
    "flat_lora": {"radius": 0.0},
    "lora_ensemble": {"members": 1},
    "lora_ensemble_equal_passes": {"members": 1},
    "lora_early_stop": {},
    "lora_weight_decay": {},
    "lora_dropout": {"rate": 0.0, "instances": 1},
    "unified_dropout": {},
    "dropkey": _NO_DROPPING,
    "dropattention": _NO_DROPPING,
    "hiddencut": _NO_DROPPING,
    "hiddenkey_minus": _NO_DROPPING,
    "hiddenkey": _NO_DROPPING | {"consistency_weight": 0.0},
    "r_drop": _NO_DROPPING | {"consistency": "none"},
    "flexora_random": {"blocks": 2},
}


@pytest.fixture(scope="module")
def lora(make_backbone: MakeBackbone) -> Trained:
    """One run of LoRA, for all methods that must equal it."""
    return train(make_backbone("bert"), quick_runs("lora", (2,)), random_data())


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_method_without_its_extras_is_lora_bit_for_bit(
    name: str, lora: Trained, make_backbone: MakeBackbone
) -> None:
    """With every rate, penalty and extra at zero, parameters and curve are those of LoRA."""
    runs = quick_runs(name, (2,), configs=[NEUTRAL[name]])
    ours = train(make_backbone("bert"), runs, random_data())
    assert ours.trainer.traces[0].curve == lora.trainer.traces[0].curve
    assert torch.equal(ours.state.bank.values, lora.state.bank.values)
