"""What the numbers of one task say, in sentences that claim no more than the statistics do."""

import math
from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

import pandas as pd

from reports.leaderboard import PAPER, rows
from reports.rivals import OVER_ITEMS, key_of
from reports.stats.pairs import Comparison, Family
from reports.text import label, number, too_few

Key = TypeVar("Key", bound=Hashable)

SIZED = 4
"""Up to so many methods have the size of their difference in a sentence."""

NAMED = 8
"""Up to so many methods are named in a sentence."""


def verdict(block: pd.DataFrame) -> list[str]:
    """Return the verdict on one task, the most important sentence first.

    Args:
        block: rows of `summarise` that share task and setting, best first.
    """
    scored = block[block["n_seeds"] > 0]
    sentences = [_best(scored), _higher(scored)] if len(scored) else []
    ranked = [row for row in rows(scored) if pd.notna(row.rank_group)]
    if len(ranked) > 1:
        names = {key_of(row): label(row.method, row.variant) for row in ranked}
        upward = bool(ranked[0].higher_is_better)
        sentences += effects(ranked[0].family, names, upward=upward)
        sentences += gains(ranked[0].family, names, upward=upward)
    elif not ranked:
        sentences += [too_few(block)]
    if len(scored):
        sentences += [_single(scored), _bound(scored), _gaps(scored), _calibration(scored)]
    return [sentence for sentence in [*sentences, _failures(block), _protocol(block)] if sentence]


def effects(pairs: Family[Key], names: Mapping[Key, str], *, upward: bool) -> list[str]:
    """Say how far the best method is ahead of the others, and what it would take to tell more.

    Args:
        pairs: of the methods.
        names: of two methods or more, the best one first.
        upward: whether higher scores are better.
    """
    best, *others = names
    sign = 1 if upward else -1
    others.sort(key=lambda key: sign * pairs.difference(best, key))
    found = {names[key]: pairs.compare(best, key) for key in others}
    beaten = {name: each for name, each in found.items() if each.apart}
    tied = {name: each for name, each in found.items() if not each.apart}
    sentences = [f"It beats {_sizes(beaten, sign, 'by')}."] if beaten else []
    if tied:
        sentences += [f"Not told apart from it: {_sizes(tied, sign, 'behind by')}."]
        for name in dict.fromkeys((next(iter(tied)), next(reversed(tied)))):
            sentences.append(_power(names[best], name, tied[name]))
    return sentences


def gains(pairs: Family[Key], names: Mapping[Key, str], *, upward: bool) -> list[str]:
    """Say what tuning gained over the settings that it began from, method by method.

    Args:
        pairs: of the methods.
        names: of their rows; that of a tuned one ends in "tuned".
        upward: whether higher scores are better.
    """
    sign = 1 if upward else -1
    keys = {name: key for key, name in names.items()}
    said = []
    for name, key in keys.items():
        base = _untuned(name)
        if base not in keys:
            continue
        found = pairs.compare(key, keys[base])
        by = _size(found, sign)
        if not found.apart:
            said.append(f"no gain of {name} over {base} is shown, seen is {by}")
        elif sign * (found.difference.mean or 0.0) > 0:
            said.append(f"{name} beats {base} by {by}")
        else:
            said.append(f"{name} loses to {base} by {_size(found, -sign)}")
    return [f"Tuning: {'; '.join(said)}."] if said else []


def listed(names: list[str]) -> str:
    """Return names as "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def named(names: list[str]) -> str:
    """Return names as "a, b and c", or how many there are, if they are many."""
    return listed(names) if len(names) <= NAMED else f"{len(names)} others"


def interval(low: Any, high: Any) -> str:
    """Return the ends of an interval as text; "" if there is none."""
    return "" if pd.isna(low) or pd.isna(high) else f"{number(low)} to {number(high)}"


def _untuned(name: str) -> str:
    """Return the name of the row that a tuned one began from; "" if it is none."""
    mark = PAPER if name.endswith(PAPER) else ""
    bare = name.removesuffix(PAPER)
    if not bare.endswith(" tuned"):
        return ""
    return bare.removesuffix(" tuned").removesuffix(" /") + mark


def _size(found: Comparison, sign: int) -> str:
    """Return a difference, above zero where the first method is better, and its interval."""
    seen = found.difference
    ends = sorted(sign * end for end in (seen.low, seen.high) if end is not None)
    spread = f" ({interval(*ends)})" if ends else ""
    return f"{number(sign * seen.mean)}{spread}" if seen.mean is not None else "unknown"


def _sizes(found: Mapping[str, Comparison], sign: int, word: str) -> str:
    """Return names with the sizes of their differences; of many, those of the first and last."""
    if len(found) <= SIZED:
        return listed([f"{name} {word} {_size(each, sign)}" for name, each in found.items()])
    (first, least), *_, (last, most) = found.items()
    return (
        f"{named(list(found))}, {word} {_size(least, sign)} in the case of {first} up to "
        f"{_size(most, sign)} in that of {last}"
    )


def _power(best: str, other: str, found: Comparison) -> str:
    """Say what it would take to tell two methods apart; "" where it is unknown."""
    mean, needed = found.difference.mean, found.more_seeds
    if not mean or needed is None:
        return ""
    seen = number(abs(mean))
    if not math.isinf(needed):
        seeds = "1 more" if needed == 1 else f"{needed:.0f} more"
        text = f"Not enough seeds to tell {best} from {other}: {seeds} would be needed"
        text += f" if they differ by {seen}, as seen"
    elif found.items:
        text = f"No number of seeds would tell {best} from {other} on so few test items"
        text += f" if they differ by {seen}, as seen"
    else:
        text = f"No practicable number of seeds would tell {best} from {other}"
    least = number(found.detectable)
    return f"{text}; as it is, four in five such studies would find a difference of {least}."


def _names(block: pd.DataFrame) -> list[str]:
    return [label(row.method, row.variant) for row in rows(block)]


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
    return f"Not compared, having one seed: {listed(_names(single))}."


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
