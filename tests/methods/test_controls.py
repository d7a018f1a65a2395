"""The plain controls, each against its definition or another implementation."""

import math
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from scipy import stats
from transformers.integrations.neftune import neftune_post_forward_hook

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import Phase, TrainState
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION, SPAN
from gapbench.bench.data.batching import Batch, collate
from gapbench.bench.data.encoded import TaskData
from gapbench.bench.training.trainer import Trainer
from gapbench.methods._shared.lowrank import StackedLora
from tests.support import tiny_families
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    load_backbone,
    make_runs,
    random_data,
    train,
)


def _ready(
    folder: Path, method: str, outputs: int = 3, **config: object
) -> tuple[AnyMethod, TrainState, TaskData]:
    """Return one run of a method before its first step, in training mode."""
    runs = make_runs(method, (4,), configs=[config], outputs=outputs)
    data = random_data(outputs=outputs)
    method_, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    method_.begin(state, Phase(), [runs[0].cell.training], 20)
    state.model.train()
    return method_, state, data


def _drawn(*shape: int) -> torch.Tensor:
    """Return standard normal numbers, the same at every call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _batch(data: TaskData, count: int = 6, length: int | None = None) -> Batch:
    """Return the first training examples, or the first of one length."""
    places = np.flatnonzero(data.train.lengths == length) if length else np.arange(count)
    return collate(data.train, places[None], CPU)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_neftune_adds_the_noise_of_the_librarys_hook(
    family: str, make_backbone: MakeBackbone
) -> None:
    """Where no sequence is padded, transformers' NEFTune makes the same embeddings of our draw."""
    _, state, data = _ready(make_backbone(family), "neftune", noise_alpha=7.0)
    batch = _batch(data, length=8)
    embeddings = state.model.get_input_embeddings()
    made = embeddings(batch.inputs["input_ids"])  # without lengths all tokens count
    embeddings.neftune_noise_alpha = 7.0
    plain = torch.nn.Embedding.forward(embeddings, batch.inputs["input_ids"])
    unit = state.axis.uniform("embedding noise", plain.shape) * 2 - 1

    def drawn(zeros: torch.Tensor, low: float, high: float) -> torch.Tensor:
        assert low == -high
        return zeros + unit[0].to(zeros) * float(high)

    with mock.patch.object(torch.Tensor, "uniform_", drawn):
        theirs = neftune_post_forward_hook(embeddings, (), plain)
    torch.testing.assert_close(made, theirs, rtol=0, atol=1e-7)


def test_neftune_noise_of_a_sequence_has_the_papers_size_whatever_its_padding(
    make_backbone: MakeBackbone,
) -> None:
    """The root mean square length over sequences is alpha / sqrt(3); evaluation has no noise."""
    _, state, data = _ready(make_backbone("bert"), "neftune", noise_alpha=5.0)
    seen: list[torch.Tensor] = []
    embeddings = state.model.get_input_embeddings()
    embeddings.register_forward_hook(lambda _, __, out: seen.append(out.detach()))
    batch = _batch(data, count=48)
    state.model(**batch.inputs)
    state.model.eval()
    state.model(**batch.inputs)
    real = batch.inputs["attention_mask"].unsqueeze(-1)
    noise = (seen[0] - seen[1]) * real
    assert torch.equal(seen[1], torch.nn.Embedding.forward(embeddings, batch.inputs["input_ids"]))
    lengths = noise.square().sum(dim=(1, 2))
    assert float(lengths.mean().sqrt()) == pytest.approx(5 / math.sqrt(3), rel=0.02)
    features = noise.shape[-1]
    most = 5 / (real.sum(dim=1, keepdim=True) * features).sqrt()
    assert (noise.abs() <= most).all()


@pytest.mark.parametrize("smoothing", [0.1, 0.45])
def test_label_smoothing_is_the_frameworks(smoothing: float, make_backbone: MakeBackbone) -> None:
    """The training loss is that of torch with smoothed labels; scores use the true labels."""
    method, state, data = _ready(make_backbone("bert"), "label_smoothing", smoothing=smoothing)
    batch = _batch(data)
    logits = state.model(**batch.inputs).logits
    expected = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, batch.targets)
    torch.testing.assert_close(method.losses(state, batch)[0], expected, rtol=0, atol=1e-12)


