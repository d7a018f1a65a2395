"""What a results folder says of claims, by the same differences that its verdicts rest on.

All claims that can be tested are one family: each has an interval of the mean over its tasks, and
all these intervals hold together with 95 % confidence. They are planned: the claims were written
down before the results, and do not depend on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from gapbench.reports.claims.match import FIRST, SECOND, Match, boards_of, matches
from gapbench.reports.claims.model import PublishedClaim
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.stats.pairwise import Pair, averaged_family, family
from gapbench.reports.stats.planning import Plan
from gapbench.reports.stats.simultaneous import ALPHA
from gapbench.reports.tables.outcomes import level_of
from gapbench.reports.verdict.contrasts import withheld
from gapbench.reports.verdict.design import MATTERS, plan_of

Ruling = Literal[
    "shown", "contradicted", "no difference larger than d", "underpowered", "not tested here"
]
"""What is said of a claim.

- shown: the interval excludes zero on the claimed side; of `alike`, it lies inside the margin.
- contradicted: it excludes zero on the other side; of `alike`, it lies beyond the margin.
- no difference larger than d: it lies within the least difference that matters, on both sides.
- underpowered: none of these; the data cannot tell.
- not tested here: the folder lacks the rows.
"""


@dataclass(frozen=True)
class JudgedClaim:
    """A claim and what a results folder says of it.

    Attributes:
        claim: as published.
        ruling: see `Ruling`.
        pair: first minus second, mean over tasks, with its simultaneous interval; None if it was
            not tested.
        larger_than: d, the largest difference that the interval holds; None without an interval.
        suite: whose runs were looked at, "" if none.
        tasks: with their backbones.
        plan: what larger studies could tell; None unless it is underpowered, variances are known,
            and a difference is claimed.
        missing: rows and tasks that would be needed, and why they do not count.
        withheld: why there is no interval; "" where there is one.
        matters: least difference that matters.
        others: rows of the two methods with other settings, which were not judged.
    """

    claim: PublishedClaim
    ruling: Ruling
    pair: Pair | None = None
    larger_than: float | None = None
    suite: str = ""
    tasks: tuple[str, ...] = ()
    plan: Plan | None = None
    missing: tuple[str, ...] = ()
    withheld: str = ""
    matters: float = MATTERS
    others: tuple[str, ...] = ()

    @property
    def seeds_needed(self) -> tuple[float, float] | None:
        """Seeds so that 4 in 5 studies find a difference that matters, as (least, most)."""
        return self.plan.seeds(self.matters) if self.plan else None

    @property
    def tested(self) -> bool:
        """Whether the folder has the rows."""
        return self.ruling != "not tested here"


def judge(
    results: LoadedResults,
    summary: pd.DataFrame,
    claims: Sequence[PublishedClaim],
    matters: float | None = None,
) -> tuple[JudgedClaim, ...]:
    """Judge claims by a results folder.

    Args:
        results: the folder.
        summary: the table of `reports.tables.summary.summarise`.
        claims: in the order of the answer.
        matters: least difference that matters, in units of each metric; None for 0.01.
    """
    boards = boards_of(summary)
    found = [matches(results, boards, claim) for claim in claims]
    alpha = ALPHA / max(sum(bool(each.found) for each in found), 1)
    least = MATTERS if matters is None else matters
    return tuple(
        replace(ruled(claim, each.found, alpha, least), missing=each.missing)
        if each.found
        else JudgedClaim(claim, "not tested here", missing=each.missing)
        for claim, each in zip(claims, found, strict=True)
    )


def ruled(
    claim: PublishedClaim,
    found: Sequence[Match],
    alpha: float,
    matters: float,
) -> JudgedClaim:
    """Judge one claim.

    Args:
        claim: to judge.
        found: its rows, at least on one task; each task is a stratum of its own.
        alpha: level of its interval.
        matters: least difference that matters.
    """
    level = alpha * level_of(claim.metric, *(each.possible for each in found))
    over = averaged_family([family(each.samples) for each in found], alpha=level)
    pair = over.pair(FIRST, SECOND)
    upward = found[0].upward if claim.metric in ("score", "train_score") else False
    ruling = _ruling(claim, pair, matters, upward=upward)
    return JudgedClaim(
        claim=claim,
        ruling=ruling,
        pair=pair,
        larger_than=None if pair.low is None or pair.high is None else max(-pair.low, pair.high),
        suite=found[0].suite,
        tasks=tuple(each.place for each in found),
        # Studies are planned to tell differences; `alike` asks for narrow intervals.
        plan=plan_of(over, SECOND, level)
        if ruling == "underpowered" and claim.margin is None
        else None,
        withheld=withheld(over, (FIRST, SECOND)),
        matters=matters,
        others=tuple(dict.fromkeys(name for each in found for name in each.others)),
    )


def _ruling(claim: PublishedClaim, pair: Pair, matters: float, *, upward: bool) -> Ruling:
    if pair.low is None or pair.high is None:
        return "underpowered"
    if claim.margin is not None:
        if -claim.margin <= pair.low and pair.high <= claim.margin:
            return "shown"
        beyond = pair.low > claim.margin or pair.high < -claim.margin
        return "contradicted" if beyond else "underpowered"
    if pair.apart:
        better = ((pair.difference or 0.0) > 0) == upward
        return "shown" if better == (claim.expected == "better") else "contradicted"
    inside = -matters <= pair.low and pair.high <= matters
    return "no difference larger than d" if inside else "underpowered"
