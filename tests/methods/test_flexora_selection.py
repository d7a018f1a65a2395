"""Which blocks Flexora and its random control train, and how: LoRA on those, nothing elsewhere."""

from itertools import pairwise

import pytest
import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.core.memory import MemoryPeak
from gapbench.bench.store.provenance import now
from gapbench.bench.training.make_records import records
from gapbench.bench.training.trainer import Trainer
from gapbench.methods.flexora import select
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    load_backbone,
    make_runs,
    make_task,
    random_data,
)
from tests.support.small_stack import train as run_to_end
from tests.support.two_levels import level, ready

TOP_ALL = {"selection": "top_k", "blocks": 2}  # the small backbones have two blocks


def test_selection_is_by_sign_or_by_rank() -> None:
    """Top-k sets are nested, and agree with the sign at as many as are above 0."""
    raw = torch.tensor([0.3, -0.2, 0.0, 0.7, 0.1])
    assert select(raw).tolist() == [True, False, False, True, True]
    assert torch.equal(select(raw, 3), select(raw))
    sets = [set(select(raw, k).nonzero().ravel().tolist()) for k in range(6)]
    assert [len(found) for found in sets] == list(range(6))
    assert all(small < large for small, large in pairwise(sets))


def test_training_of_all_blocks_is_lora_bit_for_bit(make_backbone: MakeBackbone) -> None:
    """After the search everything starts afresh: same numbers and curve as LoRA without it."""
    folder, data = make_backbone("bert"), random_data(3)
    runs = make_runs("flexora", (0, 1), configs=[TOP_ALL], steps=40, outputs=3, evaluations=4)
    found = run_to_end(folder, runs, data)
    lora = run_to_end(folder, make_runs("lora", (0, 1), steps=30, outputs=3, evaluations=3), data)
    assert torch.equal(level(found.state, "main"), lora.state.bank.values)
    for ours, theirs in zip(found.trainer.traces, lora.trainer.traces, strict=True):
        losses = [[p.train_loss for p in trace.curve[-3:]] for trace in (ours, theirs)]
        assert losses[0] == losses[1]
        assert ours.best_step == theirs.best_step + 10


def test_random_choice_of_all_blocks_is_lora_bit_for_bit(make_backbone: MakeBackbone) -> None:
    """Gates of 1 change nothing."""
    folder, data = make_backbone("gpt2"), random_data(3)
    found = run_to_end(
        folder, make_runs("flexora_random", configs=[{"blocks": 2}], outputs=3), data
    )
    lora = run_to_end(folder, make_runs("lora", outputs=3), data)
    assert torch.equal(found.state.bank.values, lora.state.bank.values)


@pytest.mark.parametrize("name", ["flexora", "flexora_random"])
def test_unselected_blocks_stay_as_they_are(name: str, make_backbone: MakeBackbone) -> None:
    """Their B is exactly 0, their merged weights are the base's, they count no parameters."""
    folder, data = make_backbone("bert"), random_data(3)
    runs = make_runs(name, (0, 1), trainings=[{"weight_decay": 0.1}], outputs=3)
    found = run_to_end(folder, runs, data)
    method = found.method
    for run in (0, 1):
        selected = method.selected(run)
        assert len(selected) == 1
        notes = method.diagnostic_values(found.state, run)
        assert notes["selected_blocks"] == selected
        assert notes["blocks"] == [0, 1]
        assert found.state.bank.trained_count(run) == 2 * 8 * (24 + 24) + 3 * 24 + 3
        for layer in method.adapters.values():
            trained = method.labels[layer.block] in selected
            assert bool((layer.lora_B[run] != 0).any()) == trained
            same = torch.equal(layer.plain(run)["weight"], layer.weight)
            assert same != trained


def test_random_choice_depends_on_the_seed_alone(make_backbone: MakeBackbone) -> None:
    """A run's blocks are the same in any stack, of the number asked, and not always the same."""
    folder, data = make_backbone("llama"), random_data(3)
    seeds = range(8)
    method, _ = ready(folder, "flexora_random", data, seeds=seeds)
    together = [method.selected(position) for position in seeds]
    assert all(len(blocks) == 1 for blocks in together)
    assert len({tuple(blocks) for blocks in together}) == 2
    alone, _ = ready(folder, "flexora_random", data, seeds=(5,))
    assert alone.selected(0) == together[5]


def test_random_choice_of_too_many_blocks_is_refused(make_backbone: MakeBackbone) -> None:
    """The reason names the number given and the number there is."""
    cls = registry.get("flexora_random")
    backbone = load_backbone(make_backbone("bert"), make_runs("lora"))
    reason = cls.supports(make_task(), backbone, cls.Config(blocks=3))
    assert reason == "blocks is 3, but the target layers are in 2"


def test_run_that_selects_nothing_ends_alone(make_backbone: MakeBackbone) -> None:
    """It ends with the reason and no score; its neighbours train to their solo numbers."""
    folder, data = make_backbone("bert"), random_data(3)
    runs = make_runs("flexora", (0, 1, 2), outputs=3)
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    original = method._choose

    def choose_nothing_for_run_1() -> None:
        with torch.no_grad():
            method.gates.alpha_hat[1] = -1.0
        original()

    method._choose = choose_nothing_for_run_1
    trainer = Trainer(runs, method, state, data, lambda _: None)
    trainer.train()
    reasons = [trace.diverged for trace in trainer.traces]
    assert reasons[0] is None
    assert reasons[2] is None
    assert reasons[1] is not None
    assert "selected no block" in reasons[1]
    assert trainer.traces[1].steps == 5
    assert state.axis.active == (0, 2)
    for position, index in enumerate((0, 2)):
        solo = run_to_end(folder, [runs[index]], data)
        torch.testing.assert_close(
            state.bank.values[position], solo.state.bank.values[0], rtol=0, atol=1e-9
        )
    made = records(trainer, None, MemoryPeak(CPU), now())
    assert [record.status for record, _ in made] == ["ok", "diverged", "ok"]
    assert made[1][0].detail == reasons[1]
    assert made[2][0].notes["selected_blocks"] == method.selected(1)
