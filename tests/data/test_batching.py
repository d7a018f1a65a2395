"""Batches: each example once an epoch, the same order for every method, little padding."""

import numpy as np
import pytest

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.train_state import DataPartition, Phase
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.data.batching import collate, epoch_order, evaluation_batches, training_batches
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.training.phase_schedule import PhaseWindow, streams
from gapbench.bench.training.trainer import Trainer
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    load_backbone,
    make_runs,
    random_data,
    random_split,
)

LENGTHS = np.random.default_rng(0).lognormal(3.5, 0.6, 700).astype(np.int64) + 3


@pytest.mark.parametrize("n", [1, 7, 16, 33, 700])
def test_epoch_holds_every_example_once(n: int) -> None:
    """No example is lost or repeated, partial batches included."""
    batches = epoch_order(LENGTHS[:n], 16, "toy", seed=3, epoch=0)
    assert sorted(np.concatenate(batches)) == list(range(n))
    assert sum(len(batch) < 16 for batch in batches) == (1 if n % 16 else 0)


def test_order_depends_on_seed_and_epoch_only() -> None:
    """One seed gives one order; other seeds and epochs give others."""

    def flat(seed: int, epoch: int) -> list[int]:
        return np.concatenate(epoch_order(LENGTHS, 16, "toy", seed, epoch)).tolist()

    assert flat(1, 0) == flat(1, 0)
    assert flat(1, 0) != flat(2, 0)
    assert flat(1, 0) != flat(1, 1)


def test_length_buckets_come_at_the_same_steps_for_all_seeds() -> None:
    """At each step, the batches of different seeds are of similar width, so stacks pad little."""
    first, second = (epoch_order(LENGTHS, 16, "toy", seed, 0) for seed in (1, 2))
    widths = np.array(
        [[LENGTHS[a].mean(), LENGTHS[b].mean()] for a, b in zip(first, second, strict=True)]
    )
    assert np.corrcoef(widths.T)[0, 1] > 0.95


def test_padding_of_grouped_batches_is_small() -> None:
    """Grouping by length leaves under 12 % padding where random batches leave over 40 %."""
    lengths = np.random.default_rng(0).lognormal(3.5, 0.6, 3000).astype(np.int64) + 3

    def waste(batches: list[np.ndarray]) -> float:
        padded = sum(lengths[batch].max() * len(batch) for batch in batches)
        return 1 - lengths.sum() / padded

    random = np.array_split(np.random.default_rng(1).permutation(3000), 188)
    assert waste(epoch_order(lengths, 16, "toy", 0, 0)) < 0.12
    assert waste(random) > 0.4


def test_batches_within_a_bucket_are_mixed_anew_each_epoch() -> None:
    """Two examples that share a batch in one epoch seldom share it in the next."""
    batches = training_batches(LENGTHS, 16, "toy", 0)
    epochs = [[frozenset(next(batches).tolist()) for _ in range(44)] for _ in range(2)]
    repeated = max(len(a & b) for a in epochs[0] for b in epochs[1] if len(a) == len(b) == 16)
    assert repeated < 12


def test_collate_pads_on_the_right_and_keeps_runs_apart() -> None:
    """Rows are run-major; mask, ids and targets are those of the chosen examples."""
    split = random_split(10, 0)
    indices = np.array([[1, 4], [7, 1]])
    batch = collate(split, indices, CPU)
    ids, mask = batch.inputs["input_ids"].numpy(), batch.inputs["attention_mask"].numpy()
    assert ids.shape[1] == split.lengths[[1, 4, 7]].max()
    for row, example in enumerate(indices.reshape(-1)):
        tokens = split.input_ids[split.offsets[example] : split.offsets[example + 1]]
        assert ids[row, : len(tokens)].tolist() == tokens.tolist()
        assert (ids[row, len(tokens) :] == split.pad_id).all()
        assert mask[row].tolist() == [1] * len(tokens) + [0] * (ids.shape[1] - len(tokens))
    assert batch.targets.tolist() == split.targets[indices.reshape(-1)].tolist()
    assert batch.tokens.tolist() == [split.lengths[row].sum() for row in indices]


def test_evaluation_batches_cover_everything_within_the_token_limit() -> None:
    """Longest first, all positions once, never more padded tokens than allowed."""
    batches = list(evaluation_batches(LENGTHS, 512))
    assert sorted(np.concatenate(batches)) == list(range(700))
    assert all(LENGTHS[b].max() * len(b) <= 512 for b in batches)
    assert LENGTHS[batches[0]].max() == LENGTHS.max()


