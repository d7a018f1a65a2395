"""ROUGE-L and CIDEr as coco-caption computes them, without Java.

The rouge packages average or pick the best reference; coco-caption combines the best precision of
one reference with the best recall of another, which no library does. Its CIDEr is CIDEr-D of the
paper (clipped, with a length penalty), weighted by the references that are scored against. Words
are those of `bench.metrics.text.tokenizer`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from gapbench.bench.metrics.base import metric
from gapbench.bench.metrics.text.inputs import checked
from gapbench.bench.metrics.text.tokenizer import words

Ngram = tuple[str, ...]

_BETA = 1.2  # of ROUGE-L: recall weighs more than precision
_ORDERS = 4  # of CIDEr: 1- to 4-grams
_SIGMA = 6.0  # of CIDEr: width of the length penalty, in bigrams


@metric(
    "rouge_l",
    "texts",
    description="F measure of the longest common subsequence of words.",
    reference="coco-caption, pycocoevalcap/rouge",
)
def rouge_l(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return ROUGE-L, the mean over examples, in [0, 1].

    Of an example, the F measure (beta 1.2) of the highest precision and the highest recall of the
    longest common subsequence with any reference. A text without words counts as one empty word, so
    that it scores 1 beside another such text and 0 elsewhere.

    Args:
        hypotheses: one output per example.
        references: one or more texts per example; blank ones are ignored.

    Raises:
        DataError: See `bench.metrics.text.inputs.checked`.

    Source: Lin, "ROUGE", 2004; coco-caption, pycocoevalcap/rouge/rouge.py.
    """
    texts = checked("rouge_l", hypotheses, references)
    scores = []
    for hypothesis, each in zip(hypotheses, texts, strict=True):
        output = words(hypothesis) or ("",)
        targets = [words(text) or ("",) for text in each]
        common = [_common_subsequence(output, target) for target in targets]
        precision = max(common) / len(output)
        recall = max(n / len(target) for n, target in zip(common, targets, strict=True))
        weighted = recall + _BETA**2 * precision
        scores.append((1 + _BETA**2) * precision * recall / weighted if weighted else 0.0)
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


@metric(
    "cider",
    "texts",
    description="Cosine of word 1- to 4-grams, weighted by their rarity in the references.",
    reference="coco-caption, pycocoevalcap/cider",
    range=(0.0, 10.0),
)
def cider(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return CIDEr, the mean over examples, in [0, 10].

    An n-gram that occurs in the references of every example weighs nothing, so a single example
    always scores 0, and scores of different test sets cannot be compared.

    Args:
        hypotheses: one output per example.
        references: one or more texts per example; blank ones are ignored.

    Raises:
        DataError: See `bench.metrics.text.inputs.checked`.

    Source: Vedantam et al., "CIDEr", 2015; coco-caption, pycocoevalcap/cider/cider_scorer.py.
    """
    texts = checked("cider", hypotheses, references)
    targets = [[_ngrams(text) for text in each] for each in texts]
    examples_with = Counter(ngram for each in targets for ngram in set().union(*each))

    def weight(ngram: Ngram) -> float:
        return math.log(len(texts)) - math.log(max(examples_with[ngram], 1))

    scores = []
    for hypothesis, each in zip(hypotheses, targets, strict=True):
        output = _Weighted(_ngrams(hypothesis), weight)
        similarities = [output.similarity(_Weighted(target, weight)) for target in each]
        scores.append(10 * math.fsum(similarities) / len(similarities))
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
        self.norms = [math.sqrt(sum(v * v for v in vector.values())) for vector in self.values]
        self.n_bigrams = sum(count for ngram, count in counts.items() if len(ngram) == 2)

    def similarity(self, target: _Weighted) -> float:
        """Return the clipped cosine, the mean over orders, times the length penalty."""
        total = 0.0
        for n in range(_ORDERS):
            norm = self.norms[n] * target.norms[n]
            if norm:
                goal = target.values[n]
                shared = self.values[n].keys() & goal.keys()
                total += sum(min(self.values[n][g], goal[g]) * goal[g] for g in shared) / norm
        gap = self.n_bigrams - target.n_bigrams
        return total / _ORDERS * math.exp(-(gap**2) / (2 * _SIGMA**2))
