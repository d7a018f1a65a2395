"""How often studies of equal methods show or contradict any of many claims.

    python -m tests.benchmarks.null_claims [STUDIES]

Claims are about pairs of equal methods whose seeds vary by what differs from task to task. Pairs of
one study share their second method, as claims of papers share LoRA.
"""

import sys
from itertools import product

import numpy as np

from gapbench.reports.claims.judge import ruled
from gapbench.reports.claims.match import FIRST, SECOND, Match
from gapbench.reports.claims.model import PublishedClaim
from gapbench.reports.stats.estimates import Sample
from gapbench.reports.stats.simultaneous import ALPHA
from tests.support.published_claims import dora_beats_lora

CLAIMS = (5, 20)
SEEDS = (3, 5, 8)
TASKS = (1, 3, 6)


def rate(studies: int, claims: int, seeds: int, tasks: int) -> float:
    """Return the share of studies that show or contradict anything."""
    rng = np.random.default_rng([20261128, claims, seeds, tasks])
    made = [dora_beats_lora(number) for number in range(claims)]
    return float(np.mean([_any(rng, made, seeds, tasks) for _ in range(studies)]))


def _any(rng: np.random.Generator, claims: list[PublishedClaim], seeds: int, tasks: int) -> bool:
    spreads = np.geomspace(0.01, 0.05, tasks)
    second = [0.7 + spread * rng.normal(size=seeds) for spread in spreads]
    for claim in claims:
        found = [
            match(0.7 + spread * rng.normal(size=seeds), own)
            for spread, own in zip(spreads, second, strict=True)
        ]
        if ruled(claim, found, ALPHA / len(claims), 0.0).ruling in {"shown", "contradicted"}:
            return True
    return False


def match(first: np.ndarray, second: np.ndarray) -> Match:
    """Return two methods with these scores by seed, on one task."""
    samples = {FIRST: Sample(dict(enumerate(first))), SECOND: Sample(dict(enumerate(second)))}
    return Match("here", "null", samples, True, (0.0, 1.0), "accuracy")


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print("| claims | seeds | tasks | studies with any, % |")
    for case in product(CLAIMS, SEEDS, TASKS):
        print("|", " | ".join(map(str, case)), f"| {100 * rate(wanted, *case):.1f} |", flush=True)
