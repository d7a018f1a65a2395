"""ROUGE-L and CIDEr as coco-caption computes them, without Java.

The rouge packages average or pick the best reference; coco-caption combines the best precision of
one reference with the best recall of another, which no library does. Its CIDEr is CIDEr-D of the
paper (clipped, with a length penalty), weighted by the references of the test set. Words
come from `bench.metrics.text.tokenizer`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.metrics.base import metric
from gapbench.bench.metrics.influence import centred
from gapbench.bench.metrics.text.inputs import Hypotheses, References, remembered
from gapbench.bench.metrics.text.tokenizer import words

Floats = NDArray[np.float64]
Ngram = tuple[str, ...]

_BETA = 1.2  # in ROUGE-L: recall weighs more than precision
_ORDERS = 4  # in CIDEr: 1- to 4-grams
_SIGMA = 6.0  # in CIDEr: width of the length penalty, in bigrams


@remembered("rouge_l")
def _rouge_l(hypotheses: Hypotheses, references: References) -> list[float]:
    """Return ROUGE-L of each example."""
    scores = []
    for hypothesis, each in zip(hypotheses, references, strict=True):
        output = words(hypothesis) or ("",)
        targets = [words(text) or ("",) for text in each]
        common = [_common_subsequence(output, target) for target in targets]
        precision = max(common) / len(output)
        recall = max(n / len(target) for n, target in zip(common, targets, strict=True))
        weighted = recall + _BETA**2 * precision
        scores.append((1 + _BETA**2) * precision * recall / weighted if weighted else 0.0)
    return scores


@metric(
    "rouge_l",
    "texts",
    title="ROUGE-L",
    description="F measure of the longest common subsequence of words.",
    reference="coco-caption, pycocoevalcap/rouge",
    items=lambda *texts: np.array(_rouge_l(*texts)),
)
def rouge_l(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return ROUGE-L, the mean over examples, in [0, 1].

    The score of an example is the F measure (beta 1.2) of the highest precision and the highest
    recall of the longest common subsequence with any reference. A text without words counts as one
    empty word: it scores 1 against another such text and 0 otherwise.

    Args:
        hypotheses: one output per example.
        references: one or more texts per example; blank ones are ignored.

    Raises:
        DataError: See `bench.metrics.text.inputs.checked`.

    Source: Lin, "ROUGE", 2004; coco-caption, pycocoevalcap/rouge/rouge.py.
    """
    scores = _rouge_l(hypotheses, references)
    return math.fsum(scores) / len(scores)


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    previous = [0] * (len(second) + 1)
    for word in first:
        current = [0]
        for i, other in enumerate(second):
            current.append(previous[i] + 1 if word == other else max(previous[i + 1], current[i]))
        previous = current
    return previous[-1]


@remembered("cider")
def _cider(hypotheses: Hypotheses, references: References) -> tuple[list[float], list[float]]:
    """Return the CIDEr of each example, and its effect on the sum of all.

    The latter is the derivative with respect to the weight of the example's references.
    """
    targets = [[_ngrams(text) for text in each] for each in references]
    own = [set[Ngram]().union(*each) for each in targets]
    examples_with = Counter(ngram for ngrams in own for ngram in ngrams)

    def weight(ngram: Ngram) -> float:
        return math.log(len(references)) - math.log(max(examples_with[ngram], 1))

    scores: list[float] = []
    slopes: dict[Ngram, float] = defaultdict(
        float
    )  # derivatives of the sum by the weight of each n-gram
    for hypothesis, each in zip(hypotheses, targets, strict=True):
        output = _Weighted(_ngrams(hypothesis), weight)
        pairs = [_Pair(output, _Weighted(target, weight)) for target in each]
        scores.append(10 * math.fsum(pair.similarity for pair in pairs) / len(pairs))
        for pair in pairs:
            for ngram, slope in pair.slopes():
                slopes[ngram] += 10 * slope / len(pairs)
    moves = [-sum(slopes[ngram] / examples_with[ngram] for ngram in ngrams) for ngrams in own]
    return scores, moves


def _cider_items(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """Return the pseudo-values of CIDEr, `(n,)`.

    An example counts twice: through its own score, and through its references, which make n-grams
    less rare and thus change their weights everywhere.
    """
    scores, moves = _cider(hypotheses, references)
    return centred(np.mean(scores), np.add(scores, moves))


@metric(
    "cider",
    "texts",
    title="CIDEr",
    description="Cosine of word 1- to 4-grams, weighted by their rarity in the references.",
    reference="coco-caption, pycocoevalcap/cider",
    range=(0.0, 10.0),
    items=_cider_items,
)
def cider(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return CIDEr, the mean over examples, in [0, 10].

    An n-gram that occurs in the references of every example has weight 0, so a single example
    always scores 0, and scores of different test sets cannot be compared.

    Args:
        hypotheses: one output per example.
        references: one or more texts per example; blank ones are ignored.

    Raises:
        DataError: See `bench.metrics.text.inputs.checked`.

    Source: Vedantam et al., "CIDEr", 2015; coco-caption, pycocoevalcap/cider/cider_scorer.py.
    """
    scores, _ = _cider(hypotheses, references)
    return math.fsum(scores) / len(scores)


def _ngrams(text: str) -> Counter[Ngram]:
    cut = words(text)
    return Counter(cut[i : i + n] for n in range(1, _ORDERS + 1) for i in range(len(cut) - n + 1))


class _Weighted:
    """A text as one vector of weighted n-gram counts per order."""

    def __init__(self, counts: Counter[Ngram], weight: Callable[[Ngram], float]) -> None:
        self.values: list[dict[Ngram, float]] = [{} for _ in range(_ORDERS)]
        for ngram, count in counts.items():
            self.values[len(ngram) - 1][ngram] = count * weight(ngram)
        self.counts = counts
        self.norms = [math.sqrt(sum(v * v for v in vector.values())) for vector in self.values]
        self.n_bigrams = sum(count for ngram, count in counts.items() if len(ngram) == 2)


class _Pair:
    """An output and one of its example's references.

    Attributes:
        similarity: the clipped cosine, the mean over orders, times the length penalty.
    """

    def __init__(self, output: _Weighted, target: _Weighted) -> None:
        self._output, self._target = output, target
        gap = output.n_bigrams - target.n_bigrams
        self._penalty = math.exp(-(gap**2) / (2 * _SIGMA**2)) / _ORDERS
        self._cosines = [self._cosine(n) for n in range(_ORDERS)]
        self.similarity = self._penalty * sum(self._cosines)

    def _cosine(self, n: int) -> float:
        norm = self._output.norms[n] * self._target.norms[n]
        if not norm:
            return 0.0
        made, goal = self._output.values[n], self._target.values[n]
        return sum(min(made[g], goal[g]) * goal[g] for g in made.keys() & goal.keys()) / norm

    def slopes(self) -> Iterator[tuple[Ngram, float]]:
        """Yield n-grams with the derivative of the similarity by their weights."""
        for n, cosine in enumerate(self._cosines):
            if not cosine:
                continue
            made, goal = self._output.values[n], self._target.values[n]
            first_norm, second_norm = self._output.norms[n], self._target.norms[n]
            for ngram in made.keys() | goal.keys():
                first, second = made.get(ngram, 0.0), goal.get(ngram, 0.0)
                if largest := max(first, second):
                    shared = 2 * min(first, second) * second / (first_norm * second_norm)
                    lost = cosine * ((first / first_norm) ** 2 + (second / second_norm) ** 2)
                    counts = self._output.counts[ngram], self._target.counts[ngram]
                    yield ngram, self._penalty * (shared - lost) * max(counts) / largest
