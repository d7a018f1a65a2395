"""Flexora: its multipliers, and its search against plain autograd and on a planted problem."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gapbench.bench.adaptation.optim import ParameterBank
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.run import Training
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.gates import Gates, StackedGated, block_path
from gapbench.methods.flexora import Flexora, FlexoraConfig, SearchedGates, select
from tests.support.small_stack import CPU, MakeBackbone, make_runs, make_task, random_data
from tests.support.small_stack import train as run_to_end
from tests.support.solo_runs import assert_same_alone
from tests.support.two_levels import (
    assert_levels_apart,
    draw,
    level,
    ready,
    upper_gradient,
    watched,
)

RAW = torch.tensor([[0.2, -0.1, 0.0, 0.4]], dtype=torch.float64)
ALPHA = [1.0579346904, 0.7837372950, 0.8661636658, 1.2921643488]
TOP_ALL = {"selection": "top_k", "blocks": 2}  # the small backbones have two blocks


def _gates(raw: Tensor, power: int = 1) -> SearchedGates:
    gates = SearchedGates(RunAxis(range(len(raw)), CPU, torch.float64), raw.shape[1], power)
    gates.alpha_hat.data = raw.clone()
    return gates


def _layer(gates: Gates, block: int, shape: tuple[int, int] = (7, 5), rank: int = 3) -> Any:
    torch.manual_seed(block)
    base = nn.Linear(*shape, device="meta" if shape[0] > 100 else "cpu")
    layer = StackedGated(
        gates.axis,
        base if base.weight.is_meta else base.double(),
        f"block {block}",
        gates,
        block,
        ranks=[rank] * len(gates.axis.seeds),
        scalings=[7 / rank] * len(gates.axis.seeds),
        dropouts=[0.0] * len(gates.axis.seeds),
        members=1,
    )
    layer.lora_B.data.normal_()
    return layer


def test_multipliers_have_their_known_values() -> None:
    """They are positive, sum to the number of blocks, ignore shifts, and are 1 at the start."""
    alpha = _gates(RAW).multipliers()
    torch.testing.assert_close(alpha, torch.tensor([ALPHA], dtype=torch.float64), rtol=0, atol=1e-9)
    assert alpha.sum().item() == pytest.approx(4)
    torch.testing.assert_close(_gates(RAW + 3.0).multipliers(), alpha)
    assert torch.equal(_gates(0 * RAW).multipliers(), torch.ones(1, 4, dtype=torch.float64))


def test_multipliers_have_the_jacobian_of_the_softmax() -> None:
    """Its entries are ``a_i (d_ij - a_j / N)``; rows and columns sum to 0, so that drift is 0."""
    gates = _gates(RAW)
    alpha = gates.multipliers()[0]
    rows = [torch.autograd.grad(a, gates.alpha_hat, retain_graph=True)[0][0] for a in alpha]
    jacobian = torch.stack(rows)
    expected = torch.diag(alpha) - torch.outer(alpha, alpha) / 4
    torch.testing.assert_close(jacobian, expected.detach())
    assert jacobian.sum(0).abs().max() < 1e-12
    assert jacobian.sum(1).abs().max() < 1e-12


@pytest.mark.parametrize("power", [1, 3])
def test_multiplier_scales_its_own_block_alone(power: int) -> None:
    """A block's branch grows with its multiplier, or with its cube, and no other branch does."""
    raw, c = torch.zeros(1, 2, dtype=torch.float64), 1.5
    x = torch.randn(2, 4, 7, dtype=torch.float64)
    target = torch.tensor([[c, 2 - c]], dtype=torch.float64)
    for block in (0, 1):
        plain, scaled = _layer(_gates(raw), block), _layer(_gates(target.log(), power), block)
        branch, base = plain(x) - plain.base(x), plain.base(x)
        factor = target[0, block] ** power
        torch.testing.assert_close(scaled(x) - base, factor * branch)


def test_blocks_are_found_in_the_names_of_all_families(make_backbone: MakeBackbone) -> None:
    """The number after layer, layers or h tells the block; a pooler is one of its own."""
    names = ["bert.encoder.layer.11.output.dense", "model.layers.3.self_attn.q_proj"]
    names += ["transformer.h.0.attn.c_attn", "bert.pooler.dense"]
    found = [block_path(name) for name in names]
    assert found[:3] == ["bert.encoder.layer.11", "model.layers.3", "transformer.h.0"]
    assert found[3] == "bert.pooler.dense"
    method, _ = ready(make_backbone("bert"), "flexora", random_data(3), targets="all-linear")
    assert method.labels == [0, 1, "bert.pooler.dense"]
    fine, _ = ready(make_backbone("bert"), "flexora", random_data(3), granularity="module")
    assert len(fine.labels) == 4
    assert fine.labels[0] == "bert.encoder.layer.0.attention.self.query"


