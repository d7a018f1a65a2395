"""The race keeps the best arm, drops those that are surely worse, and says what it knows."""

import numpy as np
import pytest

from gapbench.bench.advice.race import race
from gapbench.bench.advice.state import BlockResults, Rules, State
from tests.benchmarks import advice as simulation

RULES = Rules(margin=0.01, folds=5, reference="lora")


def blocks(
    means: dict[str, float], count: int, seed: int = 0, items: int = 100, **facts: dict[str, float]
) -> list[BlockResults]:
    """Return blocks of errors of 0 and 1 with these rates; items come again every five blocks."""
    rng = np.random.default_rng(seed)
    return [
        BlockResults(
            np.arange(items) + items * (number % 5),
            {arm: (rng.uniform(size=items) < rate).astype(float) for arm, rate in means.items()},
            **facts,
        )
        for number in range(count)
    ]


def run(means: dict[str, float], done: list[BlockResults], rules: Rules = RULES) -> State:
    """Replay the race of some arms."""
    return race([*means], done, rules)


def test_a_far_worse_arm_leaves_and_says_who_beat_it() -> None:
    """The reason names the rival, and close arms stay."""
    means = {"lora": 0.1, "bad": 0.5, "close": 0.105}
    state = run(means, blocks(means, 3))
    assert [(each.arm, each.block) for each in state.out] == [("bad", 2)]
    assert state.out[0].by in {"lora", "close"}
    assert "worse than" in state.out[0].reason
    assert set(state.left) == {"lora", "close"}


def test_one_block_is_never_enough() -> None:
    """A single block does not show how blocks vary."""
    means = {"lora": 0.0, "bad": 1.0}
    state = run(means, blocks(means, 1))
    assert not state.out
    assert state.winner is None


def test_a_difference_below_the_margin_never_drops_an_arm() -> None:
    """Sure but small differences do not count; the race is decided then."""
    means = {"lora": 0.0, "bad": 0.1}
    rules = Rules(margin=0.3, folds=5, reference="lora")
    state = run(means, blocks(means, 5, items=5000), rules)
    assert not state.out
    assert state.decided


def test_arms_that_are_gone_need_no_results() -> None:
    """Blocks after an arm left do not hold it."""
    means = {"lora": 0.1, "bad": 0.6}
    full = blocks(means, 3)
    assert run(means, full).left == ("lora",)
    without = [*full, BlockResults(full[0].items, {"lora": full[0].losses["lora"]})]
    assert run(means, without).out == run(means, full).out


def test_a_block_that_is_not_complete_does_not_count() -> None:
    """A block counts once every arm left has done it."""
    means = {"lora": 0.1, "other": 0.12}
    full = blocks(means, 4)
    cut = [*full[:3], BlockResults(full[3].items, {"lora": full[3].losses["lora"]})]
    assert run(means, cut) == run(means, full[:3])


def test_the_order_of_arms_does_not_decide() -> None:
    """The answer is a function of the results, not of the design's order."""
    means = {"lora": 0.1, "a": 0.3, "b": 0.11, "c": 0.4}
    done = blocks(means, 4)
    one, other = race([*means], done, RULES), race([*means][::-1], done, RULES)
    assert {each.arm: each for each in one.out} == {each.arm: each for each in other.out}
    assert (one.winner, one.at_most) == (other.winner, pytest.approx(other.at_most))


def test_equal_arms_give_the_cheapest_one() -> None:
    """Where nothing tells arms apart, cost does."""
    errors = (np.arange(500) < 50).astype(float)
    seconds = {"lora": 2.0, "cheap": 1.0, "dear": 5.0}
    done = [
        BlockResults(np.arange(500) + 500 * block, dict.fromkeys(seconds, errors), seconds=seconds)
        for block in range(2)
    ]
    state = race([*seconds], done, RULES)
    assert (state.winner, state.decided) == ("cheap", True)
    assert 0 < state.at_most < RULES.margin