def test_probe_is_fixed_and_spread_over_the_split() -> None:
    """A probe of k examples takes every (n / k)-th; None takes all."""
    split = random_split(30, 0)
    assert EvalSubset.of(split, 3).examples.tolist() == [0, 10, 20]
    assert EvalSubset.of(split).examples.tolist() == list(range(30))
    assert EvalSubset.of(split, 99).examples.tolist() == list(range(30))


def test_two_parts_of_a_phase_draw_from_disjoint_examples() -> None:
    """A phase with two cuts streams each from its own part; together they cover the train set."""
    data, (run,) = random_data(), make_runs("lora", (0,))
    phase = Phase(parts={"inner": DataPartition(0.0, 0.75), "outer": DataPartition(0.75, 1.0)})
    loaders = streams(PhaseWindow(phase, 0, 20), run, data.train, 0)
    seen = {name: set(np.concatenate([next(s) for _ in range(9)])) for name, s in loaders.items()}
    assert (len(seen["inner"]), len(seen["outer"])) == (36, 12)
    assert seen["inner"] | seen["outer"] == set(range(48))


@pytest.mark.parametrize("step", range(7, 24, 5))
def test_streams_of_a_phase_begin_at_any_of_its_steps(step: int) -> None:
    """Begun in the middle, across epochs and with a part drawn now and then, they go on alike."""
    data, (run,) = random_data(), make_runs("lora", (0,))
    span = PhaseWindow(
        Phase(
            parts={"train": DataPartition(0.0, 0.75), "upper": DataPartition(0.75, 1.0, every=3)}
        ),
        7,
        24,
    )
    whole = streams(span, run, data.train, span.start)
    for before in range(span.start, step):
        for name in span.drawn(before):
            next(whole[name])
    later = streams(span, run, data.train, step)
    for _ in range(9):
        assert all(np.array_equal(next(whole[name]), next(later[name])) for name in whole)


def test_phase_without_steps_is_an_error(make_backbone: MakeBackbone) -> None:
    """A share that rounds to nothing names the phase, its share and the number of steps."""
    data, runs = random_data(), make_runs("flexora", (0,), steps=1)
    method, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
    with pytest.raises(ConfigError, match=r"'search' is a share of 0.25 of 1 steps"):
        Trainer(runs, method, state, data, lambda _: None).train()


def test_part_without_examples_is_an_error_and_no_endless_loop(make_backbone: MakeBackbone) -> None:
    """A cut that rounds to nothing names the part, its share and the number of examples."""
    data, runs = random_data(train=3), make_runs("bilora", (0,), configs=[{"lower_share": 0.9}])
    method, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
    trainer = Trainer(runs, method, state, data, lambda _: None)
    with pytest.raises(ConfigError, match=r"'upper' is 0.9 to 1 of 3 training examples"):
        trainer.train()


@pytest.mark.parametrize(("n", "share"), [(96, 0.75), (400, 0.5), (2200, 0.3)])
def test_small_training_sets_pad_little_too(n: int, share: float) -> None:
    """Grouping leaves at most this share of what random batches waste."""
    lengths = np.random.default_rng(n).lognormal(3.5, 0.6, n).astype(np.int64) + 3

    def waste(batches: list[np.ndarray]) -> float:
        padded = sum(lengths[batch].max() * len(batch) for batch in batches)
        return 1 - lengths.sum() / padded

    shuffled = np.random.default_rng(1).permutation(n)
    random = [shuffled[start : start + 16] for start in range(0, n, 16)]
    grouped = np.mean([waste(epoch_order(lengths, 16, "toy", 0, epoch)) for epoch in range(6)])
    assert grouped < share * waste(random)


def test_edges_of_buckets_move_so_that_all_lengths_meet_their_neighbours() -> None:
    """Over 20 epochs each example shares a batch with its next of length, but for a few."""
    order = np.argsort(LENGTHS, kind="stable")
    met = np.zeros((700, 700), dtype=bool)
    for epoch in range(20):
        for batch in epoch_order(LENGTHS, 16, "toy", 0, epoch):
            met[np.ix_(batch, batch)] = True
    assert met[order[:-1], order[1:]].mean() > 0.95
