"""The race: arms meet on one block after another, and those that are beaten leave.

A block is one fold of one repeat. The race is a pure function of the losses
so far, so that it can be replayed from stored records at any time.

An arm is beaten if another arm that is left has a smaller mean loss, by more than the margin that
matters, and the lower bound of the difference is above zero. The level ``alpha`` is shared equally
over the other arms of the design, which bounds the probability that the best arm is ever beaten.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gapbench.bench.advice.comparisons import Comparisons, compared
from gapbench.bench.advice.state import BlockResults, Departure, Rules, State

ALIKE = 1.1
"""Costs alike, as a ratio: times of one setting differ by as much."""


def race(arms: Sequence[str], blocks: Sequence[BlockResults], rules: Rules) -> State:
    """Replay a race: return its state after the last block that all arms left have done.

    Args:
        arms: all arms, in the order of the design.
        blocks: results so far, in order; an arm that is out may lack any.
        rules: the rules.
    """
    left, out = list(arms), list[Departure]()
    level = rules.alpha / max(len(arms) - 1, 1)
    state = State(0, tuple(arms), (), {})
    for number in range(1, len(blocks) + 1):
        done = blocks[:number]
        if any(arm not in done[-1].losses and arm not in done[-1].failed for arm in left):
            break
        out += _failed_or_refused(left, done, rules)
        left = _without(left, out)
        seen = compared(left, done, rules, level)
        # An arm that may still break the limit must not have driven others out.
        early = rules.most_ece is not None and number < rules.folds
        if seen is not None and not early:
            out += seen.beaten()
            left = _without(left, out)
        state = _state(left, out, done, rules, seen)
        if early:
            state = replace(state, decided=False, futile=False)
        if state.over:
            break
    return state


def relative_cost(arm: str, blocks: Sequence[BlockResults], reference: str) -> float | None:
    """Return the mean time of an arm relative to the reference on the same blocks, if known."""
    both = [b.seconds for b in blocks if arm in b.seconds and reference in b.seconds]
    own, other = sum(each[arm] for each in both), sum(each[reference] for each in both)
    return own / other if other else None


def _without(left: Sequence[str], out: Sequence[Departure]) -> list[str]:
    gone = {departure.arm for departure in out}
    return [arm for arm in left if arm not in gone]


def _failed_or_refused(
    left: Sequence[str], done: Sequence[BlockResults], rules: Rules
) -> list[Departure]:
    """Return the arms that failed or break a constraint."""
    number, found = len(done), []
    for arm in left:
        cost = relative_cost(arm, done, rules.reference)
        seconds, ece = _mean("seconds", arm, done), _mean("ece", arm, done)
        reason = done[-1].failed.get(arm)
        if reason is None and rules.most_cost is not None and (cost or 0) > rules.most_cost:
            reason = f"costs {cost:.1f} times as much as {rules.reference}"
        if (
            reason is None
            and rules.most_seconds is not None
            and (seconds or 0) > rules.most_seconds
        ):
            reason = f"takes {seconds:.0f} seconds"
        if reason is None and number >= rules.folds and _over_ece(arm, done, rules):
            reason = f"has a calibration error of {ece:.3f}"
        if reason is not None:
            found.append(Departure(arm, number, reason))
    return found


def _over_ece(arm: str, done: Sequence[BlockResults], rules: Rules) -> bool:
    """Whether the mean calibration error of an arm so far is above the limit, if there is one."""
    return rules.most_ece is not None and (_mean("ece", arm, done) or 0) > rules.most_ece


def _state(
    left: Sequence[str],
    out: Sequence[Departure],
    done: Sequence[BlockResults],
    rules: Rules,
    seen: Comparisons | None,
) -> State:
    arms = [*left, *(departure.arm for departure in out)]
    losses = {arm: loss for arm in arms if (loss := _mean("losses", arm, done)) is not None}
    ordered = tuple(sorted(left, key=lambda arm: losses[arm]))
    state = State(len(done), ordered, tuple(out), losses)
    if seen is None or not left:
        return state
    within = tuple(arm for arm in ordered if not _over_ece(arm, done, rules))
    if not within:
        return state
    winner = _cheapest(seen.near(within[0], within), losses, done, rules)
    at_most = seen.at_most(winner, within)
    return replace(
        state,
        winner=winner,
        at_most=at_most,
        decided=at_most <= rules.margin,
        futile=seen.futile(left),
        resolved=float(seen.among(seen.radius, left).max()),
        resolvable=float(seen.among(seen.last_radius, left).max()),
    )


def _cheapest(
    arms: Sequence[str],
    losses: Mapping[str, float],
    done: Sequence[BlockResults],
    rules: Rules,
) -> str:
    """Return the cheapest arm; of those that cost about the same, the one with the best mean."""
    costs = {arm: relative_cost(arm, done, rules.reference) or math.inf for arm in arms}
    alike = [arm for arm in arms if costs[arm] <= ALIKE * min(costs.values())]
    return min(alike, key=lambda arm: losses[arm])


def _mean(name: str, arm: str, blocks: Sequence[BlockResults]) -> float | None:
    """Return the mean of what an arm has in the blocks that it took part in, if in any."""
    values = [getattr(block, name)[arm] for block in blocks if arm in getattr(block, name)]
    return (
        float(np.concatenate([np.atleast_1d(value) for value in values]).mean()) if values else None
    )
