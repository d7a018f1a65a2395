"""TER and chrF: sacrebleu's values, as fractions.

Both are sacrebleu with its defaults. TER calls the edit search directly, to skip references that
cannot be the nearest: the search is slow, and most references of an example can be ruled out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from typing import cast

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics import lib_ter
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.tokenizers.tokenizer_ter import TercomTokenizer

from gapbench.bench.metrics.base import metric
from gapbench.bench.metrics.influence import jackknife
from gapbench.bench.metrics.text.distance import WordDistance
from gapbench.bench.metrics.text.inputs import Hypotheses, References, remembered

Floats = NDArray[np.float64]

_BETA = 2  # in chrF: recall weighs more than precision


@remembered("ter")
def _ter_counts(hypotheses: Hypotheses, references: References) -> Floats:
    """Return the fewest edits and the mean reference length of each example, `(n, 2)`."""
    tokenise = TercomTokenizer()
    rows = []
    for hypothesis, each in zip(hypotheses, references, strict=True):
        targets = [tokenise(text.rstrip()).split() for text in each]
        n_edits = _fewest_edits(tokenise(hypothesis.rstrip()).split(), targets)
        rows.append((n_edits, sum(map(len, targets)) / len(targets)))
    return np.array(rows, dtype=np.float64)


def _ratio(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1])


@metric(
    "ter",
    "texts",
    title="TER",
    description="Edits and shifts per reference word.",
    reference="sacrebleu.metrics.TER, divided by 100",
    range=(0.0, math.inf),
    higher_is_better=False,
    items=lambda *texts: jackknife(_ter_counts(*texts), _ratio),
)
def ter(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the translation edit rate of a corpus: edits per reference word, from 0 upwards.

    Lower is better, and output much longer than its references exceeds 1. Words are lower-cased and
    separated by spaces. Each example counts the fewest edits to any reference, over the mean length
    of its references.

    Args:
        hypotheses: one output per example.
        references: one or more texts per example; blank ones are ignored.

    Raises:
        DataError: See `bench.metrics.text.inputs.checked`.

    Source: Snover et al., "A study of translation edit rate", 2006; sacrebleu.metrics.TER.
    """
    return float(_ratio(_ter_counts(hypotheses, references).sum(axis=0)))


def _fewest_edits(words: list[str], targets: list[list[str]]) -> int:
    """Return the edits that sacrebleu finds between words and the nearest target.

    Shifts do not change the words of a text and any other edit fixes one word, so the words without
    a match are a lower bound on the edits.
    """
    counts = Counter(words)
    bounds = [
        max(len(words), len(target)) - (counts & Counter(target)).total() for target in targets
    ]
    fewest: int | None = None
    for bound, target in sorted(zip(bounds, targets, strict=True)):
        if fewest is not None and bound >= fewest:
            break
        n_edits = _edits(words, target)
        fewest = n_edits if fewest is None else min(fewest, n_edits)
    return fewest or 0


def _edits(words: list[str], target: list[str]) -> int:
    """Return shifts and other edits between words and a target: sacrebleu's search for shifts.

    Each round makes the shift that saves the most edits, until none does or too many were tried.
    """
    distance = WordDistance(target)
    n_shifts = n_tried = 0
    while True:
        distance.traced = words
        spared, shifted, n_tried = lib_ter._shift(words, target, distance, n_tried)
        if spared <= 0 or n_tried >= lib_ter._MAX_SHIFT_CANDIDATES:
            return n_shifts + distance(words)[0]
        n_shifts, words = n_shifts + 1, shifted


@remembered("chrf")
def _chrf_counts(hypotheses: Hypotheses, references: References) -> Floats:
    """Count n-grams of output and reference, and shared ones, for six orders, `(n, 18)`."""
    # sacrebleu takes one list per reference number, with None if an example has fewer, which its
    # annotations omit.
    columns = cast("list[tuple[str, ...]]", list(zip_longest(*references)))
    return np.array(CHRF()._extract_corpus_statistics(hypotheses, columns), dtype=np.float64)


def _chrf(sums: Floats) -> Floats:
    """Return chrF from sums of `_chrf_counts`, as sacrebleu does; `(..., 18)` gives `(...)`."""
    made, wanted, shared = (sums[..., part::3] for part in range(3))
    counted = (made > 0) & (wanted > 0)
    n_counted = np.maximum(counted.sum(axis=-1), 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = (
            np.where(counted, shared / side, 0.0).sum(axis=-1) / n_counted
            for side in (made, wanted)
        )
        score = (1 + _BETA**2) * precision * recall / (_BETA**2 * precision + recall)
    return np.where(precision + recall > 0, score, 0.0)


@metric(
    "chrf",
    "texts",
    title="chrF",
    description="F measure (beta 2) of character 1- to 6-grams.",
    reference="sacrebleu.metrics.CHRF, divided by 100",
    items=lambda *texts: jackknife(_chrf_counts(*texts), _chrf),
)
def chrf(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return chrF2 of a corpus, in [0, 1]: F measure (beta 2) of character 1- to 6-grams.

    Case counts, spaces do not. Each example counts its best reference.

    Args:
        hypotheses: one output per example.
        references: one or more texts per example; blank ones are ignored.

    Raises:
        DataError: See `bench.metrics.text.inputs.checked`.

    Source: Popovic, "chrF", 2015; sacrebleu.metrics.CHRF.
    """
    return float(_chrf(_chrf_counts(hypotheses, references).sum(axis=0)))
