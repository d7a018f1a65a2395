"""What the numbers of one task say, in sentences that claim no more than the statistics do."""

from typing import Any

import pandas as pd

from reports.leaderboard import PAPER, rows
from reports.text import label, number, too_few


def verdict(block: pd.DataFrame) -> list[str]:
    """Return the verdict on one task, the most important sentence first.

    Args:
        block: rows of `summarise` that share task and setting, best first.
    """
    scored = block[block["n_seeds"] > 0]
    sentences = [_best(scored)] if len(scored) else []
    sentences += [too_few(block)]
    if len(scored):
        sentences += [_rest(scored), _bound(scored), _gaps(scored), _calibration(scored)]
    return [sentence for sentence in [*sentences, _failures(block), _protocol(block)] if sentence]


def listed(names: list[str]) -> str:
    """Return names as "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def interval(low: Any, high: Any) -> str:
    """Return the ends of an interval as text; "" if there is none."""
    return "" if pd.isna(low) or pd.isna(high) else f"{number(low)} to {number(high)}"


def _names(block: pd.DataFrame) -> list[str]:
    return [label(row.method, row.variant) for row in rows(block)]


def _best(scored: pd.DataFrame) -> str:
    best = next(rows(scored))
    ends = interval(best.score_ci_low, best.score_ci_high)
    spread = f", 95 % interval {ends}" if ends else ""
    seeds = "1 seed" if best.n_seeds == 1 else f"{best.n_seeds} seeds"
    name = label(best.method, best.variant)
    if len(scored) == 1:
        return f"{name} alone has a score: {best.metric} {number(best.score)} ({seeds}{spread})."
    word = "highest" if best.higher_is_better else "lowest"
    return f"{name} has the {word} mean {best.metric}: {number(best.score)} ({seeds}{spread})."


def _rest(scored: pd.DataFrame) -> str:
    """Say which methods the tests separate from the best one."""
    ranked = scored[scored["rank_group"].notna()]
    if len(ranked) < 2:
        return ""
    tied = _names(ranked[ranked["rank_group"] == 1])[1:]
    worse = _names(ranked[ranked["rank_group"] > 1])
    parts = []
    if tied:
        parts.append(f"Not told apart from it: {listed(tied)}.")
    if worse:
        parts.append(f"Significantly worse: {listed(worse)}.")
    single = scored[scored["rank_group"].isna() & (scored["n_seeds"] == 1)]
    if alone := _names(single[single["trainable_params"] != 0]):
        parts.append(f"Not ranked, having one seed: {listed(alone)}.")
    return " ".join(parts)


def _bound(scored: pd.DataFrame) -> str:
    bounds = scored["bayes_score"].dropna()
    if bounds.empty:
        return ""
    return f"The best possible predictor of these test examples reaches {number(bounds.iloc[0])}."


def _gaps(scored: pd.DataFrame) -> str:
    gaps = scored[scored["generalization_gap"].notna()].sort_values("generalization_gap")
    if len(gaps) < 2:
        return ""
    widest = next(rows(gaps[::-1]))
    ends = interval(widest.gap_ci_low, widest.gap_ci_high)
    spread = f" (95 % interval {ends})" if ends else ""
    text = (
        f"The widest generalization gap is that of {label(widest.method, widest.variant)}: "
        f"{number(widest.generalization_gap)}{spread}"
    )
    best = next(rows(scored))
    if best.config_hash == widest.config_hash or pd.isna(best.generalization_gap):
        return text + "."
    return text + f"; the best scoring one has {number(best.generalization_gap)}."


def _calibration(scored: pd.DataFrame) -> str:
    calibrated = scored[scored["ece"].notna()].sort_values("ece")
    if calibrated.empty:
        return ""
    best, worst = next(rows(calibrated)), next(rows(calibrated[::-1]))
    text = f"{number(best.ece)} ({label(best.method, best.variant)})"
    if len(calibrated) > 1:
        text = f"from {text} to {number(worst.ece)} ({label(worst.method, worst.variant)})"
    bounds = scored["bayes_ece"].dropna()
    known = "" if bounds.empty else f"; that of the true probabilities is {number(bounds.iloc[0])}"
    return f"Mean ECE: {text}{known}."


def _failures(block: pd.DataFrame) -> str:
    failed = int(block["n_failed"].sum())
    if not failed:
        return ""
    runs = "1 run" if failed == 1 else f"{failed} runs"
    return f"{runs} failed; means are over the others and may flatter methods that fail."


def _protocol(block: pd.DataFrame) -> str:
    if not (block["protocol"] == "paper").any():
        return ""
    return (
        f"Rows marked{PAPER} follow the papers' protocol: the checkpoint was chosen on the test "
        "split, so their scores flatter and do not compare with strict ones."
    )
