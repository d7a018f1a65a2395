"""LoRA against PEFT's implementation, trained by plain framework parts from the same state."""

import numpy as np
import pytest
import torch
import transformers

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.losses import run_losses
from gapbench.bench.adaptation.train_state import Phase
from gapbench.bench.data.batching import collate, training_batches
from gapbench.bench.models.backbone import Backbone
from gapbench.methods._shared.lowrank import LowRankConfig, StackedLora
from gapbench.methods.lora import Lora
from tests.support.peft_twin import TARGETS, pairs, twin
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    load_backbone,
    make_runs,
    make_task,
    random_data,
)

STEPS = 20


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_lora_alone_equals_peft_step_by_step(family: str, make_backbone: MakeBackbone) -> None:
    """From the same state, losses and parameters of 20 AdamW steps differ by less than 1e-9."""
    folder, data = make_backbone(family), random_data(outputs=3)
    settings = {"weight_decay": 0.1, "warmup_fraction": 0.2, "max_grad_norm": 0.5}
    runs = make_runs(
        "lora", (4,), configs=[{"rank": 3, "alpha": 7}], trainings=[settings], outputs=3
    )
    training = runs[0].cell.training
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    method.begin(state, Phase(), [training], STEPS)

    reference = twin(folder, family, state, r=3, lora_alpha=7)
    trained = {n: p for n, p in reference.named_parameters() if p.requires_grad}
    decayed = [p for p in trained.values() if p.dim() > 1]
    plain = [p for p in trained.values() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed}, {"params": plain, "weight_decay": 0.0}],
        lr=training.learning_rate,
        weight_decay=0.1,
    )
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 4, STEPS)
    order = training_batches(data.train.lengths, 8, "toy", 4)
    for _ in range(STEPS):
        batch = collate(data.train, next(order)[None], CPU)
        loss = run_losses(reference(**batch.inputs).logits, batch.targets, make_task(), 1)
        optimizer.zero_grad()
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), 0.5)
        optimizer.step()
        schedule.step()
        state.model.train()
        report = method.step(state, {"train": batch})
        torch.testing.assert_close(report.losses, loss.detach(), rtol=0, atol=1e-9)
    assert len(list(pairs(state, reference))) == 2 * len(TARGETS[family]) * 2 + (
        2 if family == "bert" else 1
    )
    for ours, theirs in pairs(state, reference):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_lora_before_the_first_step_leaves_outputs_unchanged(make_backbone: MakeBackbone) -> None:
    """With B zero, outputs equal those of head tuning bit for bit."""
    folder, data = make_backbone("bert"), random_data()
    outputs = []
    for name in ("lora", "head"):
        runs = make_runs(name, (0, 1))
        _, state = set_up(runs, load_backbone(folder, runs), data, CPU)
        batch = collate(data.test, np.arange(8).reshape(2, 4), CPU)
        outputs.append(state.model.eval()(**batch.inputs).logits.detach())
    assert torch.equal(outputs[0], outputs[1])


def test_lora_rank_padding_stays_zero_and_is_not_counted(make_backbone: MakeBackbone) -> None:
    """Rows and columns beyond a run's own rank never move, and cost it no parameters."""
    folder, data = make_backbone("bert"), random_data()
    runs = make_runs(
        "lora", (0, 1), configs=[{"rank": 2}, {"rank": 6}], trainings=[{"weight_decay": 0.1}]
    )
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    method.begin(state, Phase(), [r.cell.training for r in runs], 5)
    order = training_batches(data.train.lengths, 4, "toy", 0)
    for _ in range(5):
        method.step(state, {"train": collate(data.train, np.stack([next(order)] * 2), CPU)})
    for module in state.model.modules():
        if isinstance(module, StackedLora):
            assert module.lora_B[0, :, :2].abs().sum() > 0
            assert module.lora_A[0, 2:].abs().sum() == 0
            assert module.lora_B[0, :, 2:].abs().sum() == 0
    head = 24 * 2 + 2
    # Two layers, query and value, each rank * (in + out).
    assert [state.bank.trained_count(i) for i in (0, 1)] == [4 * 2 * 48 + head, 4 * 6 * 48 + head]


def test_lora_rank_above_width_is_refused_with_the_reason(make_backbone: MakeBackbone) -> None:
    """A rank above the narrowest target layer is a skip that names layer and range."""
    runs = make_runs("lora")
    backbone = load_backbone(make_backbone("bert"), runs)
    reason = Lora.supports(make_task(), backbone, LowRankConfig(rank=25))
    assert reason is not None
    assert "rank is 25" in reason
    assert "allows 1 to 24" in reason


@pytest.mark.parametrize(
    ("targets", "count"),
    [("default", 4), ("all-linear", 13), (("query",), 2), (("output.dense",), 4)],
)
def test_lora_targets_select_layers(
    targets: str | tuple[str, ...], count: int, make_backbone: MakeBackbone
) -> None:
    """Conventions, 'all-linear' and name endings choose the layers of a two-layer BERT."""
    backbone: Backbone = load_backbone(make_backbone("bert"), make_runs("lora"))
    assert len(backbone.target_layers(targets)) == count
