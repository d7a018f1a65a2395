"""Cuts of rows into parts, keyed by a seed and the same on every machine.

Parts keep the shares of the classes, or of the tenths of the values of a regression, unless groups
of examples stay together.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.core.seeding import permutation

Indices = NDArray[np.int64]

_VALUE_STRATA = 10


def cut(targets: NDArray[Any], size: int, seed: int) -> NDArray[np.bool_]:
    """Choose ``size`` examples so that every class, or decile of the values, keeps its share.

    Returns:
        (examples,) True for the chosen ones.
    """
    ordered = _by_stratum(_strata(targets), seed)
    chosen = np.zeros(len(targets), dtype=bool)
    # Evenly spaced positions in an order grouped by class take the same share of each class.
    places = ((np.arange(size) + 0.5) * len(targets) / size).astype(np.int64)
    chosen[ordered[places]] = True
    return chosen


def cut_nested(targets: NDArray[Any], size: int, seed: int) -> NDArray[np.bool_]:
    """Choose as `cut` does, and so that a larger choice holds every smaller one of its seed."""
    strata = _strata(targets)
    ordered = _by_stratum(strata, seed)
    counts = np.bincount(strata)
    firsts = np.cumsum(counts) - counts
    own = strata[ordered]
    shares = (np.arange(len(targets)) - firsts[own] + 0.5) / counts[own]
    chosen = np.zeros(len(targets), dtype=bool)
    chosen[ordered[np.argsort(shares, kind="stable")[:size]]] = True
    return chosen


def cut_groups(groups: Indices, size: int, seed: int) -> NDArray[np.bool_]:
    """Choose whole groups, in an order keyed by ``seed``, until they have about ``size`` examples.

    A group that would lead further away from ``size`` is passed over; if all would, a smallest one
    is chosen. Shares of the classes are not looked at.

    Returns:
        (examples,) True for the chosen ones.
    """
    _, groups = np.unique(groups, return_inverse=True)
    counts = np.bincount(groups)
    order = permutation(len(counts), seed)
    smallest = min(order, key=lambda group: counts[group])
    taken, left = [], size
    for group in order:
        if counts[group] < 2 * left:
            taken.append(group)
            left -= counts[group]
    chosen: NDArray[np.bool_] = np.isin(groups, taken or [smallest])
    return chosen


def block(length: int, size: int, seed: int) -> NDArray[np.bool_]:
    """Choose ``size`` neighbours among rows that belong together in their order."""
    start = int(permutation(length - size + 1, seed)[0])
    return (np.arange(length) >= start) & (np.arange(length) < start + size)


def folds(targets: NDArray[Any], groups: Indices, count: int, seed: int) -> Indices:
    """Divide examples into folds that keep the shares of the classes, group by group.

    Large groups go first, each to the fold that has least of its classes so far. Where all examples
    are groups of their own, folds differ by at most one example of a class.

    Args:
        targets: (examples,) classes or values.
        groups: (examples,) group of each example; at least ``count`` groups.
        count: number of folds.
        seed: seed of the order in which groups of similar size come.

    Returns:
        (examples,) fold of each example, 0 to ``count - 1``; no fold is empty.
    """
    strata = _strata(targets)
    _, groups = np.unique(groups, return_inverse=True)
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
    order = permutation(len(members), seed).tolist()
    order.sort(key=lambda group: -len(members[group]).bit_length())  # groups of similar size
    weights = 1 / np.maximum(np.bincount(strata), 1.0) ** 2  # a class counts by its shares
    load = np.zeros((count, len(weights)))
    sizes = np.zeros(count)
    fold_of = np.zeros(len(targets), dtype=np.int64)
    for group in order:
        own = strata[members[group]]
        crowded = (load[:, own] * weights[own]).sum(axis=1)
        fold = np.lexsort((sizes, crowded))[0]
        np.add.at(load[fold], own, 1)
        sizes[fold] += len(own)
        fold_of[members[group]] = fold
    return fold_of


def folds_of_text(length: int, count: int, seed: int) -> Indices:
    """Divide rows that belong together in their order into folds of neighbours, from a place on."""
    places: Indices = (np.arange(length) - permutation(length, seed)[0]) % length
    return places * count // length


def _strata(targets: NDArray[Any]) -> Indices:
    """Return classes as they are, and values as the number of their tenth."""
    if not np.issubdtype(targets.dtype, np.floating):
        return targets
    ranks = np.argsort(np.argsort(targets, kind="stable"), kind="stable")
    return ranks * _VALUE_STRATA // len(targets)


def _by_stratum(strata: Indices, seed: int) -> Indices:
    """Return examples grouped by stratum, shuffled inside."""
    shuffled = permutation(len(strata), seed)
    return shuffled[np.argsort(strata[shuffled], kind="stable")]