def test_search_starts_as_lora(make_backbone: MakeBackbone) -> None:
    """With alpha_hat at 0 the outputs are LoRA's for any A and B, bit for bit."""
    folder, data = make_backbone("bert"), random_data(3)
    outputs = []
    for name in ("flexora", "lora"):
        _, state = ready(folder, name, data)
        torch.manual_seed(0)
        main = state.bank.columns("main")
        state.bank.values[:, main] = torch.randn_like(state.bank.values[:, main])
        outputs.append(state.model(**draw(data, 1, 0)().inputs).logits)
    assert torch.equal(*outputs)


def test_alpha_hat_does_not_move_before_lora_has(make_backbone: MakeBackbone) -> None:
    """With B = 0 its gradient is exactly 0, and Adam leaves it exactly where it is."""
    data = random_data(3)
    method, state = ready(make_backbone("bert"), "flexora", data)
    batch = draw(data, 1, 0)

    def stand_still() -> Tensor:
        state.bank.grads.zero_()
        return torch.zeros(1)

    state.optimizers["main"].step = stand_still  # type: ignore[method-assign]
    for _ in range(3):
        method.step(state, {"train": batch(), "held out": batch()})
        assert (level(state, "upper") == 0).all()


@pytest.mark.parametrize("estimator", ["first_order", "unrolled"])
def test_levels_do_not_touch_each_other(estimator: str, make_backbone: MakeBackbone) -> None:
    """Inner steps leave alpha_hat alone; outer steps leave LoRA, its optimiser, no gradient."""
    settings = {"estimator": estimator, "dropout": 0.2}
    assert_levels_apart(make_backbone("bert"), "flexora", "held out", **settings)


@pytest.mark.parametrize("steps", [0, 2])
def test_outer_gradient_of_a_model_equals_plain_autograd(
    steps: int, make_backbone: MakeBackbone
) -> None:
    """First order is the held-out loss's own gradient, unrolled that of steps ahead; sums are 0."""
    data = random_data(3)
    settings = {"estimator": "unrolled", "unroll_steps": steps} if steps else {}
    method, state = ready(make_backbone("bert"), "flexora", data, rank=3, dropout=0.3, **settings)
    batch, held_out = draw(data, 1, 0), draw(data, 1, 1)
    for _ in range(3):
        method.step(state, {"train": batch(), "held out": held_out()})
    batches = {"train": batch(), "held out": held_out()}
    found = upper_gradient(method, state, batches)
    start, main = state.bank.values.clone(), state.bank.columns("main")

    def outcome(change: Tensor) -> float:
        state.bank.load(start)
        state.bank.values[:, state.bank.columns("upper")] += change
        for _ in range(steps):
            state.model.train()
            method.losses(state, batches["train"]).sum().backward()
            state.bank.values[:, main] -= 0.01 * state.bank.grads[:, main]
            state.bank.grads.zero_()
        state.model.eval()  # held-out losses see no dropout
        with sdpa_kernel(SDPBackend.MATH):
            return method.losses(state, batches["held out"]).sum().item()

    for block in range(2):
        change = torch.zeros_like(found)
        change[0, block] = 1e-5
        difference = (outcome(change) - outcome(-change)) / 2e-5
        assert found[0, block].item() == pytest.approx(difference, abs=1e-7, rel=1e-6)
    assert abs(found.sum().item()) < 1e-12


def test_search_uses_its_own_parts_of_the_training_set(make_backbone: MakeBackbone) -> None:
    """No inner step sees a held-out example, no outer step another; the training may see all."""
    for reuse, count in ((True, 48), (False, 38)):
        settings = {"search_share": 0.5, "reuse_held_out": reuse, **TOP_ALL}
        seen = watched(make_backbone("bert"), "flexora", random_data(3), **settings).seen
        search = [step for step in seen if step.phase == "search"]
        after = [step for step in seen if step.phase == "train"]
        assert (len(search), len(after)) == (6, 6)
        inner = set().union(*(step.drawn["train"] for step in search))
        outer = set().union(*(step.drawn["held out"] for step in search))
        assert not inner & outer
        assert inner | outer == set(range(48))
        assert len(inner) == 38
        assert all(step.passes == ["train", "held out"] for step in search)
        assert all(step.passes == ["train"] for step in after)
        assert len(set().union(*(step.drawn["train"] for step in after))) == count


