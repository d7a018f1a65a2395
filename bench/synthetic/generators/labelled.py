"""The generated tasks of one or two sentences with a label: classification and regression.

Sentences that are outside the grammar are made in `bench.synthetic.generators.corruption`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.synthetic.generators.corruption import corrupt
from gapbench.bench.synthetic.generators.splits import Split, SyntheticSplit, draw_distinct, room
from gapbench.bench.synthetic.language.grammar import Sentence, valence, write
from gapbench.bench.synthetic.language.rewriting import (
    alter,
    entails,
    generalise,
    reword,
    shorten,
    similarity,
)
from gapbench.bench.synthetic.language.sampling import (
    Draws,
    draw_action,
    draw_opinion,
    draw_sentence,
)

LABEL_NOISE = 0.12
"""Probability that the label of an acceptability or entailment example is flipped."""

SENTIMENT_SLOPE = 1.6
"""Log-odds of a positive label per unit of valence."""

SIMILARITY_NOISE = 0.6
"""Standard deviation of a similarity label before clipping to `SIMILARITY_RANGE`."""

SIMILARITY_RANGE = (0.0, 5.0)
_LABEL_DECIMALS = 3


@dataclass(frozen=True)
class LabelledGenerator:
    """A task whose label is drawn from a distribution that depends on the input.

    Attributes:
        columns: Names of the text columns, one or two.
        labels: Names of the classes in label order; empty for regression.
        propose: Draws the texts of one example and its truth: the probability of class 1, or the
            centre of the label before clipping.
    """

    columns: tuple[str, ...]
    labels: tuple[str, ...]
    propose: Callable[[Draws], tuple[tuple[str, ...], float]]

    def build(self, split: Split, n: int, inputs: Draws, labels: Draws) -> SyntheticSplit:
        """Make the first `n` examples of a split, inputs and labels from separate streams."""

        def in_room() -> tuple[tuple[str, ...], float] | None:
            texts, truth = self.propose(inputs)
            return (texts, truth) if all(room(text) == split for text in texts) else None

        drawn = draw_distinct(n, in_room)
        rows = zip(*drawn, strict=True)
        columns = {name: list(texts) for name, texts in zip(self.columns, rows, strict=True)}
        return self._label(columns, np.array(list(drawn.values())), labels)

    def _label(
        self, columns: dict[str, list[str]], truth: NDArray[np.float64], draws: Draws
    ) -> SyntheticSplit:
        if self.labels:
            classes = np.array([draws.chance(p) for p in truth], dtype=np.int64)
            return SyntheticSplit(columns, classes, np.stack([1.0 - truth, truth], axis=1))
        noisy = truth + SIMILARITY_NOISE * np.array([draws.normal() for _ in truth])
        return SyntheticSplit(
            columns,
            np.clip(noisy, *SIMILARITY_RANGE).astype(np.float64).round(_LABEL_DECIMALS),
            true_mean=np.array([clipped_mean(centre, SIMILARITY_NOISE) for centre in truth]),
            noise_sd=SIMILARITY_NOISE,
        )


def clipped_mean(centre: float, sd: float) -> float:
    """Return the mean of a normal variable after clipping it to `SIMILARITY_RANGE`.

    With z = (bound - centre) / sd at each bound, and P, p the standard normal distribution and
    density: low P(z_low) + high (1 - P(z_high)) + centre (P(z_high) - P(z_low))
    + sd (p(z_low) - p(z_high)). Labels are then rounded to 3 decimals, which hardly changes it.
    """
    low, high = SIMILARITY_RANGE
    normal = NormalDist()
    z_low, z_high = (low - centre) / sd, (high - centre) / sd
    inside = normal.cdf(z_high) - normal.cdf(z_low)
    tails = low * normal.cdf(z_low) + high * (1.0 - normal.cdf(z_high))
    return tails + centre * inside + sd * (normal.pdf(z_low) - normal.pdf(z_high))


def _flip(is_one: bool) -> float:  # noqa: FBT001 - a truth value is what it takes
    return 1.0 - LABEL_NOISE if is_one else LABEL_NOISE


def _propose_acceptability(draws: Draws) -> tuple[tuple[str, ...], float]:
    text = write(draw_sentence(draws))
    acceptable = draws.chance(0.5)
    return (text if acceptable else corrupt(text, draws),), _flip(acceptable)


def _propose_entailment(draws: Draws) -> tuple[tuple[str, ...], float]:
    entailed = draws.chance(0.5)
    while True:
        premise = draw_action(draws, detail=0.6)
        weaker = reword(premise, draws)
        if not premise.negated:
            weaker = generalise(shorten(weaker, draws), draws)
        kind = 0.0 if entailed else draws.uniform()
        pair = (weaker, premise) if kind > 0.7 else (premise, weaker)
        if 0.0 < kind <= 0.7:
            pair = (premise, alter(weaker, draws))
        if pair[0] != pair[1] and entails(*pair) == entailed:
            premise_text, hypothesis_text = (write(Sentence(action)) for action in pair)
            return (premise_text, hypothesis_text), _flip(not entailed)


def _propose_similarity(draws: Draws) -> tuple[tuple[str, ...], float]:
    first = draw_action(draws)
    second = reword(first, draws)
    n_changes = draws.below(8)
    for _ in range(n_changes):
        second = alter(second, draws)
    if n_changes == 7:
        second = draw_action(draws)
    texts = write(Sentence(first)), write(Sentence(second))
    return texts, SIMILARITY_RANGE[1] * similarity(first, second)


def _propose_sentiment(draws: Draws) -> tuple[tuple[str, ...], float]:
    sentence = draw_opinion(draws)
    return (write(sentence),), 1.0 / (1.0 + math.exp(-SENTIMENT_SLOPE * valence(sentence)))


LABELLED: Mapping[str, LabelledGenerator] = {
    "syn_acceptability": LabelledGenerator(
        ("sentence",), ("unacceptable", "acceptable"), _propose_acceptability
    ),
    "syn_entailment": LabelledGenerator(
        ("premise", "hypothesis"), ("entailment", "not_entailment"), _propose_entailment
    ),
    "syn_similarity": LabelledGenerator(("sentence1", "sentence2"), (), _propose_similarity),
    "syn_sentiment": LabelledGenerator(("sentence",), ("negative", "positive"), _propose_sentiment),
}
"""The four tasks by name."""
