"""Sentences on the differences between methods; they claim only what the tests support."""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import TypeVar

from gapbench.reports.stats.comparison import Comparison
from gapbench.reports.stats.pairwise import Family
from gapbench.reports.tables.leaderboard import PAPER
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import PRACTICABLE, interval, listed, more_seeds, named

Key = TypeVar("Key", bound=Hashable)

SIZED = 4
"""Up to so many methods have the size of their difference in a sentence."""

_UNEQUAL = "means are over unequal seeds here, so that no order is shown"
_UNTESTED = "no test can judge differences that never vary, or of fewer than two common seeds"


def effects(pairs: Family[Key], names: Mapping[Key, str], *, upward: bool) -> list[str]:
    """Say how far the best method is ahead of the others, and what it would take to tell more.

    Args:
        pairs: of the methods.
        names: of two methods or more, the best one first.
        upward: whether higher scores are better.
    """
    first: dict[int, Key] = {}  # of several names of the same runs
    for key in names:
        first.setdefault(pairs.places[key], key)
    best, *others = first.values()
    sign = 1 if upward else -1
    others.sort(key=lambda key: sign * pairs.difference(best, key))
    found: dict[str, dict[str, Comparison]] = defaultdict(dict)
    for key in others:
        each = pairs.compare(best, key)
        found[_standing(each, sign)][names[key]] = each
    sentences = []
    if beaten := found["beaten"]:
        sentences += [f"It beats {_sizes(beaten, sign, 'by')}."]
    if ahead := found["ahead"]:
        sentences += [f"Ahead of it on common seeds: {_sizes(ahead, -sign, 'by')}; {_UNEQUAL}."]
    if tied := found["tied"]:
        sentences += [f"No significant difference from it: {_sizes(tied, sign, 'behind by')}."]
        for name in dict.fromkeys((next(iter(tied)), next(reversed(tied)))):
            sentences.append(_power(names[best], name, tied[name]))
    if untested := found["untested"]:
        sentences += [f"Could not be tested: {_sizes(untested, sign, 'behind by')}; {_UNTESTED}."]
    return sentences


def same(pairs: Family[Key], names: Mapping[Key, str]) -> list[str]:
    """Say which names stand for the same runs, and so are one method in every test.

    Args:
        pairs: of the methods.
        names: of them.
    """
    together: dict[Key, list[str]] = {}
    for key, first in pairs.twins().items():
        if key in names:
            together.setdefault(first, []).append(names[key])
    found = [" = ".join(alike) for alike in together.values() if len(alike) > 1]
    return [f"The same settings and runs, compared once: {listed(found)}."] if found else []


def gains(pairs: Family[Key], names: Mapping[Key, str], *, upward: bool) -> list[str]:
    """Say what tuning gained over the settings that it began from, method by method.

    Args:
        pairs: of the methods.
        names: of their rows; the name of a tuned one ends in "tuned".
        upward: whether higher scores are better.
    """
    sign = 1 if upward else -1
    keys = {name: key for key, name in names.items()}
    said = []
    for name, key in keys.items():
        base = _untuned(name)
        if base not in keys:
            continue
        base_key = keys[base]
        found = pairs.compare(key, base_key)
        by = _size(found, sign)
        if pairs.places[key] == pairs.places[base_key]:
            said.append(f"{name} kept the settings of {base}")
        elif found.p_value is None:
            said.append(f"{name} and {base} could not be tested, seen is {by}")
        elif not found.apart:
            said.append(f"no gain of {name} over {base} is shown, seen is {by}")
        elif sign * (found.difference.mean or 0.0) > 0:
            said.append(f"{name} beats {base} by {by}")
        else:
            said.append(f"{name} loses to {base} by {_size(found, -sign)}")
    return [f"Tuning: {'; '.join(said)}."] if said else []


def _standing(found: Comparison, sign: int) -> str:
    """Return what a comparison with the best mean has shown of the other method."""
    if found.p_value is None:
        return "untested"
    if not found.apart:
        return "tied"
    return "beaten" if sign * (found.difference.mean or 0.0) > 0 else "ahead"


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
    two, count = f"{best} from {other}", ""
    if needed <= PRACTICABLE:
        text = f"Not enough seeds to tell {two}: {more_seeds(needed)} would be needed"
    elif math.isinf(needed) and found.items:
        text = f"No number of seeds would tell {two} on so few test items"
    else:
        count = "" if math.isinf(needed) else f" (it would take {more_seeds(needed)})"
        text = f"No practicable number of seeds would tell {two}"
    return f"{text} if they differ by {seen}, as seen{count}; {found_as_it_is(found)}."


def found_as_it_is(found: Comparison) -> str:
    """Say what true difference such studies would find."""
    if math.isinf(found.detectable or 0.0):
        return "as it is, most such studies would find no difference that the metric allows"
    least = number(found.detectable)
    return f"as it is, four in five such studies would find a difference of {least}"