def test_label_smoothing_refuses_real_targets(make_backbone: MakeBackbone) -> None:
    """There are no classes to spread probability over."""
    runs = make_runs("label_smoothing", outputs=1)
    backbone = load_backbone(make_backbone("bert"), runs)
    method, _, _ = _ready(make_backbone("bert"), "label_smoothing")
    reason = method.supports(runs[0].cell.task, backbone, method.configs[0])
    assert reason == "targets are real numbers; label smoothing needs classes"
    spans = mock.Mock(head=SPAN, loss="cross_entropy")
    reason = method.supports(spans, mock.Mock(), method.configs[0])
    assert reason == "targets are places in a text; label smoothing needs classes"


@pytest.mark.parametrize("outputs", [3, 1])
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "deberta-v2"])
def test_mixup_hidden_is_the_loss_of_mixed_features(
    family: str, outputs: int, make_backbone: MakeBackbone
) -> None:
    """The head applied to mixed features, and both losses weighted alike, give its loss."""
    method, state, data = _ready(make_backbone(family), "mixup_hidden", outputs)
    batch, seen = _batch(data), []
    head = state.model.classifier if hasattr(state.model, "classifier") else state.model.score
    if family == "deberta-v2":  # its pooler comes first, whatever its name
        head = torch.nn.Sequential(state.model.pooler, head)
    first = head[0] if family == "deberta-v2" else head
    handle = first.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    with torch.no_grad():
        state.model(**batch.inputs)
        handle.remove()
        loss = method.losses(state, batch)
        method._draw(6)
        partners, share = method._partners, float(method._run_shares)
        method._partners = None
        ends = batch.inputs["attention_mask"].sum(dim=1) - 1
        place = ends if family == "gpt2" else torch.zeros(6, dtype=torch.long)
        own = seen[0] if seen[0].dim() == 2 else seen[0][torch.arange(6), place]
        mixed = share * own + (1 - share) * own[partners]
        logits = head(mixed if seen[0].dim() == 2 else mixed.unsqueeze(1))
        logits = logits.view(6, outputs)
    one, other = (
        torch.nn.functional.mse_loss(logits[:, 0], targets.double())
        if outputs == 1
        else torch.nn.functional.cross_entropy(logits, targets)
        for targets in (batch.targets, batch.targets[partners])
    )
    assert 0 < share < 1
    expected = share * one + (1 - share) * other
    torch.testing.assert_close(loss[0], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("family", ["xlnet", "distilbert", "modernbert"])
def test_mixup_hidden_changes_what_the_head_reads(family: str, tmp_path: Path) -> None:
    """Whichever token that is, and whichever part of the head is called first."""
    backbone = tiny_families.load(family, tmp_path, SEQUENCE_CLASSIFICATION)
    runs = make_runs("mixup_hidden", (4,), configs=[{"targets": "all-linear"}], precision="fp32")
    method, state = set_up(runs, backbone, random_data(), CPU)
    batch = _batch(random_data())
    with torch.no_grad():
        plain = state.model(**batch.inputs).logits
        method._draw(6)
        mixed = state.model(**batch.inputs).logits
    assert (plain - mixed).abs().max() > 1e-4


def test_mixup_hidden_draws_shares_from_its_beta_and_permutes(make_backbone: MakeBackbone) -> None:
    """Over many steps, shares pass a Kolmogorov-Smirnov test, and each example is used once."""
    method, state, _ = _ready(make_backbone("bert"), "mixup_hidden", mixing=0.7)
    shares, moved = [], 0
    for step in range(2000):
        state.axis.step = step
        method._draw(5)
        shares.append(float(method._run_shares))
        partners = method._partners
        assert partners.sort().values.tolist() == [0, 1, 2, 3, 4]
        moved += int((partners != torch.arange(5)).sum())
    assert stats.kstest(shares, stats.beta(0.7, 0.7).cdf).pvalue > 1e-3
    assert moved / 10000 == pytest.approx(4 / 5, abs=0.02)


def test_drop_lora_is_dropout_between_a_and_b(make_backbone: MakeBackbone) -> None:
    """Its update is B dropout(A x) s of the author's code; the mean over draws is that of LoRA."""
    _, state, _ = _ready(make_backbone("bert"), "drop_lora", rank_rate=0.25)
    layer = next(m for m in state.model.modules() if isinstance(m, StackedLora))
    layer.lora_B.data.copy_(_drawn(*layer.lora_B.shape))
    x = _drawn(4, 5, layer.in_features)
    keep, scale = state.axis.keep_mask(layer.rank_rates, f"rank.{layer.site}", (4, 5, 8))
    inner = (x @ layer.lora_A[0].T) * (keep * scale)[0]
    expected = layer.base(x) + inner @ layer.lora_B[0].T * layer.scaling.item()
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    assert float(keep.double().mean()) == pytest.approx(0.75, abs=0.1)
    plain = layer.eval()(x)
    layer.train()
    total = torch.zeros_like(plain)
    for step in range(400):
        state.axis.step = step
        total += layer(x).detach() / 400
    spread = float((expected - plain).detach().abs().mean())
    assert float((total - plain).detach().abs().mean()) < 0.1 * spread


def test_drop_lora_by_rank_drops_the_same_for_all_tokens(make_backbone: MakeBackbone) -> None:
    """A step is one of LoRA at a lower rank: rows of A and columns of B that take no part."""
    _, state, _ = _ready(make_backbone("bert"), "drop_lora", pattern="rank")
    layer = next(m for m in state.model.modules() if isinstance(m, StackedLora))
    layer.lora_B.data.copy_(_drawn(*layer.lora_B.shape))
    x = _drawn(4, 5, layer.in_features)
    (layer(x) - layer.base(x)).square().sum().backward()
    unused = layer.lora_A.grad[0].abs().sum(dim=1) == 0
    assert 0 < int(unused.sum()) < 8
    assert torch.equal(unused, layer.lora_B.grad[0].abs().sum(dim=0) == 0)


def test_lora_swa_scores_the_mean_of_the_last_iterates(make_backbone: MakeBackbone) -> None:
    """Checkpoints hold plain means from each run's own start on, and before it the latest."""
    folder, data = make_backbone("bert"), random_data()
    configs = [{"start": 0.5}, {"start": 0.0}, {"start": 1.0}]
    runs = make_runs("lora_swa", range(3), configs=configs, steps=8, evaluations=1)
    swa = train(folder, runs, data)
    lora = make_runs("lora", range(3), steps=8, evaluations=1)
    method, state = set_up(lora, load_backbone(folder, lora), data, CPU)
    seen: list[torch.Tensor] = []
    trainer = Trainer(
        lora,
        method,
        state,
        data,
        lambda _: None,
        step_callback=lambda t: seen.append(t.state.bank.values.clone()),
    )
    trainer.train()
    assert torch.equal(swa.state.bank.values, state.bank.values)
    iterates = torch.stack(seen)
    expected = [iterates[4:, 0].mean(dim=0), iterates[:, 1].mean(dim=0), iterates[-1, 2]]
    for trace, mean in zip(swa.trainer.traces, expected, strict=True):
        torch.testing.assert_close(trace.best_row, mean, rtol=0, atol=1e-12)


def test_allora_steps_are_adamws_at_a_rate_for_each_row(make_backbone: MakeBackbone) -> None:
    """From one state, the change of each row is LoRA's times 1 / sqrt(length + 1 / eta^2)."""
    folder = make_backbone("bert")
    ours, lora = (
        _ready(folder, name, **config)
        for name, config in (("allora", {"eta": 3.0}), ("lora", {"alpha": 8.0}))
    )
    batch = _batch(ours[2])
    for method, state, _ in (ours, lora):
        generator = torch.Generator().manual_seed(1)
        for layer in method.adapters.values():
            torch.nn.init.normal_(layer.lora_B, std=0.3, generator=generator)
        state.axis.step = 0
        state.optimizers["main"]._count = 10  # past the warm-up
    before = lora[1].bank.values.clone()
    assert torch.equal(ours[1].bank.values, before)
    for method, state, _ in (ours, lora):
        method.step(state, {"train": batch})
    ratio = (ours[1].bank.values - before) / (lora[1].bank.values - before)
    expected = torch.ones_like(before)
    for layer in lora[0].adapters.values():
        for matrix in (layer.lora_A, layer.lora_B):
            columns = lora[1].bank.columns_of(matrix)
            rows = before[:, columns].view_as(matrix).norm(dim=-1, keepdim=True)
            expected[:, columns] = (1 / (rows + 1 / 9).sqrt()).expand_as(matrix).flatten(1)
    moved = (lora[1].bank.values - before).abs() > 1e-12
    torch.testing.assert_close(ratio[moved], expected[moved], rtol=1e-6, atol=0)
