"""Anytime-valid intervals for mean differences between arms that are scored block by block.

The losses of all arms on the items of a block, one fold, arrive together.
The difference of two arms on item ``i`` of block ``b`` is

    d = mean + v_b + u_i + e

with a block effect ``v_b`` (training sets and seeds), an item effect ``u_i``, and noise. Items of a
block are therefore dependent, and so are the losses of an item in several repeats of the folds.
Neither items nor blocks alone are exchangeable units. Items of one group, which folds keep
together, share ``u_i``, and in one block ``e`` too: they count as one item of their size. The
variance of a mean difference is clustered by both (Cameron, Gelbach and Miller 2011, "Robust
Inference With Multiway Clustering"):

    by items + (by blocks - by items inside a block)

The part in brackets is known from few blocks; that of a pair is drawn towards the mean of all.

The mean is that over new items and over trainings on as many of *these* rows as a fold leaves:
what all folds share because they come from one sample of rows is part of it.

The intervals hold at all blocks together. They are those of a one-sided normal mixture
(Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, "Time-uniform central limit theory and
asymptotic confidence sequences", arXiv:2103.06476, appendix B.2). Blocks stand for information, the
inverse of the variance, as its time. Betting on block means (Waudby-Smith and Ramdas 2024,
arXiv:2010.15175) would need no limit theorem, but its capital grows by at most ``1 + d`` a block:
a difference of 0.1 among 12 arms takes more than 50 blocks, where a race has 20. Coverage is
therefore shown by simulation (`tests/benchmarks/advice.py`).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm as normal
from scipy.stats import t as student

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


Design = tuple[float, float, int]

POOLED = 8
"""Blocks whose weight all pairs together have in the block variance of one pair."""


@dataclass(frozen=True)
class Differences:
    """Differences between the mean losses of all pairs of arms, each (arms, arms).

    Attributes:
        means: loss of the row's arm minus that of the column's arm.
        item: variance of the lasting effect of an item; all of ``score`` while unknown.
        score: variance of an item's difference inside a block.
        block: variance of the effect of a block.
        design: number of items, of these in each block, and of blocks; groups count as that many
            equal ones that tell as much.
    """

    means: Floats
    item: Floats
    score: Floats
    block: Floats
    design: Design

    def variances(self, design: Design | None = None) -> Floats:
        """Return the variances of the means, or of those of another design."""
        items, scores, blocks = design or self.design
        return self.item / items + (self.score - self.item) / scores + self.block / blocks

    def radius(self, standard: float, design: Design | None = None) -> Floats:
        """Return the distances of bounds that are so many standard errors away.

        Variances that few blocks or few items show are uncertain: the number is that of Student's t
        with the same tail, at the degrees of freedom of both parts (Satterthwaite 1946, "An
        Approximate Distribution of Estimates of Variance Components").
        """
        variances, (items, scores, blocks) = self.variances(design), design or self.design
        by_block = self.block / blocks + self.score / scores
        by_item = self.item / items + (self.score - self.item) / scores
        unsure = by_item**2 / (items - 1) + by_block**2 / _freedom(blocks, len(self.means))
        # An arm does not differ from itself, whatever the degrees of freedom.
        freedom = np.divide(variances**2, unsure, out=np.ones_like(unsure), where=unsure > 0)
        return np.sqrt(variances) * student.isf(normal.sf(standard), freedom)


def critical(alpha: float, time: float) -> float:
    """Return the number of standard errors between a mean and its bound on one side.

    The bound holds at all times together with probability ``1 - alpha``.

    Args:
        alpha: error of the bound.
        time: information so far, as a share of that at which the bound is narrowest.
    """
    narrowest = -2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))
    grown = 1 + time * narrowest
    return math.sqrt(2 * grown / (grown - 1) * math.log1p(math.sqrt(grown) / (2 * alpha)))


def differences(losses: Floats, items: Ints, blocks: Ints) -> Differences:
    """Compare all arms on the items that all were scored on.

    Args:
        losses: (arms, scores) loss of each arm at each score; lower is better.
        items: (scores,) number of the item, or of the group that it belongs to, counted from 0.
        blocks: (scores,) number of the block, counted from 0; at least two.
    """
    count, n_blocks = losses.shape[1], int(blocks.max()) + 1
    means = losses.mean(axis=1)
    rest = losses - means[:, None]
    by_block = _paired(_clustered(rest, blocks)) * n_blocks / (n_blocks - 1)
    by_item = _paired(_clustered(rest, items))
    _, inside = np.unique(items * n_blocks + blocks, return_inverse=True)
    # Equal losses on n scores do not say that arms never differ: one score counts as differing.
    least = (np.abs(losses).max() / count) ** 2 * (1 - np.eye(len(losses)))
    alone = np.maximum(_paired(_clustered(rest, inside)), least)
    n_items, n_inside = (count**2 / np.sum(np.bincount(each) ** 2) for each in (items, inside))
    # An item that is scored once does not show what of its effect would last.
    repeats = n_inside / n_items
    lasting = np.clip((by_item - alone) / (repeats - 1), 0.0, alone) if repeats > 1 else alone
    return Differences(
        means=means[:, None] - means[None, :],
        item=lasting * n_inside,
        score=alone * n_inside,
        block=_shrunk(by_block - alone, n_blocks) * n_blocks,
        design=(float(n_items), float(n_inside), n_blocks),
    )


def _shrunk(own: Floats, blocks: int) -> Floats:
    """Return a value of each pair, drawn towards the mean of all pairs, and not below zero."""
    pairs = np.triu_indices(len(own), 1)
    pooled = float(np.mean(own[pairs])) if len(own) > 1 else 0.0
    weight = _own_weight(blocks)
    shrunk: Floats = np.maximum(weight * own + (1 - weight) * pooled, 0.0)
    np.fill_diagonal(shrunk, 0.0)
    return shrunk


def _own_weight(blocks: int) -> float:
    """Return the weight of a pair's own variance between blocks, beside the mean of all pairs."""
    return (blocks - 1) / (blocks - 1 + POOLED)


def _freedom(blocks: int, arms: int) -> float:
    """Return the degrees of freedom of a pair's variance between blocks.

    The mean of all pairs has those of independent arms. They count twice, as simulation shows: the
    variance is never taken for less than single losses tell, and bounds are crossed late.
    """
    own = _own_weight(blocks) ** 2
    return 2 * (blocks - 1) / (own + (1 - own) / max(arms - 1, 1))


def _clustered(rest: Floats, clusters: Ints) -> Floats:
    """Return the covariance matrix of the arms' means if only clusters are independent."""
    sums = np.stack([np.bincount(clusters, weights=row) for row in rest])
    product: Floats = sums @ sums.T / rest.shape[1] ** 2
    return product


def _paired(covariance: Floats) -> Floats:
    """Return the variance of the difference of each pair of arms."""
    own = np.diag(covariance)
    paired: Floats = np.maximum(own[:, None] + own[None, :] - 2 * covariance, 0.0)
    return paired
