"""Do the printed intervals hold the truth, and are claims right at the stated rate? By simulation.

Studies are drawn from models whose truth is known, and judged by the functions that the reports
use. `docs/statistics.md` prints what this prints; `tests/reports/stats/test_simulations.py` runs a
short form.

    python -m tests.benchmarks.statistics --studies 2000
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations, product

import numpy as np
from scipy.special import stdtr

from gapbench.reports.stats.estimates import Estimate, Sample, averaged, estimate, student
from gapbench.reports.stats.pairwise import averaged_family, family
from tests.benchmarks.combined_outcomes import combined
from tests.benchmarks.drawing import (
    CASES,
    SEEDS,
    Case,
    Floats,
    claimed,
    holds,
    rates,
    sample,
    samples,
)
from tests.benchmarks.failed_runs import failures
from tests.benchmarks.normal_studies import largest
from tests.benchmarks.other_outcomes import outcomes
from tests.benchmarks.outcome_claims import claims, other_worlds
from tests.benchmarks.resampled_studies import resampled
from tests.benchmarks.second_test_studies import second_tests
from tests.benchmarks.tuning_studies import tunings
from tests.benchmarks.worth_studies import worths
from tests.support.simulated_runs import expected

# Intervals of single rows


def score(rng: np.random.Generator, case: Case, seeds: int) -> float:
    """Draw a study; return whether the interval of a score holds it."""
    values, truth = case.draw(rng, [0.0], seeds)
    return holds(estimate(sample(values[0], case)), seeds, float(truth[0]), case.possible)


def gap(rng: np.random.Generator, case: Case, seeds: int) -> float:
    """The generalization gap, over train items and test items."""
    train, above = case.draw(rng, [0.08], seeds)
    test, below = case.draw(rng, [0.0], seeds)
    strata = dict(enumerate(train[0])), dict(enumerate(-test[0]))
    scores = {s: float(train[0, s].mean() - test[0, s].mean()) for s in range(seeds)}
    found = estimate(Sample(scores, strata))
    return holds(found, seeds, float(above[0] - below[0]), (-np.inf, np.inf))


def corpus(rng: np.random.Generator, case: Case, seeds: int) -> float:
    """A corpus metric, the geometric mean of two ratios of sums, by its jackknife."""
    size = rng.integers(5, 25, case.items).astype(np.float64)
    values, _ = case.draw(rng, [0.0], seeds)
    hits = np.clip(values[0], 0.05, 5) * size
    pseudo = np.array([_jackknifed(each, size) for each in hits])
    scores = {s: float(np.sqrt(each.sum() / size.sum())) for s, each in enumerate(hits)}
    centred = {s: one - one.mean() + scores[s] for s, one in enumerate(pseudo)}
    found = estimate(Sample(scores, (centred,)))
    return holds(found, seeds, _corpus_truth(case), (-np.inf, np.inf))


def overall(rng: np.random.Generator, case: Case, seeds: int) -> float:
    """The mean over three tasks of other levels."""
    drawn = [case.draw(rng, [shift], seeds) for shift in (-0.05, 0.0, 0.05)]
    found = averaged([estimate(sample(values[0], case)) for values, _ in drawn])
    truth = float(np.mean([each[0] for _, each in drawn]))
    return holds(found, seeds, truth, case.possible)


@cache
def _corpus_truth(case: Case) -> float:
    rng = np.random.default_rng(99)
    found = []
    for _ in range(40):
        values, _ = case.draw(rng, [0.0], 400)
        found.append(np.sqrt(np.clip(values[0], 0.05, 5).mean(axis=1)).mean())
    return float(np.mean(found))


def _jackknifed(hits: Floats, size: Floats) -> Floats:
    """Return pseudo-values of the square root of a ratio of sums."""
    n = len(hits)
    whole = np.sqrt(hits.sum() / size.sum())
    without = np.sqrt((hits.sum() - hits) / (size.sum() - size))
    return np.asarray(n * whole - (n - 1) * without)


SINGLE: dict[str, Callable[[np.random.Generator, Case, int], float]] = {
    "score": score,
    "gap": gap,
    "corpus metric": corpus,
    "mean over 3 tasks": overall,
}


# Intervals of differences: each alone, all jointly


def differences(
    rng: np.random.Generator, case: Case, seeds: int, methods: int = 7
) -> tuple[bool, bool, bool]:
    """Draw a study of methods that truly differ; return which intervals all hold.

    Returns:
        Whether all differences to the reference lie in theirs; those to the best; all pairs.
    """
    values, truth = case.draw(rng, list(np.linspace(-0.02, 0.02, methods)), seeds)
    found = family(samples(values, case), 0.05, 0)
    true = truth[:, None] - truth[None, :]
    inside = np.abs(found.estimate.mean - true) <= found.bounds.half
    off = ~np.eye(methods, dtype=bool)
    low, high = found.estimate.mean - found.bounds.half, found.estimate.mean + found.bounds.half
    others = np.where(off, true, np.inf).min(axis=1)
    lows = np.where(off, low, np.inf).min(axis=1)
    highs = np.where(off, high, np.inf).min(axis=1)
    best = (lows <= others) & (others <= highs)
    return bool(inside[0, 1:].all()), bool(best.all()), bool(inside[off].all())


# Claims


def null(
    rng: np.random.Generator,
    case: Case,
    seeds: int,
    methods: int,
    tasks: int = 1,
    lost: float = 0.0,
) -> bool:
    """Draw a study of equal methods; return whether anything is claimed, on any task or overall.

    Args:
        rng: of the draw.
        case: of the study.
        seeds: of each method.
        methods: that are equal.
        tasks: likewise.
        lost: probability that a run fails; its method then leaves that task, as one that has fewer
            seeds does.
    """
    share = 1.0 if tasks == 1 else 0.5 / tasks
    families = []
    for _ in range(tasks):
        values, _ = case.draw(rng, [0.0] * methods, seeds)
        kept = rng.random((methods, seeds)).min(axis=1) >= lost
        known = {name: each for name, each in samples(values, case).items() if kept[name]}
        families.append(family(known, 0.05 * share, 0 if 0 in known else None))
    found = list(families)
    if tasks > 1:
        found.append(averaged_family(families, alpha=0.025, reference=0))
    return any(map(claimed, found))


def power(
    rng: np.random.Generator, seeds: int, methods: int = 7, items: int = 800
) -> tuple[bool, bool, bool]:
    """Draw accuracies of which one is better by 0.03; return by which rules this is found.

    Found is that it is better than the reference: now; if all pairs shared the level alike; and
    before, when all pairs were tested by Holm's method, each with its own variance alone.
    """
    case = Case(items=items, level=2.0, seed=0.1, possible=(0.0, 1.0))
    values, _ = case.draw(rng, [0.0] * (methods - 1) + [_better()], seeds)
    found = family(samples(values, case), 0.05, 0)
    alike = family(samples(values, case), 0.05)
    now, even = (each.beats(methods - 1, 0, higher_is_better=True) for each in (found, alike))
    return now, even, _before(found.estimate)


@cache
def _better() -> float:
    """Return by how much log odds of 2 rise where the share of right answers rises by 0.03."""
    deviation = float(np.sqrt(1.5**2 + 0.5**2 + 0.1**2))
    shifts = np.linspace(0, 1, 2001)
    gains = [expected(2.0 + s, deviation) - expected(2.0, deviation) for s in shifts[::50]]
    return float(np.interp(0.03, gains, shifts[::50]))


def _before(found: Estimate) -> bool:
    """Return whether Holm's method over all pairs finds the last method better than the first."""
    count = len(found.mean)
    pairs = list(combinations(range(count), 2))
    values = np.array([_p_value(found[pair]) for pair in pairs])
    order = np.argsort(values)
    adjusted = np.maximum.accumulate((len(pairs) - np.arange(len(pairs))) * values[order])
    place = [pairs[each] for each in order].index((0, count - 1))
    return bool(adjusted[place] < 0.05 and found.mean[count - 1, 0] > 0)