def test_constraints_take_arms_out_with_the_reason() -> None:
    """Cost and time count at once, calibration after a whole repeat."""
    means = dict.fromkeys(("lora", "dear", "vague"), 0.1)
    facts = {
        "seconds": {"lora": 2.0, "dear": 9.0, "vague": 2.0},
        "ece": {"lora": 0.01, "dear": 0.01, "vague": 0.2},
    }
    rules = Rules(0.01, 5, "lora", most_cost=3.0, most_ece=0.05)
    state = run(means, blocks(means, 5, **facts), rules)
    assert [(each.arm, each.block) for each in state.out] == [("dear", 1), ("vague", 5)]
    assert "4.5 times" in state.out[0].reason
    assert "0.200" in state.out[1].reason
    slow = Rules(0.01, 5, "lora", most_seconds=5.0)
    assert [each.arm for each in run(means, blocks(means, 1, **facts), slow).out] == ["dear"]


def test_a_failed_arm_leaves_with_its_cause() -> None:
    """A failure ends an arm, not the race."""
    block = blocks({"lora": 0.1, "ok": 0.1}, 1)[0]
    failed = BlockResults(block.items, block.losses, failed={"sick": "diverged: loss is nan"})
    state = race(["lora", "ok", "sick"], [failed], RULES)
    assert state.out[0].reason == "diverged: loss is nan"
    assert set(state.left) == {"lora", "ok"}


def test_a_race_without_hope_ends_after_one_repeat() -> None:
    """Equal arms are not raced to the end of the plan, and nothing is claimed."""
    means = {"lora": 0.2, "other": 0.2}
    state = run(means, blocks(means, 20))
    assert state.futile
    assert state.blocks == 6
    assert not state.decided
    assert state.at_most > RULES.margin


@pytest.mark.parametrize(
    "name",
    [
        "grid, 1000 rows",
        "null, uneven blocks, 1000 rows",
        "null, 2 arms, 4000 rows",
        "null, 6 arms, 15 groups of 60 rows",
        "SST-2, 4000 rows",
        "tweets, all arms LoRA, 1000 rows",
    ],
)
def test_simulated_races_keep_the_best_arm(name: str) -> None:
    """A short form of `tests/benchmarks/advice.py`."""
    rng = np.random.default_rng(3)
    found = [simulation.one(rng, simulation.WORLDS[name]) for _ in range(40)]
    assert sum(each.dropped for each in found) <= 3
    assert sum(each.regret <= max(each.stated, simulation.MARGIN) for each in found) >= 38
    assert np.median([each.saved for each in found]) >= 0.45
    if name.startswith("null") or "all arms LoRA" in name:
        assert sum(each.claim for each in found) <= 5


def test_of_arms_that_cost_about_the_same_the_best_wins() -> None:
    """Times of one setting differ by some percent, which is no reason to prefer it."""
    means = {"lora": 0.104, "tuned": 0.1, "dear": 0.099}
    rules = Rules(margin=0.05, folds=5, reference="lora")
    for seconds, winner in (((1.0, 1.04, 2.0), "tuned"), ((1.0, 1.3, 2.0), "lora")):
        facts = {"seconds": dict(zip(means, seconds, strict=True))}
        assert run(means, blocks(means, 5, items=4000, **facts), rules).winner == winner


def test_arm_above_the_limit_drives_no_other_out_and_never_wins() -> None:
    """The limit is on a repeat's mean; until then no arm is beaten, and the race stays open."""
    means = {"lora": 0.25, "good": 0.17, "vague": 0.05}
    facts = {"ece": {"lora": 0.05, "good": 0.05, "vague": 0.3}}
    rules = Rules(0.01, 5, "lora", most_ece=0.1)
    full = blocks(means, 5, items=200, **facts)
    for count in range(2, 5):
        state = run(means, full[:count], rules)
        assert not state.out
        assert (state.winner, state.decided) == ("good", False)
    state = run(means, full, rules)
    assert "vague" not in state.left
    assert [each.by for each in state.out if each.arm == "vague"] == [None]
    assert state.winner == "good"