@pytest.mark.parametrize(
    ("blocks", "per_block", "modules"),
    [
        (32, 106_496, [(4096, 4096), (4096, 1024)]),  # Llama3-8B, Mistral-7B
        (32, 131_072, [(4096, 4096), (4096, 4096)]),  # Llama-7B, Llama2-7B
        (28, 114_688, [(3072, 4096), (3072, 4096)]),  # Gemma-7B
        (28, 69_632, [(4096, 4608)]),  # ChatGLM3-6B, fused
        (32, 102_400, [(4096, 4096), (4096, 512)]),  # Yi-6B
    ],
)
def test_parameters_are_those_of_the_selected_blocks(
    blocks: int, per_block: int, modules: list[tuple[int, int]]
) -> None:
    """Counts equal the published ones by the shapes alone, for all and for some blocks."""
    gates = Gates(RunAxis([0], CPU, torch.float32), blocks)
    layers = [_layer(gates, 0, shape, rank=8) for shape in modules]
    assert sum(layer.parameter_count(0) for layer in layers) == per_block
    gates.chosen[0, 0] = False
    assert sum(layer.parameter_count(0) for layer in layers) == 0


def test_published_selections_have_their_published_sizes() -> None:
    """Llama3-8B: 32, 16, 12 and 19 blocks of 106,496 parameters."""
    sizes = {32: 3_407_872, 16: 1_703_936, 12: 1_277_952, 19: 2_023_424}
    assert all(count * 106_496 == size for count, size in sizes.items())


@pytest.mark.parametrize("estimator", ["first_order", "unrolled"])
def test_stacked_runs_equal_solo_runs(estimator: str, make_backbone: MakeBackbone) -> None:
    """Runs of other ranks, outer rates and selections train to the same numbers together."""
    folder, data = make_backbone("bert"), random_data(3)
    shared = {"estimator": estimator, "granularity": "module", "selection": "top_k"}
    own: list[dict[str, Any]] = [
        {"rank": 2, "alpha": 3, "dropout": 0.3, "outer_learning_rate": 0.1},
        {"rank": 5, "blocks": 1},
        {"rank": 1, "blocks": 3, "outer_learning_rate": 0.002},
    ]
    runs = make_runs(
        "flexora",
        range(3),
        configs=[shared | settings for settings in own],
        trainings=[{"learning_rate": 0.01}, {"learning_rate": 0.003}, {"max_grad_norm": 0.1}],
        outputs=3,
    )
    together = run_to_end(folder, runs, data, scored=False)
    solos = assert_same_alone(folder, runs, together, data, scored=False)
    for position, solo in enumerate(solos):
        assert solo.method.selected(0) == together.method.selected(position)
    sizes = [len(together.method.selected(position)) for position in range(3)]
    assert sizes == [2, 1, 3]


class _Toy(nn.Module):
    """Four frozen layers that each see their own 6 features; their outputs add up to 3 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.ModuleList([nn.Linear(6, 3) for _ in range(4)]).double()
        self.requires_grad_(requires_grad=False)
        for layer in self.layer:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> SimpleNamespace:
        """Map (runs * batch, 4, 6) to logits (runs * batch, 3)."""
        outputs = [layer(x[:, k : k + 1]) for k, layer in enumerate(self.layer)]
        return SimpleNamespace(logits=torch.cat(outputs, dim=1).sum(dim=1))


@pytest.mark.parametrize("seed", range(5))
def test_search_ranks_useful_blocks_above_the_others(seed: int) -> None:
    """Two of four blocks see what decides the label, two see noise that can only be memorised."""
    generator = torch.Generator().manual_seed(seed)
    useful = torch.randperm(4, generator=generator)[:2].tolist()
    drawn = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    truth = torch.linalg.qr(drawn)[0]  # alike in strength

    def batches(count: int) -> Batch:
        x = torch.randn(count, 4, 6, generator=generator, dtype=torch.float64)
        scores = torch.einsum("nkf,kfo->no", x[:, useful], truth)
        return Batch({"x": x}, scores.argmax(dim=1), None)  # type: ignore[arg-type]

    axis = RunAxis([seed], CPU, torch.float64)
    config = FlexoraConfig(rank=2, alpha=4, targets="all-linear")
    method = Flexora("flexora", [config], axis)
    names = [f"layer.{k}" for k in range(4)]
    backbone = SimpleNamespace(target_layers=lambda _: names, start=None)
    model = method.adapt(_Toy(), backbone)  # type: ignore[arg-type]
    state = TrainState(make_task(3), model, axis, torch.zeros(0), ParameterBank(model, axis))
    search = method.phases(config)[0]
    method.begin(state, search, [Training(learning_rate=0.02, schedule="constant")], 100)
    train, held_out = batches(200), batches(200)
    for _ in range(100):
        method.step(state, {"train": train, "held out": held_out})
        axis.step += 1
    alpha_hat = method.gates.alpha_hat.detach()[0]
    assert set(select(alpha_hat, 2).nonzero().ravel().tolist()) == set(useful)
