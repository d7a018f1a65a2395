"""Sentences on the results of one task; they claim only what the statistics support."""

from typing import Any

import pandas as pd

from gapbench.reports.prose.effects import effects, gains, same
from gapbench.reports.tables.leaderboard import PAPER, rows
from gapbench.reports.tables.ranking import OVER_ITEMS, key_of
from gapbench.reports.tables.terminal import label, number, too_few
from gapbench.reports.tables.words import interval, listed


def verdict(block: pd.DataFrame) -> list[str]:
    """Return the verdict on one task, the most important sentence first.

    Args:
        block: rows of `summarise` that share task and setting, best first.
    """
    scored = block[block["n_seeds"] > 0]
    sentences = [_best(scored), _higher(scored)] if len(scored) else []
    sentences += [too_few(block)]
    ranked = [row for row in rows(scored) if pd.notna(row.rank_group)]
    if len(ranked) > 1:
        names = {key_of(row): label(row.method, row.variant) for row in ranked}
        upward = bool(ranked[0].higher_is_better)
        sentences += effects(ranked[0].family, names, upward=upward)
        sentences += same(ranked[0].family, names)
        sentences += gains(ranked[0].family, names, upward=upward)
    sentences += [_single(scored), *_lost(block), _protocol(block)]
    return [sentence for sentence in sentences if sentence]


def _best(scored: pd.DataFrame) -> str:
    best = next(rows(scored))
    ends = interval(best.score_ci_low, best.score_ci_high)
    over = "1 seed" if best.n_seeds == 1 else f"{best.n_seeds} seeds"
    if best.score_ci_over == OVER_ITEMS:
        over += f" and {best.estimate.item_df + 1:.0f} test items"
    spread = over + (f", 95 % interval {ends}" if ends else "")
    name = label(best.method, best.variant)
    if len(scored) == 1:
        return f"{name} alone has a score: {best.metric} {number(best.score)} ({spread})."
    word = "highest" if best.higher_is_better else "lowest"
    among = " of those compared" if _ahead(scored) else ""
    return f"{name} has the {word} mean {best.metric}{among}: {number(best.score)} ({spread})."


def _ahead(scored: pd.DataFrame) -> list[Any]:
    """Return the rows that are ahead of the best rival without being rivals."""
    best, *others = rows(scored)
    sign = 1 if best.higher_is_better else -1
    return [
        row for row in others if sign * row.score > sign * best.score and pd.isna(row.rank_group)
    ]


def _higher(scored: pd.DataFrame) -> str:
    ahead = [f"{label(row.method, row.variant)} ({number(row.score)})" for row in _ahead(scored)]
    return f"Ahead of it, but not compared: {listed(ahead)}." if ahead else ""


def _single(scored: pd.DataFrame) -> str:
    """Say which methods have too few seeds to be compared, where others have enough."""
    single = scored[(scored["n_seeds"] == 1) & (scored["trainable_params"] != 0)]
    if single.empty or scored["rank_group"].isna().all():
        return ""
    names = [label(row.method, row.variant) for row in rows(single)]
    return f"Not compared, having one seed: {listed(names)}."


def _lost(block: pd.DataFrame) -> list[str]:
    """Say how many runs have no part in the means, and why; baselines need no score."""
    others = "means are over the others and may flatter methods that fail"
    trained = block[block["trainable_params"].fillna(1) != 0]
    unscored = int(trained["n_unscored"].sum())
    have = "has" if unscored == 1 else "have"
    said = {
        f"failed; {others}": int(block["n_failed"].sum()),
        f"{have} no score, the metric being undefined on the predictions; {others}": unscored,
        "stopped before the end, to be finished by the same command": int(block["n_stopped"].sum()),
    }
    return [f"{n} run{'' if n == 1 else 's'} {what}." for what, n in said.items() if n]


def _protocol(block: pd.DataFrame) -> str:
    if not (block["protocol"] == "paper").any():
        return ""
    return (
        f"Rows marked{PAPER} follow the papers' protocol: the checkpoint was chosen on the test "
        "split, so their scores flatter and do not compare with strict ones."
    )
