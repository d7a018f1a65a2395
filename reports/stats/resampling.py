"""Scores of runs whose training rows are parts of one set, as in repeated K-fold.

Two such parts have most of their rows in common, so two scores vary together, and the spread of S
scores shows too little of what other rows would change. With a correlation rho, the variance of the
mean is

    spread^2 (1/S + rho / (1 - rho)),

whose second part no number of seeds lessens. Nadeau and Bengio ("Inference for the generalization
error", Machine Learning 52, 2003, section 3) score each run on the rows it was not trained on, and
take the share that two test sets have in common for rho: 1/S + n_test / n_train. Here all runs are
scored on one test set, whose chance is counted apart (`estimates`). What is left varies with the
training rows, so rho is the share of those that two runs have in common: n_train / (n_train +
n_validation) for folds of different repeats, which turns the fraction round.

For scores that are sums over training rows this is exact, and equals the delete-d jackknife (Shao
and Wu, "A general theory for jackknife variance estimation", 1989). Otherwise it is too large and
intervals are too wide: what depends on several rows at once is shared less often, and chance in
training is not shared at all. The scores alone cannot tell these apart.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Resampling:
    """How the runs of a cell got their training rows from one set.

    Attributes:
        share: of the set, that a run trains on; above 0 and below 1.
        folds: of repeated K-fold; None where each seed draws by itself.
    """

    share: float
    folds: int | None = None

    def common(self, seeds: Collection[int]) -> float:
        """Return the share of training rows that two runs have in common, mean over all pairs."""
        pairs = len(seeds) * (len(seeds) - 1) / 2
        if not self.folds or not pairs:
            return self.share
        repeats = Counter(seed // self.folds for seed in seeds)
        alike = sum(count * (count - 1) / 2 for count in repeats.values()) / pairs
        within = self.share * self.folds * (self.folds - 2) / (self.folds - 1) ** 2
        return alike * within + (1 - alike) * self.share

    def excess(self, seeds: Collection[int]) -> float:
        """Return the variance of a mean that more seeds do not lessen, per variance of one score.

        Args:
            seeds: of the scores.
        """
        common = self.common(seeds)
        return common / (1 - common)
