"""AdaLoRA in masked copies: what is masked, what is not, and its two limits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import linear

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.train_state import Phase, TrainState
from gapbench.bench.data.batching import collate
from gapbench.methods.adalora_dropout import AdaLoraDropout
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    load_backbone,
    make_runs,
    random_data,
    train,
)
from tests.support.solo_runs import assert_same_alone

TARGETS = ["intermediate.dense", "output.dense"]  # 24 to 40, 24 to 24 and 40 to 24, in two layers
SETTINGS: dict[str, Any] = {"rank": 2, "alpha": 24, "init_rank": 5, "targets": TARGETS}
SCALING = 24 / (5 + 1e-5)


def _one_run(folder: Path, **settings: Any) -> tuple[AdaLoraDropout, TrainState]:
    """Return a run with random singular values, ready for its first step."""
    runs = make_runs("adalora_dropout", (4,), configs=[SETTINGS | settings])
    method, state = set_up(runs, load_backbone(folder, runs), random_data(), CPU)
    assert isinstance(method, AdaLoraDropout)
    method.begin(state, Phase(), [runs[0].cell.training], 20)
    torch.manual_seed(0)
    for layer in method.layers:
        layer.lora_E.data.normal_()
    return method, state


def test_masks_hit_columns_of_q_and_rows_of_p_but_no_singular_value(
    make_backbone: MakeBackbone,
) -> None:
    """Each copy adds the outer product of its masks, times scaling P Lambda Q, to the weight."""
    method, _ = _one_run(make_backbone("bert"))
    for name, layer in method.adapters.items():
        x = torch.randn(6, layer.in_features, generator=torch.manual_seed(1)).double()
        with method.masking.running(3):
            columns = method.masking.draw(f"lora.{name}.input", layer.in_features)[0]
            rows = method.masking.draw(f"lora.{name}.output", layer.out_features)[0]
            actual = layer(x.repeat(3, 1)).view(3, 6, -1)
        (values,) = (torch.diag(m.lora_E[0, :, 0]) for m in method.layers if m is layer)
        whole = SCALING * layer.lora_B[0] @ values @ layer.lora_A[0]
        for copy in range(3):
            weight = layer.weight + torch.outer(rows[copy], columns[copy]) * whole
            torch.testing.assert_close(actual[copy], linear(x, weight, layer.base.bias))


def test_orthogonality_penalty_knows_no_masks(make_backbone: MakeBackbone) -> None:
    """It is the same at every step and rate, inside masked passes and outside."""
    penalties = []
    for rate in (0.0, 0.5):
        method, state = _one_run(make_backbone("bert"), rate=rate)
        for step in (0, 1):
            method.axis.step = step
            with method.masking.running(4):
                penalties.append(method.penalty(state).item())
        penalties.append(method.penalty(state).item())
    assert len(set(penalties)) == 1
    assert penalties[0] > 0


def test_importance_comes_from_the_gradient_averaged_over_copies(
    make_backbone: MakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is observed is the gradient of the mean loss plus the penalty, at unmasked numbers."""
    method, state = _one_run(make_backbone("bert"))
    batch = collate(random_data().train, np.arange(6)[None], CPU)
    (method.losses(state, batch) + method.penalty(state)).sum().backward()
    expected = state.bank.grads.clone()
    state.bank.grads.zero_()
    observed: list[torch.Tensor] = []
    monkeypatch.setattr(
        method.allocation, "observe", lambda values, grads, _: observed.extend((values, grads))
    )
    method.step(state, {"train": batch})
    assert observed[0] is state.bank.values
    torch.testing.assert_close(observed[1], expected, rtol=0, atol=1e-12)


def test_rate_zero_is_adalora(make_backbone: MakeBackbone) -> None:
    """One copy gives AdaLoRA bit for bit; several give it up to the order of sums."""
    folder, data = make_backbone("bert"), random_data()
    plain = make_runs("adalora", (2,), configs=[SETTINGS])
    adalora = train(folder, plain, data, scored=False)
    notes = adalora.method.diagnostic_values(adalora.state, 0)
    for instances, tolerance in ((1, 0), (3, 1e-9)):
        settings = SETTINGS | {"rate": 0.0, "instances": instances}
        masked = make_runs("adalora_dropout", (2,), configs=[settings])
        ours = train(folder, masked, data, scored=False)
        torch.testing.assert_close(
            ours.state.bank.values, adalora.state.bank.values, rtol=0, atol=tolerance
        )
        assert ours.method.diagnostic_values(ours.state, 0) == notes


def test_masked_training_ends_at_the_budget_and_pays_for_its_copies(
    make_backbone: MakeBackbone,
) -> None:
    """After training, the average rank is the target; every copy was a pass."""
    runs = make_runs("adalora_dropout", (0,), configs=[SETTINGS | {"instances": 2}])
    trained = train(make_backbone("bert"), runs, random_data(), scored=False)
    ranks = trained.method.diagnostic_values(trained.state, 0)["kept_ranks"]
    assert sum(ranks.values()) == 2 * 6
    (trace,) = trained.trainer.traces
    assert (trace.forward_passes, trace.backward_passes) == (40, 40)


def test_runs_of_different_settings_equal_solo_runs(make_backbone: MakeBackbone) -> None:
    """Rates and budgets of a stack are a run's own."""
    folder, data = make_backbone("bert"), random_data(outputs=3)
    varied = [
        SETTINGS | {"rate": 0.0, "instances": 2},
        SETTINGS | {"rate": 0.5, "instances": 2, "rank": 3, "init_rank": 7, "delta_t": 2},
        SETTINGS | {"rate": 0.25, "instances": 2, "alpha": 8, "tfinal": 4, "orthogonality": 0.5},
    ]
    runs = make_runs("adalora_dropout", range(3), configs=varied, outputs=3)
    stacked = train(folder, runs, data, scored=False)
    solos = assert_same_alone(folder, runs, stacked, data, scored=False)
    for position, solo in enumerate(solos):
        assert stacked.method.diagnostic_values(
            stacked.state, position
        ) == solo.method.diagnostic_values(solo.state, 0)