def _p_value(found: Estimate) -> float:
    """Return the level whose threshold, by Banerjee's test, the mean just reaches."""
    size = abs(float(found.mean))
    ratio = size / float(found.error)
    bounds = [2 * float(stdtr(df, -ratio)) for df in (found.seed_df, found.item_df)]
    low, high = np.log(max(min(bounds), 1e-300)), np.log(max(bounds))
    for _ in range(30):
        middle = (low + high) / 2
        seeds, items = (float(student(df, np.exp(middle))) for df in (found.seed_df, found.item_df))
        reach = np.hypot(np.sqrt(found.seed_variance) * seeds, np.sqrt(found.item_variance) * items)
        low, high = (middle, high) if reach > size else (low, middle)
    return float(np.exp((low + high) / 2))


VARIANCES = {
    "equal": {},
    "from 1 to 5": {"spread": 5.0},
    "one noisy": {"noisy": 1},
    "noisy reference": {"noisy": 0},
}


def coverage(studies: int) -> Iterator[str]:
    """Yield lines of coverage in per cent: rows of intervals and cases, columns of seeds.

    Every cell has draws of its own: cells that share them err alike.
    """
    yield "| interval | case | " + " | ".join(f"{n} seeds" for n in SEEDS) + " |"
    for kind, (name, drawn) in enumerate(SINGLE.items()):
        for row, (case_name, case) in enumerate(CASES.items()):
            if name == "corpus metric" and case.level is not None:
                continue
            found = [
                rates(studies, lambda rng, n=n, d=drawn, c=case: d(rng, c, n), [row, n, kind])[0]
                for n in SEEDS
            ]
            yield f"| {name} | {case_name} | " + " | ".join(f"{100 * r:.1f}" for r in found) + " |"
    for case_name, case in CASES.items():
        few = max(studies // 4, 300)  # each looks at many intervals
        found = [rates(few, lambda rng, n=n, c=case: differences(rng, c, n), n) for n in SEEDS]
        for place, name in enumerate(("to reference, all", "to the best, all", "all pairs")):
            said = " | ".join(f"{100 * each[place]:.1f}" for each in found)
            yield f"| {name} | {case_name} | {said} |"


def errors(studies: int) -> Iterator[str]:
    """Yield lines of family-wise error in per cent, of null studies."""
    yield "| methods | tasks | variances | " + " | ".join(f"{n} seeds" for n in SEEDS) + " |"
    for methods in (3, 7, 20):
        for tasks in (1, 6):
            for name, lost in [*product(VARIANCES, (0.0,)), *product(VARIANCES, (0.05,))]:
                case = Case(items=200, **VARIANCES[name])  # type: ignore[arg-type]
                few = max(studies // (1 if methods * tasks < 20 else 4), 100)
                found = [
                    rates(
                        few,
                        lambda rng, n=n, c=case, m=methods, t=tasks, p=lost: null(
                            rng, c, n, m, t, p
                        ),
                        n,
                    )[0]
                    for n in SEEDS
                ]
                said = " | ".join(f"{100 * rate:.1f}" for rate in found)
                more = ", 5 % of runs lost" if lost else ""
                yield f"| {methods} | {tasks} | {name}{more} | {said} |"


def powers(studies: int) -> Iterator[str]:
    """Yield lines of power in per cent, for a true difference of 0.03 to the reference."""
    yield "| seeds | now | all pairs alike | before |"
    for seeds in SEEDS:
        found = rates(studies, lambda rng, n=seeds: power(rng, n), seeds)
        yield f"| {seeds} | " + " | ".join(f"{100 * each:.0f}" for each in found) + " |"


PARTS = {
    "coverage": coverage,
    "errors": errors,
    "failures": failures,
    "settings": largest,
    "outcomes": outcomes,
    "combined": combined,
    "claims": claims,
    "worlds": other_worlds,
    "second": second_tests,
    "worth": worths,
    "tuning": tunings,
    "resampling": resampled,
    "power": powers,
}


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--part", choices=PARTS, default=None)
    options = parser.parse_args()
    for name in [options.part] if options.part else PARTS:
        started = time.monotonic()
        for line in PARTS[name](options.studies):
            print(line, flush=True)
        print(f"{name}: {time.monotonic() - started:.0f} s\n", flush=True)


if __name__ == "__main__":
    main()
