"""Cuts keep the shares of classes, hold groups together, and are the same for the same seed."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from gapbench.bench.tasks.cuts import block, cut, cut_groups, cut_nested, folds, folds_of_text

CLASSES = np.repeat([0, 1, 2], [401, 93, 7])
ALONE = np.arange(len(CLASSES))


def test_cut_takes_the_same_share_of_every_class() -> None:
    """Class counts of a cut are within one of their exact share, and the cut is repeatable."""
    targets = np.repeat([0, 1, 2], [700, 200, 100])
    chosen = cut(targets, 90, seed=5)
    assert chosen.sum() == 90
    assert np.abs(np.bincount(targets[chosen]) - [63, 18, 9]).max() <= 1
    assert (chosen == cut(targets, 90, seed=5)).all()
    assert (chosen != cut(targets, 90, seed=6)).any()


def test_cut_of_real_targets_covers_the_whole_range() -> None:
    """For regression each tenth of the range keeps its share."""
    targets = np.random.default_rng(0).gamma(2.0, size=1000)
    chosen = cut(targets, 100, seed=0)
    tenths = np.digitize(targets[chosen], np.quantile(targets, np.arange(0.1, 1, 0.1)))
    assert np.abs(np.bincount(tenths, minlength=10) - 10).max() <= 1


def test_larger_nested_cut_holds_every_smaller_one() -> None:
    """All of one seed are nested, and class counts are within one of their exact share."""
    before = np.zeros(len(CLASSES), dtype=bool)
    for size in (10, 50, 200, 500):
        chosen = cut_nested(CLASSES, size, seed=3)
        assert chosen.sum() == size
        assert not (before & ~chosen).any()
        exact = size * np.bincount(CLASSES) / len(CLASSES)
        assert np.abs(np.bincount(CLASSES[chosen], minlength=3) - exact).max() <= 1
        before = chosen
    assert (cut_nested(CLASSES, 50, seed=4) != cut_nested(CLASSES, 50, seed=3)).any()


def counts(targets: NDArray[np.int64], fold_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the examples of each class in each fold, (folds, classes)."""
    table = np.zeros((fold_of.max() + 1, targets.max() + 1), dtype=np.int64)
    np.add.at(table, (fold_of, targets), 1)
    return table


@pytest.mark.parametrize("count", [2, 5, 10])
def test_folds_of_single_examples_are_stratified_within_one(count: int) -> None:
    """Every example has one fold, and folds differ by one example of a class at most."""
    fold_of = folds(CLASSES, ALONE, count, seed=0)
    table = counts(CLASSES, fold_of)
    assert table.shape == (count, 3)
    assert np.ptp(table, axis=0).max() <= 1
    assert np.ptp(table.sum(axis=1)) <= 2
    assert (fold_of == folds(CLASSES, ALONE, count, seed=0)).all()
    assert (fold_of != folds(CLASSES, ALONE, count, seed=1)).mean() > 0.3


def test_folds_of_values_cover_the_whole_range() -> None:
    """Each tenth of the values is spread over all folds."""
    values = np.random.default_rng(0).gamma(2.0, size=1000)
    fold_of = folds(values, np.arange(1000), 5, seed=0)
    tenths = np.digitize(values, np.quantile(values, np.arange(0.1, 1, 0.1)))
    assert np.ptp(counts(tenths, fold_of), axis=0).max() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_groups_never_straddle_folds_and_classes_spread_as_well_as_may_be(seed: int) -> None:
    """Groups of unlike sizes and classes: folds are as even as scikit-learn's."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(90), rng.geometric(0.15, 90))
    leaning = rng.random(90)
    targets = (rng.random(len(groups)) < leaning[groups]).astype(np.int64)
    fold_of = folds(targets, groups, 5, seed)
    assert all(len(set(fold_of[groups == group])) == 1 for group in set(groups))
    theirs = np.zeros(len(groups), dtype=np.int64)
    other = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(other.split(targets, targets, groups)):
        theirs[held_out] = fold
    spreads = [counts(targets, each).std(axis=0).sum() for each in (fold_of, theirs)]
    assert spreads[0] <= spreads[1]
    assert counts(targets, fold_of).min() > 0


def test_no_fold_is_empty_where_there_are_as_many_groups() -> None:
    """However unlike the groups are in size."""
    groups = np.repeat(np.arange(5), [200, 3, 2, 1, 1])
    assert set(folds(groups % 2, groups, 5, seed=0)) == set(range(5))


@pytest.mark.parametrize("seed", range(10))
def test_large_group_does_not_blow_up_a_cut(seed: int) -> None:
    """Of one group of 900 and ten of 10, a cut of 50 examples has 50, whatever comes first."""
    groups = np.r_[np.zeros(900, np.int64), np.repeat(np.arange(1, 11), 10)]
    chosen = cut_groups(groups, 50, seed)
    assert chosen.sum() == 50
    assert all(len(set(chosen[groups == group])) == 1 for group in set(groups))
    assert cut_groups(np.repeat([0, 1], [30, 20]), 2, seed).sum() == 20  # one at least


def test_smallest_group_is_another_one_by_another_seed() -> None:
    """Where every group is larger than twice the size, the choice is still drawn."""
    groups = np.repeat(np.arange(20), 16)
    assert len({int(groups[cut_groups(groups, 8, seed)][0]) for seed in range(20)}) > 5


def test_block_is_of_neighbours_at_a_place_of_its_seed() -> None:
    """A part of a text stays a text."""
    places = [np.flatnonzero(block(100, 9, seed)) for seed in range(5)]
    assert all((np.diff(each) == 1).all() and len(each) == 9 for each in places)
    assert len({each[0] for each in places}) > 1
    assert block(9, 9, 0).all()


def test_folds_of_a_text_are_neighbours() -> None:
    """All but one, where the text ends and begins."""
    fold_of = folds_of_text(103, 5, seed=2)
    assert set(np.bincount(fold_of)) == {20, 21}
    assert (np.diff(fold_of) != 0).sum() == 5
