"""Letters that say which of many are shown to differ: those that share none.

A compact letter display (Piepho, "An algorithm for a letter-based representation of all-pairwise
comparisons", Journal of Computational and Graphical Statistics 13, 2004). "Not shown to differ" is
not transitive, and so a row may bear several letters.
"""

from collections.abc import Mapping, Sequence
from string import ascii_lowercase


def letters(beaten_by: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the letters of each name; two share one exactly where neither beats the other.

    Args:
        beaten_by: of each name, those that are better, best name first; others than the keys
            are passed over.

    Returns:
        Nothing where no two differ, or the alphabet has too few letters.
    """
    groups = [frozenset(beaten_by)]
    for name, better in beaten_by.items():
        for other in better:
            pair = {name, other}
            parts = {part for one in groups for part in _apart(one, pair)}
            groups = [one for one in parts if not any(one < other for other in parts)]
            if len(groups) > len(ascii_lowercase):
                return {}
    if len(groups) == 1:
        return {}
    place = {name: number for number, name in enumerate(beaten_by)}
    groups.sort(key=lambda one: sorted(map(place.__getitem__, one)))
    return {
        name: "".join(a for a, one in zip(ascii_lowercase, groups, strict=False) if name in one)
        for name in beaten_by
    }


def _apart(group: frozenset[str], pair: set[str]) -> list[frozenset[str]]:
    """Return a group as two without one of a pair each, if it holds both."""
    return [group - {one} for one in pair] if pair <= group else [group]
